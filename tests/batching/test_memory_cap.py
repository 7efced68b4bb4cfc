"""What a batch is held to once memory ran out, and how it is tried again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from primum.batching.memory_cap import MemoryCap

DAY_S = 86_400.0


def lived(cap, holds, seconds, most, every_s=10.0, start=0.0):
    """Batches as large as allowed, one each ten seconds, in a memory of `holds(now)` rows; (now, size, failed)."""
    seen, now = [], start
    while now < start + seconds:
        size = min(most, cap.size or most)
        failed = size > holds(now)
        seen.append((now, size, failed))
        if failed:
            cap.ran_out(size)
        else:
            cap.answered(size, now)
        now += every_s
    return seen


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 200), st.integers(1, 256))
def test_a_cap_settles_at_what_holds_and_tries_more_ever_more_rarely(memory, most):
    cap = MemoryCap()
    seen = lived(cap, lambda _: memory, 4 * DAY_S, most)
    settled = [entry for entry in seen if entry[0] > DAY_S]
    # By halves below what holds, then up by quarters: never more than one step short of it.
    assert all(size <= memory for _, size, failed in settled if not failed)
    assert max(size for _, size, failed in settled if not failed) * 1.25 + 1 > min(memory, most)
    failures = [now for now, _, failed in settled if failed]
    assert len(failures) <= 7, "the while between trials doubles"


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.integers(64, 128))
def test_memory_that_is_free_again_is_used_again(little, most):
    cap = MemoryCap()
    lived(cap, lambda _: little, 3600.0, most)
    assert cap.size <= little
    lived(cap, lambda _: 10**9, 3 * DAY_S, most, start=3600.0)
    assert cap.size >= most


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 64)), max_size=60))
def test_it_rises_only_after_a_while_of_batches_as_large_as_it_is(calls):
    cap, now = MemoryCap(), 0.0
    for failed, size in calls:
        before = cap.size
        if failed:
            cap.ran_out(size)
            assert cap.size is not None and 1 <= cap.size <= (before or max(1, size // 2))
        else:
            cap.answered(size, now)
            assert cap.size == before
        now += 1.0


def test_a_step_that_fails_is_taken_back_whole():
    cap = MemoryCap()
    cap.ran_out(33)
    assert cap.size == 16
    cap.answered(16, 0.0)
    assert not cap.answered(15, 700.0)
    assert cap.answered(16, 700.0) and cap.size == 20
    cap.ran_out(20)
    assert cap.size == 16
    cap.answered(16, 800.0)
    assert not cap.answered(16, 1900.0), "twice as long now"
    assert cap.answered(16, 2000.0)
