"""What is learned of buckets is bounded, and what is used most is kept."""

from hypothesis import given
from hypothesis import strategies as st

from primum.batching import plans
from primum.batching.core import Batcher
from primum.batching.outcome import Reason
from primum.batching.request import Item
from primum.batching.settings import Settings


@given(st.lists(st.integers(0, 40), max_size=120))
def test_any_shapes_are_answered_and_few_are_remembered(buckets):
    before, plans.MOST_BUCKETS = plans.MOST_BUCKETS, 8
    try:
        batcher = Batcher(Settings(target_s=None))
        for now, bucket in enumerate(buckets):
            item = Item(now, bucket=bucket)
            batcher.submit(item, float(now))
            batch = batcher.next_batch(float(now))
            batcher.complete(batch, [bucket], now + 0.5)
            assert item.outcome.reason is Reason.ANSWERED and item.outcome.value == bucket
            known = batcher.stats().buckets
            assert len(known) <= 8 and bucket in [one.bucket for one in known]
        stats = batcher.stats()
        assert len(stats.buckets) + stats.forgotten_buckets >= len(set(buckets))
        assert (stats.forgotten_buckets > 0) == (len(set(buckets)) > 8)
    finally:
        plans.MOST_BUCKETS = before


def test_the_shape_that_most_ask_for_stays():
    batcher = Batcher(Settings(target_s=None))
    for n in range(4):
        batcher.plan("usual").table.observe(n + 1, 0.01)
    for n in range(3 * plans.MOST_BUCKETS):
        batcher.plan(n).table.observe(1, 0.01)
    known = {one.bucket: one for one in batcher.stats().buckets}
    assert known["usual"].calls == 4 and len(known) <= plans.MOST_BUCKETS
