"""Who is compared, how each is configured and started. One thread a model, and one worker but where it says two."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wires import IN_JSON, LISTED, MLSERVER, PLAIN, PRIMUM, Wire
from workloads import Workload

APPS = Path(__file__).parent / "apps"
_WINDOW = "0.005"
"""Seconds that LitServe, MLServer and Ray wait to fill a batch of 32: they have no better default, and all get one."""
FLOOR, AGAIN = "floor", "floor-again"

Command = Callable[[Path, int, Workload, Path], list[str]]
"""(Python, port, workload, empty folder) to a command line."""


@dataclass(frozen=True)
class Contestant:
    """A server and its setting."""

    name: str
    setting: str
    wire: Wire
    command: Command
    environment: str | None
    """None: the Python that runs the benchmark."""
    libraries: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)


def _python(script: str, *arguments: str) -> Command:
    return lambda python, port, workload, folder: [str(python), str(APPS / script), str(port), *arguments]


def _floor(python: Path, port: int, workload: Workload, folder: Path) -> list[str]:
    options = ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
    options += ["--no-access-log", "--log-level", "warning"]
    return [str(python), "-m", "uvicorn", "floor:app", "--app-dir", str(APPS), "--port", str(port), *options]


def _primum(guarded: bool = False, *more: str) -> Command:
    def command(python: Path, port: int, workload: Workload, folder: Path) -> list[str]:
        artifact = workload.guarded if guarded else workload.artifact
        return [str(python), "-m", "primum.cli.main", "serve", f"model={artifact}", "--port", str(port), *more]

    return command


def _bentoml(python: Path, port: int, workload: Workload, folder: Path) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(APPS)]
    return [str(python.parent / "bentoml"), "serve", "bentoml_app:Model", *where]


def _mlserver(batching: bool) -> Command:
    def command(python: Path, port: int, workload: Workload, folder: Path) -> list[str]:
        # With workers of its own it does not start beside this uvloop; REST alone is asked.
        settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "parallel_workers": 0}
        settings |= {"debug": False, "metrics_endpoint": None}
        model = {"name": "model", "implementation": "mlserver_runtime.Runtime"}
        if batching:
            model |= {"max_batch_size": 32, "max_batch_time": float(_WINDOW)}  # type: ignore[dict-item]
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps(model))
        return [str(python.parent / "mlserver"), "start", str(folder)]

    return command


def _ray(python: Path, port: int, workload: Workload, folder: Path) -> list[str]:
    return [str(python), str(APPS / "ray_app.py"), str(port), str(folder)]


_OWN = ("uvicorn", "uvloop", "httptools", "msgspec", "onnxruntime", "numpy")
_PEER = ("onnxruntime", "numpy")
_QUIET_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}

CONTESTANTS = {
    c.name: c
    for c in (
        Contestant("primum", "primum serve, as it comes", PRIMUM, _primum(), None, _OWN),
        Contestant("primum-workers", "primum serve --workers 2", PRIMUM, _primum(False, "--workers", "2"), None, _OWN),
        Contestant("primum-guarded", "primum serve, a guarded artifact", PRIMUM, _primum(True), None, _OWN),
        Contestant(
            FLOOR, "bare ASGI on uvicorn, uvloop, httptools; model inline, no batching", PLAIN, _floor, None, _OWN
        ),
        Contestant(AGAIN, "the same once more", PLAIN, _floor, None, _OWN),
        Contestant(
            "litserve",
            "batches of 32 within 5 ms, fast queue",
            IN_JSON,
            _python("litserve_app.py", _WINDOW),
            "litserve",
            ("litserve", *_PEER),
        ),
        Contestant(
            "litserve-single",
            "no batching, fast queue",
            IN_JSON,
            _python("litserve_app.py", "0"),
            "litserve",
            ("litserve", *_PEER),
        ),
        Contestant(
            "bentoml",
            "adaptive batches of 32, uvloop and httptools installed",
            LISTED,
            _bentoml,
            "bentoml",
            ("bentoml", *_PEER),
        ),
        Contestant(
            "bentoml-shedding",
            "the same with max_latency_ms 100 and max_concurrency 64",
            LISTED,
            _bentoml,
            "bentoml",
            ("bentoml", *_PEER),
            {"BENCH_SHED": "1"},
        ),
        Contestant(
            "mlserver", "batches of 32 within 5 ms", MLSERVER, _mlserver(True), "mlserver", ("mlserver", *_PEER)
        ),
        Contestant("mlserver-single", "no batching", MLSERVER, _mlserver(False), "mlserver", ("mlserver", *_PEER)),
        Contestant("ray", "batches of 32 within 5 ms, one replica", PLAIN, _ray, "ray", ("ray", *_PEER), _QUIET_RAY),
        Contestant(
            "ray-throughput",
            "the same, RAY_SERVE_THROUGHPUT_OPTIMIZED=1",
            PLAIN,
            _ray,
            "ray",
            ("ray", *_PEER),
            _QUIET_RAY | {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
        ),
    )
}
