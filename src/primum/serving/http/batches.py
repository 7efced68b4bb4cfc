"""Many raw cases in one request, and what batching did for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from primum.batching.stats import BatcherStats
from primum.data.preprocessing_any import AnyPreprocessing
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.data.preprocessing_table import TablePreprocessing
from primum.errors import InputError, RequestExpired
from primum.serving.dataplane import DataPlane, Unavailable
from primum.serving.http.responses import Response, failure, told
from primum.serving.http.routing import Call, Route, checked_timeout
from primum.serving.model import INPUT, ServedModel
from primum.serving.predictions import predictions
from primum.serving.security.access import Scope
from primum.serving.wire.protocol import error_body

MOST_CASES = 10_000
"""In one request."""
_AHEAD = 4
"""Batches of cases that wait in the queue at a time: enough to fill the next, and others find room."""
_LEVELS = 255


class _Body(msgspec.Struct):
    model_name: str
    data: list[msgspec.Raw]
    """Cases stay bytes, to be read one by one: all in one call would keep the interpreter's lock for long."""
    enable_batching: bool = True
    priority: int = 0
    timeout_ms: float | None = None


@dataclass(frozen=True)
class _Case:
    """`ended`: the answer in words, or what went wrong with this case alone."""

    index: int
    ended: dict[str, Any] | Exception
    unproven: bool = False
    """Nothing shows that the artifact that answered is no worse than its original."""


class BatchPredict:
    """Answers POST /optimization/batch-predict. A case that cannot be answered fails alone."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def routes(self) -> tuple[Route, ...]:
        """Its row of the table."""
        return (Route("POST", "/optimization/batch-predict", Scope.INFER, "batch-predict", self._answer),)

    async def _answer(self, call: Call) -> Any:
        body = await call.read_as(_Body)
        model = self._plane.model(body.model_name)
        call.note.model, call.note.cases = model.name, len(body.data)
        if not 1 <= len(body.data) <= MOST_CASES:
            raise InputError(f"data holds {len(body.data)} cases; give 1 to {MOST_CASES}")
        if body.priority < 0:
            raise InputError("priority is a whole number of at least 0")
        due = None if body.timeout_ms is None else perf_counter() + checked_timeout(body.timeout_ms)
        manifest, start = model.rung.manifest, perf_counter()
        rows = await asyncio.to_thread(_prepared, body.data, manifest.preprocessing, manifest.signature.input_shape)
        ready, before = perf_counter(), model.stats()
        ask = _Asking(model, manifest.preprocessing, body.priority, due)
        cases = await ask.all(rows, 1 if not body.enable_batching else _AHEAD * model.batcher.config.max_batch_size)
        call.note.sha256 = model.rung.digest
        if isinstance(cases[0].ended, Exception) and all(isinstance(case.ended, Exception) for case in cases):
            return _none(cases[0].ended)
        return {
            "model_name": model.name,
            "unproven": any(case.unproven for case in cases),
            "predictions": [_listed(case) for case in cases],
            "performance": {
                "enable_batching": body.enable_batching,
                **_performance(cases, before, model.stats()),
                "preprocessing_ms": (ready - start) * 1e3,
                "total_ms": (perf_counter() - start) * 1e3,
                "throughput_cases_per_s": len(cases) / (perf_counter() - start),
            },
        }


@dataclass(frozen=True)
class _Asking:
    """How the cases of one request are asked."""

    model: ServedModel
    preprocessing: AnyPreprocessing
    priority: int
    due: float | None

    async def all(self, rows: Sequence[NDArray[np.float32] | InputError], ahead: int) -> list[_Case]:
        """Every case, at most `ahead` of them at a time."""
        free = asyncio.Semaphore(ahead)
        return await asyncio.gather(*[self._one(index, row, free) for index, row in enumerate(rows)])

    async def _one(self, index: int, row: NDArray[np.float32] | InputError, free: asyncio.Semaphore) -> _Case:
        if isinstance(row, InputError):
            return _Case(index, row)
        async with free:
            try:
                left = None if self.due is None else self.due - perf_counter()
                if left is not None and left <= 0:
                    raise RequestExpired("deadline_passed")
                # Between this and the call nothing else runs: rows of one artifact never go to another.
                if self.model.rung.manifest.preprocessing != self.preprocessing:
                    raise Unavailable("the model was replaced meanwhile; ask again")
                outputs, rung = await self.model.infer({INPUT: row[None]}, self.priority, left)
                return _Case(index, {**predictions(rung, outputs)[0], "model_version": rung.version}, rung.unproven)
            # Whatever went wrong is this case's alone.
            except Exception as error:  # noqa: BLE001
                return _Case(index, error)


def _prepared(
    data: Sequence[msgspec.Raw], preprocessing: AnyPreprocessing, shape: tuple[int, ...]
) -> list[NDArray[np.float32] | InputError]:
    """The network's input of each case, or why it has none."""
    rows: list[NDArray[np.float32] | InputError] = []
    for raw in data:
        try:
            with np.errstate(over="ignore"):
                row = _case(_value(raw), preprocessing)
            if not np.isfinite(row).all():
                raise InputError("a value is too large for FP32 once it is preprocessed")
            if row.shape != shape:
                raise InputError(f"it is {list(row.shape)} after preprocessing, the model takes {list(shape)}")
            rows.append(row)
        except InputError as error:
            rows.append(error)
    return rows


def _value(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.MsgspecError as error:
        raise InputError(f"its JSON is not read: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError("it is not valid UTF-8") from error


def _case(raw: Any, preprocessing: AnyPreprocessing) -> NDArray[np.float32]:
    """A case in JSON as the network takes it: an array nested in lists, a table's row as object or in the order of its
    columns, an image of 8 bits as rows of pixels.
    """
    if isinstance(preprocessing, ArrayPreprocessing):
        return preprocessing(raw)
    if isinstance(preprocessing, TablePreprocessing):
        if isinstance(raw, list):
            if len(raw) != len(preprocessing.names):
                raise InputError(f"a row has {len(preprocessing.names)} columns, not {len(raw)}")
            raw = dict(zip(preprocessing.names, raw))
        return preprocessing(raw)
    try:
        pixels = np.asarray(raw)
    except ValueError as error:
        raise InputError("an image's rows must all have one length") from error
    # Of 16 bits a dark image would pass for one of 8.
    if pixels.dtype.kind not in "iu" or pixels.size == 0 or pixels.min() < 0 or pixels.max() > _LEVELS:
        raise InputError(f"an image holds whole numbers from 0 to {_LEVELS}; send deeper ones to /predict as files")
    return preprocessing(pixels.astype(np.uint8))


def _listed(case: _Case) -> dict[str, Any]:
    if isinstance(case.ended, Exception):
        return {"index": case.index, "error": told(case.ended)}
    return {"index": case.index, **case.ended}


def _none(error: Exception) -> Response:
    """Where no case was answered: as the first ended."""
    ended = failure(error)
    return Response(ended.status, ended.headers, error_body(f"no case was answered; case 0: {told(error)}"))


def _performance(cases: Sequence[_Case], before: BatcherStats, after: BatcherStats) -> dict[str, Any]:
    """What the model's batcher did meanwhile. `requests` counts all that it was asked in that time, by others and for a
    guarded artifact's original too; the figures below it are of all of these.
    """
    sizes = {size: n - before.batch_sizes.get(size, 0) for size, n in after.batch_sizes.items()}
    sizes = {size: n for size, n in sorted(sizes.items()) if n}
    submitted, batches = after.submitted - before.submitted, sum(sizes.values())
    return {
        "cases": len(cases),
        "failed": sum(isinstance(case.ended, Exception) for case in cases),
        "requests": submitted,
        "batches": batches,
        "batch_sizes": {str(size): n for size, n in sizes.items()},
        "mean_batch_size": sum(size * n for size, n in sizes.items()) / batches if batches else None,
        "mean_queue_ms": (after.waited_s - before.waited_s) / submitted * 1e3 if submitted else None,
        "compute_ms": (after.served_s - before.served_s) * 1e3,
    }
