"""Runs the application on a real socket."""

from __future__ import annotations

import importlib.util
import ipaddress
import signal
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from primum.config import BatchConfig
from primum.errors import InputError

if TYPE_CHECKING:
    from primum.serving.dataplane import DataPlane
    from primum.serving.http.app import Companion
    from primum.serving.shadow import ShadowOptions


@dataclass(frozen=True)
class ServeOptions:
    """Where and how to serve. `models`: (name, artifact folders, the preferred first)."""

    models: tuple[tuple[str, tuple[Path, ...]], ...]
    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    """None: no gRPC."""
    batching: BatchConfig | None = None
    most_bytes: int = 64 * 2**20
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
    insecure: bool = False
    """Bind to other than loopback although nobody is authenticated, or in clear text."""

    @property
    def authenticated(self) -> bool:
        """Whether callers must show who they are."""
        return self.keys is not None or self.jwt_key is not None or self.client_ca is not None


def check(options: ServeOptions) -> None:
    """Raises InputError where the options are unsafe or the libraries are missing."""
    if missing := [
        name
        for name in ("uvicorn", "msgspec", "prometheus_client", "jwt", "grpc")
        if not importlib.util.find_spec(name)
    ]:
        raise InputError(f"serving needs {', '.join(missing)}: pip install 'primum[serve]'")
    if (options.tls_cert is None) != (options.tls_key is None):
        raise InputError("--tls-cert and --tls-key go together")
    if options.client_ca is not None and options.tls_cert is None:
        raise InputError("--client-ca asks clients for certificates, which takes --tls-cert and --tls-key too")
    for path in (options.tls_cert, options.tls_key, options.client_ca):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: there is no such file")
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


def serve(options: ServeOptions) -> None:
    """Load the models and serve until SIGINT or SIGTERM; then answer what is here and end. Raises InputError."""
    check(options)
    import uvicorn

    from primum.serving.access import Access, Tokens, read_keys
    from primum.serving.audit import AuditLog
    from primum.serving.dataplane import DataPlane
    from primum.serving.http.app import App
    from primum.serving.model import ServedModel
    from primum.serving.repository import Repository
    from primum.serving.trust import TrustStore

    config = options.batching or BatchConfig()
    trust = TrustStore(options.state) if options.state is not None else None
    models = [
        ServedModel(name, folders, config.model_copy(), shadow=options.shadow, trust=trust)
        for name, folders in options.models
    ]
    tokens = Tokens(options.jwt_key, options.jwt_audience) if options.jwt_key is not None else None
    access = Access(read_keys(options.keys) if options.keys is not None else None, tokens)
    audit = AuditLog(options.audit) if options.audit is not None else None
    plane = DataPlane(Repository(models), access, audit)
    app = App(plane, options.most_bytes, _companions(options, plane))
    # uvicorn raises the signal that ended it once more, when all is answered: that is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
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
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        ssl_ca_certs=str(options.client_ca) if options.client_ca is not None else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if options.client_ca is not None else ssl.CERT_NONE,
    )


def _companions(options: ServeOptions, plane: DataPlane) -> tuple[Companion, ...]:
    if options.grpc_port is None:
        return ()
    from primum.serving.grpc.server import GrpcServer

    host = f"[{options.host}]" if ":" in options.host else options.host
    files = (options.tls_cert, options.tls_key, options.client_ca)
    return (GrpcServer(plane, f"{host}:{options.grpc_port}", options.most_bytes, *files),)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
