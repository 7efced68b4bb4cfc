"""Puts the server together from its options and runs it on a real socket. Imported once the options are checked: the
libraries that it needs are there then.
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
from dataclasses import replace

import uvicorn

from primum.artifact.manifest import UNPROVEN
from primum.config import BatchConfig
from primum.errors import InputError
from primum.serving.dataplane import DataPlane
from primum.serving.executor.placement import Hosting
from primum.serving.grpc.server import GrpcServer
from primum.serving.hangup import Hangup, Reread
from primum.serving.http.app import App, Companion
from primum.serving.http.connection import connection_class
from primum.serving.http.listener import ACCEPTS, Listener
from primum.serving.http.table import routes_of
from primum.serving.http.witness import Witness
from primum.serving.ladder.trust import TrustStore
from primum.serving.limits import Limits, Room
from primum.serving.model import ServedModel
from primum.serving.observability.logs import configure, note
from primum.serving.observability.tracing import tracing_to
from primum.serving.options import ServeOptions
from primum.serving.repository import Repository
from primum.serving.security.access import Access
from primum.serving.security.audit import AuditLog
from primum.serving.security.credentials import Credentials
from primum.serving.security.tls import Tls
from primum.serving.siblings import Siblings
from primum.serving.studies.jobs import Jobs
from primum.serving.worker import Leash, Worker

_KEEP_ALIVE_S = 75
_NOT_STARTED = 3
"""Exit status, as uvicorn has it."""
_GRACE_S = 30
ENDING_S = 2 * _GRACE_S + 10
"""For so long a server may take to end: what is here is answered, then what is being loaded ends, then the log."""
_COLLECT = 50_000, 20, 50
"""Objects more than there were, then rounds, before the collector goes through each of its three generations."""


def serve(options: ServeOptions, worker: Worker | None = None) -> None:
    """Load the models and serve until SIGINT or SIGTERM; then answer what is here and end. Raises InputError.

    `worker`: which of several servers on one port this is; None where it is the only one.
    """
    number = None if worker is None else worker.number
    configure(options.log_json, worker=number)
    if worker is not None and options.audit is not None:
        options = replace(options, audit=worker.own(options.audit))
    tls, credentials = _tls(options), _credentials(options)
    plane = _plane(options, credentials, worker)
    tracing = tracing_to(options.otlp, options.trace_share, number) if options.otlp is not None else None
    witness = Witness(tracing, options.log_requests) if tracing is not None or options.log_requests else None
    jobs = Jobs(options.studies) if options.studies is not None else None
    hangup = Hangup(plane, _rereads(plane, credentials, tls))
    siblings = None if worker is None else Siblings(worker, plane.families)
    limits, room = Limits(options.arrival_s, options.most_connections), Room(options.most_bytes)
    companions: list[Companion] = [hangup]
    if options.grpc_port is not None:
        companions.append(GrpcServer(plane, _grpc_address(options), limits, room, tls, tracing))
    leash = None if worker is None else Leash(worker, ENDING_S)
    companions += [one for one in (jobs, siblings, leash) if one is not None]
    app = App(plane, room, companions, routes_of(plane, jobs), witness, siblings)
    # What is loaded stays: a full round of the garbage collector through all of it halts requests for tens of
    # milliseconds. Nor are hundreds of requests in work garbage: by default a round begins with every 700 objects more.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    _run(options, limits, app, tls, worker, leash)
    if tracing is not None:
        tracing.stop()
    note("stopped")


def _tls(options: ServeOptions) -> Tls | None:
    """The server's certificate; None where it speaks in clear text."""
    if options.tls_cert is None or options.tls_key is None:
        return None
    return Tls(options.tls_cert, options.tls_key, options.client_ca)


def _credentials(options: ServeOptions) -> Credentials:
    return Credentials(
        options.keys, options.jwt_key, options.jwt_audience, options.client_ca is not None, options.workers == 1
    )


def _rereads(plane: DataPlane, credentials: Credentials, tls: Tls | None) -> list[Reread]:
    """What SIGHUP has read anew beside the models."""
    rereads = []
    if credentials.keys is not None or credentials.jwt_key is not None:
        rereads.append(Reread("keys", lambda: plane.access.replace(*credentials.read())))
    if tls is not None:
        rereads.append(Reread("certificates", tls.reread))
    return rereads


def _plane(options: ServeOptions, credentials: Credentials, worker: Worker | None) -> DataPlane:
    """The models, who may ask them, and the log of who did."""
    # What costs nothing to find wrong comes before the models.
    keys, tokens = credentials.read()
    if keys is not None and not keys:  # later it means that nobody is let in any more
        raise InputError(
            f"{credentials.keys} holds no key: add an entry of `primum serve --new-key NAME`, or leave --keys out"
        )
    if tokens is not None and options.jwt_audience is None:
        note("tokens that name no audience are taken, whoever they were made for: give --jwt-audience", logging.WARNING)
    access = Access(keys, tokens, certificates=credentials.certificates)
    audit = AuditLog(options.audit) if options.audit is not None else None
    config, folders = options.batching or BatchConfig(), dict(options.models)
    hosting = Hosting(options.isolation, options.executor_memory_mb)
    trust = TrustStore(options.state) if options.state is not None else None

    def opened(name: str) -> ServedModel:
        return ServedModel(
            name, folders[name], config.model_copy(), hosting=hosting, shadow=options.shadow, trust=trust
        )

    models = [opened(name) for name, _ in options.models]
    plane = DataPlane(Repository(models, opened), access, audit, worker)
    for model in models:
        _say_loaded(model)
    return plane


def _say_loaded(model: ServedModel) -> None:
    manifest = model.rung.manifest
    level, said = (logging.WARNING, {"warning": UNPROVEN}) if model.unproven else (logging.INFO, {})
    note(
        "model loaded",
        level,
        model=model.name,
        version=model.rung.version,
        recipe=manifest.recipe,
        verdict=manifest.verdict,
        **said,
    )


def _grpc_address(options: ServeOptions) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{host}:{options.grpc_port}"


def _run(
    options: ServeOptions, limits: Limits, app: App, tls: Tls | None, worker: Worker | None, leash: Leash | None
) -> None:
    # uvicorn raises the signal that ended it once more, when all is answered: that is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        loop="uvloop",
        http=connection_class(limits, app.plane.lobby),
        timeout_keep_alive=_KEEP_ALIVE_S,
        lifespan="on",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_context_factory=None if tls is None else lambda *_: tls.context,
    )
    # The fewer a worker takes at once, the more evenly several come by their clients.
    accepts = ACCEPTS if worker is None else max(1, ACCEPTS // worker.of)
    server = Listener(config, accepts, None if leash is None else leash.listening)
    server.run(None if worker is None else list(worker.sockets))
    if not server.started:
        sys.exit(_NOT_STARTED)
