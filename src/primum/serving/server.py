"""Runs the application on a real socket."""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from primum.config import BatchConfig
from primum.errors import InputError


@dataclass(frozen=True)
class ServeOptions:
    """Where and how to serve. `models`: (name, artifact folder)."""

    models: tuple[tuple[str, Path], ...]
    host: str = "127.0.0.1"
    port: int = 8000
    batching: BatchConfig | None = None
    most_bytes: int = 64 * 2**20
    insecure: bool = False
    """Bind to other than loopback although nobody is authenticated."""


def check(options: ServeOptions) -> None:
    """Raises InputError where the options are unsafe or the libraries are missing."""
    if missing := [name for name in ("uvicorn", "msgspec", "prometheus_client") if not importlib.util.find_spec(name)]:
        raise InputError(f"serving needs {', '.join(missing)}: pip install 'primum[serve]'")
    if not _is_loopback(options.host) and not options.insecure:
        raise InputError(
            f"--host {options.host} lets others in, and nobody is authenticated: bind to 127.0.0.1 behind a proxy that "
            "authenticates, or say --insecure"
        )


def serve(options: ServeOptions) -> None:
    """Load the models and serve until SIGINT or SIGTERM; then answer what is here and end. Raises InputError."""
    check(options)
    import uvicorn

    from primum.serving.http.app import App
    from primum.serving.model import ServedModel
    from primum.serving.repository import Repository

    config = options.batching or BatchConfig()
    models = [ServedModel(name, folder, config.model_copy()) for name, folder in options.models]
    app = App(Repository(models), options.most_bytes)
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "auto",
        http="httptools" if importlib.util.find_spec("httptools") else "auto",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=30,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
