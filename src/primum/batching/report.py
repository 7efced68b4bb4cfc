"""What a processor did, in the specification's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from primum.batching.outcome import OutcomeKind
from primum.batching.priority import Priority
from primum.batching.release import Release
from primum.batching.stats import BatcherStats


@dataclass(frozen=True)
class PerformanceMetrics:
    """The figures most asked for; NaN where nothing was measured yet. Latencies of the latest 1024 answers."""

    throughput_requests_per_second: float
    """Answers a second between the first submission and the last answer."""
    total_requests: int
    answered: int
    failed: int
    rejected: int
    expired: int
    cancelled: int
    late: int
    """Answered after their deadline."""
    average_batch_size: float
    """Rows a call."""
    p50_latency_ms: float
    """Submission to answer."""
    p95_latency_ms: float
    p99_latency_ms: float
    queue_size: int


@dataclass(frozen=True)
class PerformanceReport:
    """Figures, why batches were released, and everything else that was counted."""

    metrics: PerformanceMetrics
    releases: Mapping[Release, int]
    p95_wait_ms: Mapping[Priority, float]
    """Submission to release, by class."""
    stats: BatcherStats
    results_discarded: int = 0
    """Results that nobody fetched, forgotten to bound memory."""


def report_of(stats: BatcherStats, results_discarded: int = 0) -> PerformanceReport:
    """The report of a snapshot."""
    outcomes, latency = stats.outcomes, stats.latency
    metrics = PerformanceMetrics(
        throughput_requests_per_second=stats.throughput,
        total_requests=stats.submitted,
        answered=outcomes[OutcomeKind.RESULT],
        failed=outcomes[OutcomeKind.ERROR],
        rejected=outcomes[OutcomeKind.REJECTED],
        expired=outcomes[OutcomeKind.EXPIRED],
        cancelled=outcomes[OutcomeKind.CANCELLED],
        late=stats.late,
        average_batch_size=stats.mean_batch_size,
        p50_latency_ms=1e3 * latency.p50,
        p95_latency_ms=1e3 * latency.p95,
        p99_latency_ms=1e3 * latency.p99,
        queue_size=sum(stats.queued.values()),
    )
    waits = {level: 1e3 * wait.p95 for level, wait in stats.waits.items()}
    return PerformanceReport(metrics, stats.releases, waits, stats, results_discarded)
