"""primum demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from primum.cli import options as o

NAME = "demo"


def run(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything the demo makes.")] = Path(
        "primum-demo"
    ),
    json: o.Json = False,
) -> None:
    """Show the whole job on synthetic chest phantoms: train, optimize, judge, report. Needs no data."""
    from primum.cli.console import Terminal, print_json
    from primum.cli.optimize import show
    from primum.workflows.demo import demo

    with Terminal() as terminal:
        delivery = demo(out, terminal)
    if json:
        print_json(delivery.summary())
    else:
        typer.echo("SYNTHETIC DATA: phantoms made by a formula, not patients.")
        show(delivery)
