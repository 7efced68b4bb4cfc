"""Metrics in Prometheus' text format, read from the batchers' counters when asked for: requests pay nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import inf, isnan
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from primum.batching.outcome import KIND_OF, Reason
from primum.batching.stats import BatcherStats, Quantiles
from primum.serving.executor.program import ExecutorStats, Restart
from primum.serving.ladder.asking import Asking
from primum.serving.lobby import Lobby
from primum.serving.observability.tally import Tally, outcome

_MODEL = ("model",)
_ENDED = ("model", "outcome", "reason")
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Families(Protocol):
    """Metrics besides the batchers'."""

    def collect(self) -> Iterator[Metric]:
        """Every family."""


class _Models:
    def __init__(self, models: Mapping[str, BatcherStats]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Every family, with a sample for each model."""
        parts = CounterMetricFamily(
            "primum_queue_parts",
            "What left the queue: each chunk of a request, and of a guarded one what its original is asked; the "
            "background apart.",
            labels=_ENDED,
        )
        late = CounterMetricFamily("primum_inference_late", "Answers after their deadline.", labels=["model"])
        releases = CounterMetricFamily(
            "primum_batches", "Batches, by why they were released.", labels=["model", "reason"]
        )
        failures = CounterMetricFamily(
            "primum_batch_failures", "Calls that failed, by how.", labels=["model", "failure"]
        )
        queued = GaugeMetricFamily(
            "primum_queue_requests", "Requests that wait, by class.", labels=["model", "priority"]
        )
        running = GaugeMetricFamily("primum_inference_running", "Requests in a call.", labels=["model"])
        leaked = GaugeMetricFamily("primum_leaked_executors", "Executors given up for hung calls.", labels=["model"])
        sizes = HistogramMetricFamily("primum_batch_size", "Rows a batch.", labels=["model"])
        for model, stats in self._models.items():
            for reason, number in stats.reasons.items():
                patients = number - stats.background.get(reason, 0)
                parts.add_metric([model, KIND_OF[reason].value, reason.value], patients)
            for release, number in stats.releases.items():
                releases.add_metric([model, release.value], number)
            for failure, number in stats.failures.items():
                failures.add_metric([model, failure.value], number)
            for priority, number in stats.queued.items():
                queued.add_metric([model, priority.name.lower()], number)
            late.add_metric([model], stats.late)
            running.add_metric([model], stats.running)
            leaked.add_metric([model], stats.leaked_executors)
            sizes.add_metric([model], *_histogram(stats.batch_sizes))
        yield from (parts, late, releases, failures, queued, running, leaked, sizes)
        yield self._seconds("primum_inference_compute_seconds", "From release to answer.", "service")

    def _seconds(self, name: str, told: str, which: str) -> Metric:
        family = GaugeMetricFamily(name, f"{told} Of the latest 1024.", labels=["model", "quantile"])
        for model, stats in self._models.items():
            found: Quantiles = getattr(stats, which)
            for level, value in (("0.5", found.p50), ("0.95", found.p95), ("0.99", found.p99)):
                if not isnan(value):
                    family.add_metric([model, level], value)
        return family


class TallyCollector:
    """Of requests as those who sent them count, by model."""

    def __init__(self, models: Mapping[str, tuple[Tally, Asking]]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        requests = CounterMetricFamily(
            "primum_inference_requests", "Requests to a model, and cases of a batch, by how they ended.", labels=_ENDED
        )
        seconds = HistogramMetricFamily(
            "primum_inference_duration_seconds", "From the request to its answer, where it was answered.", labels=_MODEL
        )
        guarded = CounterMetricFamily("primum_guarded_cases", "Cases of guarded artifacts answered.", labels=_MODEL)
        deferred = CounterMetricFamily("primum_deferred_cases", "Of those, answered by the original.", labels=_MODEL)
        for model, (tally, asking) in self._models.items():
            known = {(KIND_OF[reason].value, reason.value) for reason in Reason}
            for kind, reason in sorted(known | tally.ended.keys()):
                requests.add_metric([model, kind, reason], tally.ended[kind, reason])
            seconds.add_metric([model], tally.seconds.cumulated, tally.seconds.sum)
            guarded.add_metric([model], asking.guarded)
            deferred.add_metric([model], asking.deferred)
        yield from (requests, seconds, guarded, deferred)


class RequestCollector:
    """Of every request that is taken down, by status. `ended`: by what was asked for, model and status."""

    def __init__(self, ended: Mapping[tuple[str, str, int], int]) -> None:
        self._ended = ended

    def collect(self) -> Iterator[Metric]:
        """The one family."""
        told = "Requests that callers sent, by the status of HTTP or gRPC that they ended with."
        requests = CounterMetricFamily("primum_requests", told, labels=["what", "model", "outcome", "code"])
        for (what, model, status), number in self._ended.items():
            requests.add_metric([what, model, outcome(status), str(status)], number)
        yield requests


class AuditCollector:
    """Of the audit log; nothing where there is none. `log`: whether it fails, records that wait, requests refused."""

    def __init__(self, log: tuple[bool, int, int] | None) -> None:
        self._log = log

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        if self._log is None:
            return
        failing, waiting, refused = self._log
        told = "Whether the audit log cannot be written, so that nothing is answered."
        yield GaugeMetricFamily("primum_audit_failing", told, value=failing)
        yield GaugeMetricFamily("primum_audit_waiting_records", "Records not on the disk yet.", value=waiting)
        told = "Requests refused because they could not have been recorded."
        yield CounterMetricFamily("primum_audit_refused_requests", told, value=refused)


class ExecutorCollector:
    """Of models that run in processes of their own."""

    def __init__(self, models: Mapping[str, ExecutorStats]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        wanted = GaugeMetricFamily("primum_executors_wanted", "Processes there should be.", labels=["model"])
        alive = GaugeMetricFamily("primum_executors", "Processes that can run every network.", labels=["model"])
        restarts = CounterMetricFamily(
            "primum_executor_restarts", "Processes replaced, by why.", labels=["model", "reason"]
        )
        for model, stats in self._models.items():
            if stats.wanted:
                wanted.add_metric([model], stats.wanted)
                alive.add_metric([model], stats.alive)
                for reason in Restart:
                    restarts.add_metric([model, reason.value], stats.restarts.get(reason, 0))
        yield from (wanted, alive, restarts)


class ServerCollector:
    """Of the server, before a request is read."""

    def __init__(self, lobby: Lobby) -> None:
        self._lobby = lobby

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        shed = "Requests turned away unread, because more came than the event loop can handle."
        yield CounterMetricFamily("primum_http_shed_requests", shed, value=self._lobby.turned_away)
        standing = "Whether requests are being turned away unread."
        yield GaugeMetricFamily("primum_http_shedding", standing, value=self._lobby.standing)
        waiting = "Requests that wait to be read."
        yield GaugeMetricFamily("primum_http_unread_requests", waiting, value=len(self._lobby))


def collected(models: Mapping[str, BatcherStats], *others: Families) -> list[Metric]:
    """All families, those of other collectors too."""
    return [family for one in (_Models(models), *others) for family in one.collect()]


class _Given:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """They."""
        return self._families


def exposition(families: Iterable[Metric]) -> bytes:
    """Their text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(families))
    text: bytes = generate_latest(registry)
    return text


def _histogram(sizes: Mapping[int, int]) -> tuple[list[tuple[str, float]], float]:
    """Cumulated counts by upper bound, and the sum."""
    bounds = [(str(bound), sum(n for size, n in sizes.items() if size <= bound)) for bound in (*_SIZES, inf)]
    return [(("+Inf" if bound == "inf" else bound), float(n)) for bound, n in bounds], float(
        sum(size * n for size, n in sizes.items())
    )
