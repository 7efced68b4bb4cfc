"""The `primum` command. Importing it loads neither torch nor a runtime: each command imports what it needs."""

from __future__ import annotations

import sys

import typer

from primum.cli import benchmark, demo, doctor, inspect, optimize, serve, validate, verify
from primum.errors import PrimumError
from primum.version import VERSION

app = typer.Typer(
    name="primum",
    help="Makes clinical AI models fast and small, and proves on your data that no patient pays for it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
for command in (demo, optimize, validate, benchmark, serve, verify, inspect, doctor):
    app.command(name=command.NAME)(command.run)


@app.callback(invoke_without_command=True)
def top(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    """Makes clinical AI models fast and small, and proves on your data that no patient pays for it."""
    if version:
        typer.echo(f"primum {VERSION}")
        raise typer.Exit


def run() -> None:
    """Entry point: errors become one line and an exit code; --debug (anywhere) shows the traceback."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app(standalone_mode=True)
    except PrimumError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command again to go on", err=True)
        sys.exit(130)


if __name__ == "__main__":
    run()
