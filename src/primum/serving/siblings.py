"""Metrics of all workers that share a port, whichever of them is asked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from primum.serving.observability.logs import note
from primum.serving.observability.metrics import exposition
from primum.serving.worker import Worker

_PATIENCE_S = 1.0
"""For so long another worker is waited for; its metrics are left out then, which `primum_worker_up` says."""
_LABEL = "worker"


class _Sample(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float | None
    """JSON has no NaN."""


class _Family(NamedTuple):
    name: str
    documentation: str
    type: str
    samples: list[_Sample]


_DECODER = msgspec.json.Decoder(list[_Family])


class Siblings:
    """Tells the other workers this one's metrics, and everybody those of all, each sample with its worker."""

    def __init__(self, worker: Worker, own: Callable[[], Iterable[Metric]]) -> None:
        """`own`: the metrics of this worker."""
        self._worker, self._own = worker, own
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer the other workers."""
        try:
            self._server = await asyncio.start_unix_server(self._tell, self._path(self._worker.number))
        except OSError as error:
            why = error.strerror or type(error).__name__
            note("the other workers cannot be told the metrics of this one", logging.ERROR, why=why)

    async def stop(self) -> None:
        """Answer them no more."""
        if self._server is None:
            return
        self._server.close()
        self._path(self._worker.number).unlink(missing_ok=True)

    async def metrics(self) -> bytes:
        """All workers' metrics in Prometheus' text format."""
        others = [number for number in range(1, self._worker.of + 1) if number != self._worker.number]
        found = dict(zip(others, await asyncio.gather(*map(self._ask, others))))
        found[self._worker.number] = self._labelled()
        return exposition(_merged([found[number] or [] for number in sorted(found)], self._up(found)))

    def _up(self, found: dict[int, list[_Family] | None]) -> Metric:
        up = GaugeMetricFamily("primum_worker_up", "Whether a worker told its metrics.", labels=[_LABEL])
        for number in sorted(found):
            up.add_metric([str(number)], found[number] is not None)
        return up

    def _labelled(self) -> list[_Family]:
        restarts = CounterMetricFamily("primum_worker_restarts", "Workers that ended and were started again.")
        restarts.add_metric([], self._worker.restarts)
        mine = {_LABEL: str(self._worker.number)}
        return [
            _Family(
                one.name,
                one.documentation,
                one.type,
                [_Sample(sample.name, sample.labels | mine, float(sample.value)) for sample in one.samples],
            )
            for one in (*self._own(), restarts)
        ]

    def _path(self, number: int) -> Path:
        return self._worker.folder / str(number)

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(msgspec.json.encode(self._labelled()))
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    async def _ask(self, number: int) -> list[_Family] | None:
        """The families of another worker; None where it does not tell them."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                try:
                    return _DECODER.decode(await reader.read())
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.DecodeError):
            return None


def _merged(workers: Iterable[Iterable[_Family]], *more: Metric) -> Iterator[Metric]:
    """Each family once, with the samples of all workers."""
    families: dict[str, Any] = {}
    for family in (family for worker in workers for family in worker):
        whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        for sample in family.samples:
            whole.add_sample(sample.name, sample.labels, nan if sample.value is None else sample.value)
    yield from (*families.values(), *more)
