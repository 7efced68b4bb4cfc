"""BatchProcessor with real threads."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from primum.batching import BatchConfig, BatchProcessor, BatchRequest
from primum.batching import processor as module
from primum.errors import ExecutorHung, InputError, OutputCountError, RequestExpired, RequestRejected


def double(batch):
    return [2 * x for x in batch]


def slow(seconds):
    def model(batch):
        time.sleep(seconds)
        return double(batch)

    return model


def test_many_threads_get_their_own_answers():
    with BatchProcessor(BatchConfig(executors=2), double) as processor, ThreadPoolExecutor(8) as pool:

        def ask(k):
            return processor.get_result(processor.submit_request(BatchRequest(k)), timeout=20)

        assert list(pool.map(ask, range(2000))) == [2 * k for k in range(2000)]
        report = processor.get_performance_report()
    assert report.metrics.answered == report.metrics.total_requests == 2000
    assert report.metrics.throughput_requests_per_second > 0
    assert report.stats.pending == 0


def test_what_waits_for_a_busy_executor_goes_together():
    sizes = []

    def model(batch):
        sizes.append(len(batch))
        time.sleep(0.1)
        return batch

    with BatchProcessor(BatchConfig(), model) as processor:
        first = processor.submit_request(BatchRequest(0))
        time.sleep(0.03)
        ids = processor.submit_batch([BatchRequest(k) for k in range(1, 8)])
        assert [processor.get_result(i, 10) for i in (first, *ids)] == list(range(8))
    assert sizes == [1, 7]


def test_a_bad_item_fails_alone_and_a_wrong_count_fails_all():
    def model(batch):
        if len(batch) == 3:
            return batch[:2]
        if 13 in batch:
            raise ValueError("thirteen")
        return batch

    with BatchProcessor(BatchConfig(), slow_start(model)) as processor:
        processor.submit_request(BatchRequest(0))
        time.sleep(0.03)
        ids = processor.submit_batch([BatchRequest(k) for k in (12, 13, 14, 15)])
        assert processor.get_result(ids[0], 10) == 12
        with pytest.raises(ValueError, match="thirteen"):
            processor.get_result(ids[1], 10)
        assert [processor.get_result(i, 10) for i in ids[2:]] == [14, 15]
    with BatchProcessor(BatchConfig(), slow_start(model)) as processor:
        processor.submit_request(BatchRequest(0))
        time.sleep(0.03)
        for i in processor.submit_batch([BatchRequest(k) for k in range(3)]):
            with pytest.raises(OutputCountError):
                processor.get_result(i, 10)


def slow_start(model):
    """The first call takes long enough for the others to be handed in."""
    calls = []

    def wrapped(batch):
        calls.append(batch)
        if len(calls) == 1:
            time.sleep(0.1)
        return model(batch)

    return wrapped


def test_a_hung_call_is_given_up_and_its_executor_replaced():
    release = threading.Event()

    def model(batch):
        if "hang" in batch:
            release.wait(10)
        return batch

    with BatchProcessor(BatchConfig(executor_timeout_s=0.2), model) as processor:
        with pytest.raises(ExecutorHung):
            processor.get_result(processor.submit_request(BatchRequest("hang")), 10)
        assert processor.get_performance_report().stats.leaked_executors == 1
        assert processor.get_result(processor.submit_request(BatchRequest("go")), 10) == "go"
        release.set()
        until = time.monotonic() + 10
        while processor.get_performance_report().stats.leaked_executors and time.monotonic() < until:
            time.sleep(0.01)
        assert processor.get_performance_report().stats.leaked_executors == 0


def test_expiry_reaches_who_waits_while_the_executor_is_busy():
    with BatchProcessor(BatchConfig(), slow(0.6)) as processor:
        processor.submit_request(BatchRequest(0))
        time.sleep(0.05)
        start = time.monotonic()
        with pytest.raises(RequestExpired):
            processor.get_result(processor.submit_request(BatchRequest(1, timeout_s=0.1)), 10)
        assert 0.05 < time.monotonic() - start < 0.45


def test_a_time_limit_on_waiting_leaves_the_request_alone():
    with BatchProcessor(BatchConfig(), slow(0.2)) as processor:
        request_id = processor.submit_request(BatchRequest(4))
        with pytest.raises(TimeoutError):
            processor.get_result(request_id, timeout=0.01)
        assert processor.get_result(request_id, timeout=10) == 8
        with pytest.raises(InputError, match="fetched before"):
            processor.get_result(request_id)


def test_cancelling():
    with BatchProcessor(BatchConfig(), slow(0.2)) as processor:
        processor.submit_request(BatchRequest(0))
        time.sleep(0.05)
        request_id = processor.submit_request(BatchRequest(1))
        assert processor.cancel_request(request_id)
        assert not processor.cancel_request(request_id)
        with pytest.raises(CancelledError):
            processor.get_result(request_id, 10)
        assert processor.get_performance_report().metrics.cancelled == 1


def test_validation_refuses_before_joining():
    def validate(x):
        if x < 0:
            raise ValueError("negative")

    with BatchProcessor(BatchConfig(), double, validate=validate) as processor:
        with pytest.raises(RequestRejected, match="negative"):
            processor.get_result(processor.submit_request(BatchRequest(-1)), 10)
        assert processor.get_result(processor.submit_request(BatchRequest(1)), 10) == 2


def test_more_inputs_than_the_queue_holds():
    with BatchProcessor(BatchConfig(max_batch_size=4, max_queue_size=10), double) as processor:
        assert processor.process_many(range(100), timeout=20) == [2 * k for k in range(100)]
        with pytest.raises(TimeoutError):
            processor.process_many([1], timeout=0.0)


@pytest.mark.parametrize("drain", [True, False])
def test_stopping(drain):
    processor = BatchProcessor(BatchConfig(max_batch_size=1), slow(0.1)).start()
    ids = processor.submit_batch([BatchRequest(k) for k in range(3)])
    time.sleep(0.03)
    processor.stop(drain=drain, timeout=10)
    assert processor.get_result(ids[0], 0) == 0
    if drain:
        assert [processor.get_result(i, 0) for i in ids[1:]] == [2, 4]
    else:
        for i in ids[1:]:
            with pytest.raises(RequestRejected):
                processor.get_result(i, 0)
    with pytest.raises(RequestRejected):
        processor.get_result(processor.submit_request(BatchRequest(1)), 0)
    with pytest.raises(InputError, match="started before"):
        processor.start()


def test_threads_end_with_the_processor():
    before = set(threading.enumerate())
    with BatchProcessor(BatchConfig(executors=3), double) as processor:
        processor.process_many(range(10))
        own = set(threading.enumerate()) - before
        assert own
    for thread in own:
        thread.join(5)
    assert not any(thread.is_alive() for thread in own)


def test_results_that_nobody_fetches_are_bounded_and_counted(monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 3)
    with BatchProcessor(BatchConfig(), double) as processor:
        ids = []
        for k in range(5):
            ids.append(processor.submit_request(BatchRequest(k)))
            while processor.get_performance_report().metrics.answered <= k:
                time.sleep(0.001)
        assert processor.get_performance_report().results_discarded == 2
        with pytest.raises(InputError, match="discarded"):
            processor.get_result(ids[0])
        assert processor.get_result(ids[4]) == 8


def test_misuse_is_told():
    processor = BatchProcessor(BatchConfig(), double)
    with pytest.raises(InputError, match="start"):
        processor.submit_request(BatchRequest(1))
    with pytest.raises(InputError, match="AsyncBatchProcessor"):

        async def model(batch):
            return batch

        BatchProcessor(BatchConfig(), model)
    assert processor.warm_up(1, calls=2) == (1, 2, 4, 8, 16, 32)
    with processor:
        with pytest.raises(InputError, match="before start"):
            processor.warm_up(1)
        processor.submit_request(BatchRequest(1, request_id="x"))
        with pytest.raises(InputError, match="in use"):
            processor.submit_request(BatchRequest(1, request_id="x"))
        with pytest.raises(InputError, match="priority"):
            processor.submit_request(BatchRequest(1, priority="soon"))
