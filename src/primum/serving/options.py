"""Where and how to serve, and whether that is safe."""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from primum.config import BatchConfig
from primum.errors import InputError
from primum.serving.executor.isolation import Isolation

if TYPE_CHECKING:
    from primum.serving.ladder.shadow import ShadowOptions
    from primum.serving.studies.offered import Studies

MOST_BYTES = 32 * 2**20
"""Of a request's body: a batch of 32 colour images of 224 x 224 takes 19 MB."""
_NEEDED = ("uvicorn", "uvloop", "httptools", "msgspec", "prometheus_client", "jwt", "grpc", "python_multipart")


@dataclass(frozen=True)
class ServeOptions:
    """Where and how to serve. `models`: (name, artifact folders, the preferred first)."""

    models: tuple[tuple[str, tuple[Path, ...]], ...]
    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    """None: no gRPC."""
    batching: BatchConfig | None = None
    most_bytes: int = MOST_BYTES
    arrival_s: float = 30.0
    """In which a request arrives whole."""
    most_connections: int = 4096
    keys: Path | None = None
    """File of API keys."""
    jwt_key: Path | None = None
    """Public key (PEM) of who signs tokens."""
    jwt_audience: str | None = None
    audit: Path | None = None
    shadow: ShadowOptions | None = None
    """None: no case is asked of a more trusted network too."""
    state: Path | None = None
    """Folder for what restarts must not forget: which artifacts are barred."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    """Clients must show a certificate that one of these authorities signed."""
    log_json: bool = False
    log_requests: bool = False
    otlp: str | None = None
    """Where traces go: a collector that takes OTLP over HTTP."""
    trace_share: float = 1.0
    isolation: Isolation = Isolation.AUTO
    """Whether models run in processes of their own; `batching.executors` says in how many."""
    executor_memory_mb: float | None = None
    """Private memory of each such process, in megabytes (1e6 bytes)."""
    workers: int = 1
    """Processes that share the port, each a whole server with its own copy of the models."""
    studies: Studies | None = None
    """What callers may have optimized."""
    insecure: bool = False
    """Bind to other than loopback although nobody is authenticated, or in clear text."""

    @property
    def authenticated(self) -> bool:
        """Whether callers must show who they are."""
        return self.keys is not None or self.jwt_key is not None or self.client_ca is not None


def check(options: ServeOptions) -> None:
    """Raises InputError where the options are unsafe or the libraries are missing."""
    if missing := [name for name in _NEEDED if not importlib.util.find_spec(name)]:
        raise InputError(f"serving needs {', '.join(missing)}: pip install 'primum[serve]'")
    if (options.tls_cert is None) != (options.tls_key is None):
        raise InputError("--tls-cert and --tls-key go together")
    if options.client_ca is not None and options.tls_cert is None:
        raise InputError("--client-ca asks clients for certificates, which takes --tls-cert and --tls-key too")
    for path in (options.tls_cert, options.tls_key, options.client_ca):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: there is no such file")
    if options.workers > 1:
        _check_several(options)
    if _is_loopback(options.host) or options.insecure:
        return
    if not options.authenticated:
        raise InputError(
            f"--host {options.host} lets others in, and nobody is authenticated: give --keys, --jwt-key or "
            "--client-ca, or bind to 127.0.0.1 behind a proxy that authenticates, or say --insecure"
        )
    if options.tls_cert is None:
        raise InputError(
            f"--host {options.host} would send keys and patients' data in clear text: give --tls-cert and --tls-key, "
            "or say --insecure"
        )


def _check_several(options: ServeOptions) -> None:
    """What needs one server that sees all requests. Raises InputError."""
    shadowed = options.shadow is not None and (options.shadow.share > 0 or options.shadow.most_flips is not None)
    for asked, what in (
        (any(len(folders) > 1 for _, folders in options.models), "a ladder, whose place all requests share"),
        (shadowed, "--shadow and --most-flips: one test sees all cases"),
        (options.state is not None, "--state"),
        (options.studies is not None, "--studies: one runs at a time"),
        (options.grpc_port is not None, "--grpc-port: its library shares no socket between processes"),
    ):
        if asked:
            raise InputError(f"--workers {options.workers} does not go with {what}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
