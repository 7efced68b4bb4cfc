"""Quantiles, throughput and the report in the specification's names."""

from math import isnan

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from primum.batching.core import Batcher
from primum.batching.report import report_of
from primum.batching.request import Item
from primum.batching.settings import Settings
from primum.batching.stats import Quantiles


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_quantiles_are_values_that_were_seen(values):
    found = Quantiles.of(values)
    expected = np.quantile(values, [0.5, 0.95, 0.99], method="inverted_cdf")
    assert [found.p50, found.p95, found.p99] == list(expected) and found.n == len(values)


def test_nothing_seen_is_nan():
    assert isnan(Quantiles.of([]).p99)
    report = report_of(Batcher().stats())
    assert isnan(report.metrics.throughput_requests_per_second) and isnan(report.metrics.average_batch_size)


def test_a_report_adds_up():
    batcher = Batcher(Settings(target_s=None))
    items = [Item(k) for k in range(4)]
    for item in items:
        batcher.submit(item, 1.0)
    batcher.cancel(items[3], 1.0)
    batcher.complete(batcher.next_batch(1.5), [0, 0, 0], 3.0)
    batcher.submit(Item("bad", cost=99), 3.0)
    metrics = report_of(batcher.stats()).metrics
    assert (metrics.total_requests, metrics.answered, metrics.cancelled, metrics.rejected) == (5, 3, 1, 1)
    assert metrics.throughput_requests_per_second == 1.5
    assert metrics.average_batch_size == 3.0
    assert metrics.p99_latency_ms == 2000.0
    assert report_of(batcher.stats()).p95_wait_ms[items[0].priority] == 500.0


def test_totals_add_up_over_items_and_batches():
    batcher = Batcher(Settings(target_s=None))
    for k in range(3):
        batcher.submit(Item(k), 1.0 + k)
    batch = batcher.next_batch(5.0)
    batcher.complete(batch, [0] * len(batch.items), 7.0, 1.5)
    batcher.submit(Item(9), 8.0)
    batcher.complete(batcher.next_batch(8.0), [0], 10.0)
    stats = batcher.stats()
    assert stats.waited_s == 4.0 + 3.0 + 2.0 and stats.served_s == 1.5 + 2.0
