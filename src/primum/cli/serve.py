"""primum serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primum.serving.executor.isolation import Isolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from primum.config import BatchConfig
    from primum.serving.security.access import Scope
    from primum.serving.studies.offered import Studies

NAME = "serve"


def run(
    artifacts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Artifact folders, or NAME=FOLDER; the default name is model. NAME=TRUSTED,FASTER,…: a ladder, the "
            "server goes to the faster ones under pressure."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to bind to.", min=0, max=65535)] = 8000,
    grpc_port: Annotated[int | None, typer.Option(help="Port of gRPC; default: none.", min=0, max=65535)] = None,
    batching: Annotated[
        Path | None, typer.Option(help="YAML or TOML file of how to batch: the fields of primum.config.BatchConfig.")
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(help="Largest batch, in cases; default: 32.", min=1, show_default=False)
    ] = None,
    executors: Annotated[
        int | None,
        typer.Option(help="Batches of a model that run at the same time; default: 1.", min=1, show_default=False),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(help="Servers that share the port, each with the models to itself.", min=1),
    ] = 1,
    isolation: Annotated[
        Isolation,
        typer.Option(help="Run models in processes of their own; auto: all but those faster than the way to one."),
    ] = Isolation.AUTO,
    executor_memory_mb: Annotated[
        float | None, typer.Option(help="Memory of each such process, libraries included.", min=1)
    ] = None,
    timeout_ms: Annotated[float | None, typer.Option(help="Deadline of requests that name none.", min=0.001)] = None,
    max_body_mb: Annotated[float, typer.Option(help="Largest request body.", min=0.001)] = 32,
    arrival_s: Annotated[float, typer.Option(help="Seconds in which a request arrives whole.", min=0.1)] = 30,
    max_connections: Annotated[int, typer.Option(help="Connections at a time; over gRPC calls.", min=1)] = 4096,
    keys: Annotated[
        Path | None, typer.Option(help="YAML file of API keys (their hashes) and certificates; see --new-key.")
    ] = None,
    new_key: Annotated[
        str | None, typer.Option(help="Print a new API key for this name, and its entry for --keys; serve nothing.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What --new-key lets its holder do: infer (default), metrics, optimize or admin; repeatable."
        ),
    ] = None,
    jwt_key: Annotated[Path | None, typer.Option(help="Public key (PEM) of who signs tokens (JWT).")] = None,
    jwt_audience: Annotated[str | None, typer.Option(help="Audience that tokens must name.")] = None,
    audit: Annotated[Path | None, typer.Option(help="Audit log: who, when, which model; no payload.")] = None,
    shadow: Annotated[
        float, typer.Option(help="Share of cases asked of a more trusted network too, once answered.", min=0, max=1)
    ] = 0,
    most_flips: Annotated[
        float | None,
        typer.Option(help="Share of cases that a faster artifact of a ladder may decide otherwise; default: 0.02."),
    ] = None,
    state: Annotated[Path | None, typer.Option(help="Folder that remembers over restarts what is barred.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    client_ca: Annotated[Path | None, typer.Option(help="Authorities (PEM) of certificates clients must show.")] = None,
    log_format: Annotated[str, typer.Option(help="Of the log on standard error: text or json.")] = "text",
    log_requests: Annotated[bool, typer.Option("--log-requests", help="Log each request: path, status, time.")] = False,
    otlp: Annotated[
        str | None, typer.Option(help="Send OpenTelemetry traces there, as http://127.0.0.1:4318/v1/traces.")
    ] = None,
    trace_share: Annotated[float, typer.Option(help="Share of requests to trace.")] = 1.0,
    studies: Annotated[
        Path | None, typer.Option(help="YAML file of what callers may have optimized; see the documentation.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Bind to other than loopback though anybody may ask, or in clear text.")
    ] = False,
) -> None:
    """Serve artifacts by the Open Inference Protocol v2 (REST, and gRPC with --grpc-port), with dynamic batching."""
    from primum.serving.hangup import hold

    hold()
    from primum.errors import InputError
    from primum.serving.ladder.shadow import ShadowOptions
    from primum.serving.options import ServeOptions, check
    from primum.serving.security.access import new_key as made_key

    if new_key is not None:
        key, entry = made_key(new_key, _scopes(scope or ()))
        typer.echo(f"{key}\n\nIt is not kept anywhere; give it to its holder. For the file of --keys:\n\n{entry}")
        return
    if scope:
        raise InputError("--scope says what a new key may do; it goes with --new-key")
    if log_format not in ("text", "json"):
        raise InputError(f"--log-format {log_format}: text or json")
    if not artifacts:
        raise InputError("name at least one artifact to serve")
    options = ServeOptions(
        models=tuple(_named(given) for given in artifacts),
        host=host,
        port=port,
        grpc_port=grpc_port,
        batching=_batching(batching, max_batch_size=max_batch_size, request_timeout_ms=timeout_ms, executors=executors),
        workers=workers,
        isolation=isolation,
        executor_memory_mb=executor_memory_mb,
        most_bytes=int(max_body_mb * 2**20),
        arrival_s=arrival_s,
        most_connections=max_connections,
        keys=keys,
        jwt_key=jwt_key,
        jwt_audience=jwt_audience,
        audit=audit,
        shadow=ShadowOptions(share=shadow, most_flips=most_flips),
        state=state,
        tls_cert=tls_cert,
        tls_key=tls_key,
        client_ca=client_ca,
        log_json=log_format == "json",
        log_requests=log_requests,
        otlp=otlp,
        trace_share=trace_share,
        insecure=insecure,
        studies=_read(studies) if studies is not None else None,
    )
    check(options)
    if options.workers > 1:
        from primum.serving.supervisor import supervise

        supervise(options)
        return
    from primum.serving.server import serve

    serve(options)


def _batching(file: Path | None, **named: float | None) -> BatchConfig:
    """The file's settings, and over them what options name. Raises InputError."""
    from primum.config import BatchConfig

    over = {name: value for name, value in named.items() if value is not None}
    return BatchConfig(**over) if file is None else BatchConfig.from_file(file, **over)


def _scopes(given: Sequence[str]) -> tuple[Scope, ...]:
    """Each once, in the order of the list; infer where none is given. Raises InputError."""
    from primum.errors import InputError
    from primum.serving.security.access import Scope

    known = [one.value for one in Scope]
    for name in given:
        if name not in known:
            raise InputError(f"--scope {name}: a key's scopes are {', '.join(known)}")
    return tuple(one for one in Scope if one.value in (given or (Scope.INFER.value,)))


def _read(path: Path) -> Studies:
    """The file's studies, each checked as `primum optimize` would take it. Raises InputError."""
    from primum.cli.main import app
    from primum.errors import InputError
    from primum.serving.studies.offered import read_studies

    optimize = typer.main.get_group(app).commands["optimize"]
    # The base of all that is wrong on a command line; where it is defined depends on the version of typer.
    usage: type[Exception] = typer.BadParameter.__mro__[1]
    found = read_studies(path)
    for name, study in found.by_name.items():
        try:
            optimize.make_context("optimize", [*study.arguments, "--out", "OUT"])
        except usage as error:
            raise InputError(f"{path}: study {name!r}: {' '.join(str(error).split())}") from error
    return found


def _named(given: str) -> tuple[str, tuple[Path, ...]]:
    name, found, folders = given.partition("=")
    if not found:
        name, folders = "model", given
    return name, tuple(Path(folder) for folder in folders.split(","))
