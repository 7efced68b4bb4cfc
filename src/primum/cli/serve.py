"""primum serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    max_batch_size: Annotated[int, typer.Option(help="Largest batch, in cases.", min=1)] = 32,
    timeout_ms: Annotated[float | None, typer.Option(help="Deadline of requests that name none.", min=0.001)] = None,
    max_body_mb: Annotated[float, typer.Option(help="Largest request body.", min=0.001)] = 64,
    keys: Annotated[Path | None, typer.Option(help="YAML file of API keys (their hashes); see --new-key.")] = None,
    new_key: Annotated[
        str | None, typer.Option(help="Print a new API key for this name, and its entry for --keys; serve nothing.")
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
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Bind to other than loopback though anybody may ask, or in clear text.")
    ] = False,
) -> None:
    """Serve artifacts by the Open Inference Protocol v2 (REST, and gRPC with --grpc-port), with dynamic batching."""
    from primum.config import BatchConfig
    from primum.errors import InputError
    from primum.serving.access import new_key as made_key
    from primum.serving.server import ServeOptions, serve
    from primum.serving.shadow import ShadowOptions

    if new_key is not None:
        key, entry = made_key(new_key)
        typer.echo(f"{key}\n\nIt is not kept anywhere; give it to its holder. For the file of --keys:\n\n{entry}")
        return
    if not artifacts:
        raise InputError("name at least one artifact to serve")
    serve(
        ServeOptions(
            models=tuple(_named(given) for given in artifacts),
            host=host,
            port=port,
            grpc_port=grpc_port,
            batching=BatchConfig(max_batch_size=max_batch_size, request_timeout_ms=timeout_ms),
            most_bytes=int(max_body_mb * 2**20),
            keys=keys,
            jwt_key=jwt_key,
            jwt_audience=jwt_audience,
            audit=audit,
            shadow=ShadowOptions(share=shadow, most_flips=most_flips),
            state=state,
            tls_cert=tls_cert,
            tls_key=tls_key,
            client_ca=client_ca,
            insecure=insecure,
        )
    )


def _named(given: str) -> tuple[str, tuple[Path, ...]]:
    name, found, folders = given.partition("=")
    if not found:
        name, folders = "model", given
    return name, tuple(Path(folder) for folder in folders.split(","))
