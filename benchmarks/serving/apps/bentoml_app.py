"""BentoML: one service, batched adaptively as its manual has it."""

from __future__ import annotations

import base64
import os

import bentoml
import numpy as np
from graph import BINARY, Graph, from_bytes, from_numbers

_SHED = "BENCH_SHED" in os.environ
_TRAFFIC = {"timeout": 60, "max_concurrency": 64} if _SHED else {"timeout": 60}
_BATCHES = {"batchable": True, "max_batch_size": 32, "max_latency_ms": 100 if _SHED else 1000}


@bentoml.service(workers=1, traffic=_TRAFFIC, logging={"access": {"enabled": False}})
class Model:
    """Binary cases are base64 in JSON: its HTTP face takes no bytes that it could batch."""

    def __init__(self) -> None:
        self.graph = Graph()

    if BINARY:

        @bentoml.api(**_BATCHES)
        def predict(self, x: list[str]) -> list[list[float]]:
            """Logits of a batch."""
            return self.graph(np.stack([from_bytes(base64.b64decode(one)) for one in x])).tolist()

    else:

        @bentoml.api(**_BATCHES)
        def predict(self, x: list[list[float]]) -> list[list[float]]:
            """Logits of a batch."""
            return self.graph(np.stack([from_numbers(one) for one in x])).tolist()
