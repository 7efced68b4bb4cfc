"""AsyncBatchProcessor: requests by class, errors and the report."""

import asyncio

import pytest

from primum.batching import AsyncBatchProcessor, BatchConfig, BatchRequest
from primum.errors import InputError, RequestRejected


def test_requests_share_calls_and_keep_their_class():
    seen = []

    async def model(batch):
        seen.append(list(batch))
        await asyncio.sleep(0.03)
        return batch

    async def main():
        async with AsyncBatchProcessor(BatchConfig(max_batch_size=2), model) as processor:
            first = asyncio.create_task(processor.submit_async_request(BatchRequest("first")))
            await asyncio.sleep(0.01)
            rest = [BatchRequest(k) for k in ("one", "two")] + [BatchRequest("now", priority=1)]
            answers = await asyncio.gather(first, *(processor.submit_async_request(r) for r in rest))
            return answers, processor.get_performance_report()

    answers, report = asyncio.run(main())
    assert answers == ["first", "one", "two", "now"]
    assert seen == [["first"], ["now", "one"], ["two"]]
    assert report.metrics.average_batch_size == pytest.approx(4 / 3)


def test_a_failing_coroutine_is_bisected_and_a_plain_function_will_do():
    async def model(batch):
        if 3 in batch:
            raise KeyError("three")
        return batch

    async def main(function):
        async with AsyncBatchProcessor(BatchConfig(), function) as processor:
            requests = (processor.submit_async_request(BatchRequest(k)) for k in range(5))
            return await asyncio.gather(*requests, return_exceptions=True)

    answers = asyncio.run(main(model))
    assert isinstance(answers.pop(3), KeyError) and answers == [0, 1, 2, 4]
    assert asyncio.run(main(lambda batch: [2 * x for x in batch])) == [0, 2, 4, 6, 8]


def test_misuse_and_stopping():
    async def model(batch):
        await asyncio.sleep(0.05)
        return batch

    async def main():
        processor = await AsyncBatchProcessor(BatchConfig(max_batch_size=1), model).start()
        with pytest.raises(InputError, match="priority"):
            await processor.submit_async_request(BatchRequest(1, priority="soon"))
        tasks = [asyncio.create_task(processor.submit_async_request(BatchRequest(k))) for k in range(2)]
        await asyncio.sleep(0.01)
        await processor.stop(drain=False)
        return await asyncio.gather(*tasks, return_exceptions=True)

    answered, turned_away = asyncio.run(main())
    assert answered == 0 and isinstance(turned_away, RequestRejected)
