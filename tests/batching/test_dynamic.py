"""DynamicBatcher in a real event loop: what is batched together, who hears of what, and where calls run."""

import asyncio
import threading
import time

import numpy as np
import pytest

from primum.batching import BatchConfig, BatchStrategy, DynamicBatcher, create_health_model_batcher, dispatcher
from primum.batching.bucket import array_bucket
from primum.batching.outcome import OutcomeKind, Reason
from primum.batching.release import Release
from primum.errors import ExecutorHung, InputError, OutputCountError, RequestExpired, RequestRejected


class Elementwise:
    """Twice its input; notes the shape of every batch that it is given."""

    def __init__(self, sleep_s=0.0):
        self.shapes, self.sleep_s = [], sleep_s

    def predict_tensor(self, batch):
        self.shapes.append(batch.shape)
        time.sleep(self.sleep_s)
        return 2 * batch


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def test_requests_of_one_tick_share_a_batch_and_each_gets_its_own_answer():
    model = Elementwise()

    async def main():
        async with DynamicBatcher(model) as batcher:
            rows = [np.full(3, k, dtype=np.float32) for k in range(20)]
            return rows, await asyncio.gather(*(batcher.predict(row) for row in rows)), batcher.stats()

    rows, answers, stats = run(main())
    assert all(np.array_equal(answer, 2 * row) for row, answer in zip(rows, answers))
    assert model.shapes == [(20, 3)]
    assert stats.releases == {Release.IDLE: 1}


def test_unequal_shapes_never_share_a_batch():
    """Shapes [1, 2], [1, 4], [1, 2] at once: MLServer 1.7.1 gave the third client the second's numbers."""
    model = Elementwise()

    async def main():
        async with DynamicBatcher(model) as batcher:
            inputs = [np.array([[1.0, 2.0]]), np.array([[3.0, 4.0, 5.0, 6.0]]), np.array([[7.0, 8.0]])]
            return inputs, await asyncio.gather(*(batcher.predict(x) for x in inputs))

    inputs, answers = run(main())
    assert [a.tolist() for a in answers] == [(2 * x).tolist() for x in inputs]
    assert sorted(model.shapes) == [(1, 1, 4), (2, 1, 2)]


def test_cancelling_one_of_four_in_a_running_batch_leaves_the_others_their_answers():
    """MLServer 1.7.1: KeyError, then InvalidStateError, and the two later clients hang."""
    model = Elementwise(sleep_s=0.2)

    async def main():
        async with DynamicBatcher(model) as batcher:
            tasks = [asyncio.create_task(batcher.predict(np.array([float(k)]))) for k in range(4)]
            await asyncio.sleep(0.05)
            assert batcher.stats().running == 4
            tasks[1].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            return answers, batcher.stats()

    answers, stats = run(main())
    assert isinstance(answers.pop(1), asyncio.CancelledError)
    assert [a.item() for a in answers] == [0.0, 4.0, 6.0]
    assert stats.outcomes[OutcomeKind.CANCELLED] == 1 and stats.outcomes[OutcomeKind.RESULT] == 3
    assert stats.pending == 0


def test_a_cancelled_request_that_waits_is_never_run():
    model = Elementwise(sleep_s=0.1)

    async def main():
        async with DynamicBatcher(model) as batcher:
            first = asyncio.create_task(batcher.predict(np.zeros(1)))
            await asyncio.sleep(0.02)
            second = asyncio.create_task(batcher.predict(np.ones(1)))
            await asyncio.sleep(0.02)
            second.cancel()
            await first

    run(main())
    assert model.shapes == [(1, 1)]


def test_a_bad_item_among_31_fails_alone():
    def model(batch):
        if 13 in batch:
            raise ValueError("thirteen")
        return [2 * x for x in batch]

    async def main():
        async with DynamicBatcher(model) as batcher:
            return await asyncio.gather(*(batcher.predict(k) for k in range(32)), return_exceptions=True)

    answers = run(main())
    assert isinstance(answers[13], ValueError)
    assert [a for k, a in enumerate(answers) if k != 13] == [2 * k for k in range(32) if k != 13]


def test_validation_refuses_before_joining():
    seen = []

    def model(batch):
        seen.extend(batch)
        return batch

    def validate(x):
        if x < 0:
            raise InputError("negative")

    async def main():
        async with DynamicBatcher(model, validate=validate) as batcher:
            return await asyncio.gather(*(batcher.predict(x) for x in (1, -1, 2)), return_exceptions=True)

    good, bad, other = run(main())
    assert (good, other) == (1, 2) and -1 not in seen
    assert isinstance(bad, RequestRejected) and bad.reason == "invalid" and "negative" in str(bad)


@pytest.mark.parametrize("outputs", [lambda b: b[:-1], lambda b: [*b, 0], lambda b: 7, lambda b: "abc", lambda b: {}])
def test_a_wrong_number_of_outputs_is_an_error_for_each_and_mixes_nothing(outputs):
    async def main():
        async with DynamicBatcher(lambda batch: outputs(batch)) as batcher:
            return await asyncio.gather(*(batcher.predict(k) for k in range(4)), return_exceptions=True)

    answers = run(main())
    assert all(isinstance(a, OutputCountError) for a in answers)
    assert len({id(a) for a in answers}) == 4


def test_rows_of_pieces_that_happen_to_match_the_number_of_requests_are_not_mixed():
    async def main():
        async with DynamicBatcher(lambda batch: batch[:2], stacked=True) as batcher:
            many = [batcher.predict_many(np.full((2, 1), k)) for k in range(2)]
            return await asyncio.gather(*many, return_exceptions=True)

    assert all(isinstance(a, OutputCountError) for a in run(main()))


def test_a_hung_call_ends_in_an_error_and_the_next_goes_on():
    release = threading.Event()

    def model(batch):
        if "hang" in batch:
            release.wait(10)
        return batch

    async def main():
        config = BatchConfig(executor_timeout_s=0.2)
        async with DynamicBatcher(model, config=config) as batcher:
            with pytest.raises(ExecutorHung):
                await batcher.predict("hang")
            leaked = batcher.stats().leaked_executors
            after = await batcher.predict("go")
            release.set()
            while batcher.stats().leaked_executors:
                await asyncio.sleep(0.01)
            return leaked, after, batcher.stats()

    leaked, after, stats = run(main())
    assert (leaked, after) == (1, "go")
    assert stats.reasons[Reason.EXECUTOR_HUNG] == 1 and stats.outcomes[OutcomeKind.RESULT] == 1


def test_short_calls_move_into_the_loop_and_long_ones_stay_in_a_thread():
    async def threads_used(sleep_s):
        used = []

        def model(batch):
            used.append(threading.current_thread() is threading.main_thread())
            time.sleep(sleep_s)
            return batch

        async with DynamicBatcher(model, config=BatchConfig(inline_below_us=2000)) as batcher:
            for k in range(12):
                await batcher.predict(k)
        return used

    assert not run(threads_used(0.01))[0] and not any(run(threads_used(0.01)))
    quick = run(threads_used(0.0))
    assert not quick[0] and all(quick[-3:])


def test_short_calls_keep_pace_with_what_one_tick_brings(monkeypatch):
    """One batch a tick left all others of a tick that brought many to the next: a queue that stood, below capacity."""
    monkeypatch.setattr(dispatcher, "INLINE_S", 1.0)
    ticks = 0

    def count():
        nonlocal ticks
        ticks += 1
        asyncio.get_running_loop().call_soon(count)

    async def main():
        async with DynamicBatcher(list, config=BatchConfig(inline_below_us=2000)) as batcher:
            await batcher.warm_up(0)
            count()
            answers = await asyncio.gather(*(batcher.predict(k) for k in range(640)))
            return answers, ticks

    answers, taken = run(main())
    assert answers == list(range(640)) and taken < 10, "twenty batches of 32"


def test_a_coroutine_function_is_awaited_and_may_hang():
    async def model(batch):
        await asyncio.sleep(10 if "hang" in batch else 0)
        return [x.upper() for x in batch]

    async def main():
        async with DynamicBatcher(model, config=BatchConfig(executor_timeout_s=0.1)) as batcher:
            assert await batcher.predict("a") == "A"
            with pytest.raises(ExecutorHung):
                await batcher.predict("hang")
            return await batcher.predict("b")

    assert run(main()) == "B"


def test_expired_answers_come_while_the_executor_is_busy():
    """A queue timeout that fired only after the running call (Triton issue 7512)."""
    model = Elementwise(sleep_s=0.5)

    async def main():
        async with DynamicBatcher(model) as batcher:
            busy = asyncio.create_task(batcher.predict(np.zeros(1)))
            await asyncio.sleep(0.05)
            start = time.monotonic()
            with pytest.raises(RequestExpired):
                await batcher.predict(np.zeros(1), timeout_s=0.1)
            waited = time.monotonic() - start
            await busy
            return waited

    assert 0.05 < run(main()) < 0.4


def test_a_deadline_that_the_queue_cannot_meet_is_refused_at_once_with_a_time_to_retry():
    model = Elementwise(sleep_s=0.1)

    async def main():
        async with DynamicBatcher(model, config=BatchConfig(max_batch_size=1)) as batcher:
            await batcher.predict(np.zeros(1))
            others = [asyncio.create_task(batcher.predict(np.zeros(1))) for _ in range(3)]
            await asyncio.sleep(0.01)
            start = time.monotonic()
            with pytest.raises(RequestRejected) as rejected:
                await batcher.predict(np.zeros(1), timeout_s=0.15)
            took = time.monotonic() - start
            await asyncio.gather(*others)
            return rejected.value, took

    rejected, took = run(main())
    assert rejected.reason == "deadline_unmeetable" and 0 < rejected.retry_after_s < 1
    assert took < 0.09


def test_one_slow_first_call_does_not_refuse_everything_for_ever():
    calls = []

    def model(batch):
        calls.append(len(batch))
        time.sleep(0.4 if len(calls) == 1 else 0.0)
        return batch

    async def main():
        async with DynamicBatcher(model) as batcher:
            await batcher.predict(0)
            first = await asyncio.gather(batcher.predict(1, timeout_s=0.2), return_exceptions=True)
            await asyncio.sleep(0.15)
            return first[0], await batcher.predict(2, timeout_s=0.2), await batcher.predict(3, timeout_s=0.2)

    first, probe, after = run(main())
    assert isinstance(first, RequestRejected)
    assert (probe, after) == (2, 3)


def test_emergencies_go_first():
    order = []

    def model(batch):
        order.extend(batch)
        time.sleep(0.05)
        return batch

    async def main():
        async with DynamicBatcher(model, max_batch_size=1) as batcher:
            names = ("first", "routine", "urgent", "emergency")
            tasks = [asyncio.create_task(batcher.predict("first"))]
            await asyncio.sleep(0.02)
            tasks += [asyncio.create_task(batcher.predict(name, priority=name)) for name in names[1:]]
            await asyncio.gather(*tasks)

    run(main())
    assert order == ["first", "emergency", "urgent", "routine"]


def test_a_batch_is_held_for_a_request_being_decoded_and_no_longer_than_the_window():
    model = Elementwise()

    async def main():
        async with DynamicBatcher(model, max_wait_ms=300) as batcher:
            bucket = array_bucket(np.dtype(float), (1,))
            assert bucket == batcher.bucket(np.zeros(1))
            with batcher.expecting(bucket):
                first = asyncio.create_task(batcher.predict(np.zeros(1)))
                await asyncio.sleep(0.02)
                assert not model.shapes
                second = asyncio.create_task(batcher.predict(np.ones(1)))
                await asyncio.sleep(0)
            await asyncio.gather(first, second)
            assert model.shapes == [(2, 1)]
            start = time.monotonic()
            with batcher.expecting(bucket):
                await batcher.predict(np.zeros(1))
            assert 0.25 < time.monotonic() - start < 2
            assert batcher.stats().releases[Release.WINDOW] == 1

    run(main())


def test_the_timeout_strategy_waits_for_its_window():
    model = Elementwise()

    async def main():
        config = BatchConfig(strategy=BatchStrategy.TIMEOUT, max_wait_ms=100)
        async with DynamicBatcher(model, config=config) as batcher:
            first = asyncio.create_task(batcher.predict(np.zeros(1)))
            await asyncio.sleep(0.03)
            await asyncio.gather(first, batcher.predict(np.zeros(1)))

    run(main())
    assert model.shapes == [(2, 1)]


def test_out_of_memory_halves_and_is_remembered():
    sizes = []

    def model(batch):
        sizes.append(len(batch))
        if len(batch) > 5:
            raise MemoryError
        return batch

    async def main():
        async with DynamicBatcher(model) as batcher:
            first = await asyncio.gather(*(batcher.predict(k) for k in range(16)))
            second = await asyncio.gather(*(batcher.predict(k) for k in range(16)))
            return first, second, batcher.stats()

    first, second, stats = run(main())
    assert first == second == list(range(16))
    assert sizes == [16, 8, *[4] * 8]
    assert [facts.memory_cap for facts in stats.buckets] == [4]


def test_many_cases_go_in_chunks_and_come_back_in_order():
    model = Elementwise()

    async def main():
        async with DynamicBatcher(model, max_batch_size=8) as batcher:
            cases = np.arange(60.0).reshape(20, 3)
            return cases, await batcher.predict_many(cases), await batcher.predict_many(cases[:1])

    cases, answers, one = run(main())
    assert np.array_equal(answers, 2 * cases) and np.array_equal(one, 2 * cases[:1])
    assert model.shapes == [(8, 3), (8, 3), (4, 3), (1, 3)]


def test_a_chunk_that_runs_out_of_memory_goes_again_in_halves():
    def model(batch):
        if len(batch) > 3:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 8")
        return 2 * batch

    async def main():
        async with DynamicBatcher(model, stacked=True, max_batch_size=16) as batcher:
            return await batcher.predict_many(np.arange(20.0))

    assert np.array_equal(run(main()), 2 * np.arange(20.0))


def test_stopping_drains_or_turns_away_and_refuses_what_comes_later():
    async def main(drain):
        batcher = DynamicBatcher(Elementwise(sleep_s=0.1), max_batch_size=1)
        processor = asyncio.create_task(batcher.batch_processor())
        tasks = [asyncio.create_task(batcher.predict(np.full(1, float(k)))) for k in range(3)]
        await asyncio.sleep(0.02)
        await batcher.stop(drain=drain)
        await processor
        with pytest.raises(RequestRejected) as refused:
            await batcher.predict(np.zeros(1))
        assert refused.value.reason == "draining"
        assert batcher.stats().pending == 0
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [a.item() for a in run(main(True))] == [0.0, 2.0, 4.0]
    first, *rest = run(main(False))
    assert first.item() == 0.0
    assert [r.reason for r in rest] == ["stopped", "stopped"]


def test_warming_up_fills_the_table_before_requests_come():
    model = Elementwise()

    async def main():
        async with DynamicBatcher(model, max_batch_size=8) as batcher:
            sizes = await batcher.warm_up(np.zeros(2), calls=3)
            return sizes, batcher.stats()

    sizes, stats = run(main())
    assert sizes == (1, 2, 4, 8)
    assert stats.submitted == 0 and set(stats.buckets[0].latency_s) == {1, 2, 4, 8}


def test_an_input_that_the_model_cannot_take_is_refused_by_itself():
    async def main():
        async with DynamicBatcher(Elementwise()) as batcher:
            with pytest.raises(InputError, match="ragged"):
                await batcher.predict([[1, 2], [3]])
            with pytest.raises(InputError, match="array of numbers"):
                await batcher.predict("text")

    run(main())


def test_a_batcher_belongs_to_one_loop():
    batcher = DynamicBatcher(lambda batch: batch)
    assert run(batcher.predict(1)) == 1
    with pytest.raises(InputError, match="another event loop"):
        run(batcher.predict(1))


def test_settings_that_contradict_each_other_or_are_unknown_are_refused():
    with pytest.raises(InputError, match="not both"):
        DynamicBatcher(lambda b: b, max_batch_size=4, config=BatchConfig())
    with pytest.raises(InputError, match="cannot be batched"):
        DynamicBatcher(object())
    with pytest.raises(InputError, match="max_batch"):
        create_health_model_batcher(lambda b: b, {"max_batch": 3})


def test_an_error_of_the_model_does_not_end_the_loop_when_calls_run_in_it():
    async def main():
        async with DynamicBatcher(lambda batch: [1 / x for x in batch]) as batcher:
            for _ in range(5):
                await batcher.predict(1)
            with pytest.raises(ZeroDivisionError):
                await batcher.predict(0)
            return await batcher.predict(2)

    assert run(main()) == 0.5
