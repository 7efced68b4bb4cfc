"""primum serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "serve"


def run(
    artifacts: Annotated[
        list[str], typer.Argument(help="Artifact folders, or NAME=FOLDER; the default name is model.")
    ],
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to bind to.", min=0, max=65535)] = 8000,
    max_batch_size: Annotated[int, typer.Option(help="Largest batch, in cases.", min=1)] = 32,
    timeout_ms: Annotated[float | None, typer.Option(help="Deadline of requests that name none.", min=0.001)] = None,
    max_body_mb: Annotated[float, typer.Option(help="Largest request body.", min=0.001)] = 64,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Bind to other than loopback though nobody is authenticated.")
    ] = False,
) -> None:
    """Serve artifacts by the Open Inference Protocol v2 (REST), with dynamic batching."""
    from primum.config import BatchConfig
    from primum.serving.server import ServeOptions, serve

    batching = BatchConfig(max_batch_size=max_batch_size, request_timeout_ms=timeout_ms)
    models = tuple(_named(given) for given in artifacts)
    serve(ServeOptions(models, host, port, batching, int(max_body_mb * 2**20), insecure))


def _named(given: str) -> tuple[str, Path]:
    name, found, folder = given.partition("=")
    return (name, Path(folder)) if found else ("model", Path(given))
