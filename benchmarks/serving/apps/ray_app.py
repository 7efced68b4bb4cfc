"""Ray Serve: `python ray_app.py PORT FOLDER`, whose name is short: sockets lie in it."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import ray
from graph import BINARY, Graph, from_bytes, from_numbers
from ray import serve
from starlette.requests import Request

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120


@serve.deployment(num_replicas=1, max_ongoing_requests=512, logging_config={"enable_access_log": False})
class Model:
    """One replica that batches."""

    def __init__(self) -> None:
        self.graph = Graph()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def run(self, cases: list[np.ndarray]) -> list[np.ndarray]:
        """Logits of a batch."""
        return list(self.graph(np.stack(cases)))

    async def __call__(self, request: Request) -> dict:
        """One case."""
        case = from_bytes(await request.body()) if BINARY else from_numbers((await request.json())["x"])
        return {"y": (await self.run(case)).tolist()}


if __name__ == "__main__":
    names = ("BENCH_SHAPE", "BENCH_FORMAT", "BENCH_MODEL", "BENCH_TOKEN", "OMP_NUM_THREADS")
    variables = {name: os.environ[name] for name in names} | {"PYTHONPATH": _HERE}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=sys.argv[2],
        runtime_env={"env_vars": variables},
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"enable_access_log": False}
    )
    serve.run(Model.bind(), name="model", route_prefix="/predict")
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))
    while not stopped:
        signal.pause()
    serve.shutdown()
    ray.shutdown()
