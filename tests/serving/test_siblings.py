"""Metrics of several workers: each sample once, with the worker that told it; one that is silent is said to be."""

import asyncio
import math

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from primum.serving import siblings
from primum.serving.siblings import Siblings
from primum.serving.worker import Worker


def families(number):
    """Of a worker that counted `number` of everything."""
    counter = CounterMetricFamily("asked", "Asked.", labels=["model"])
    counter.add_metric(["risk"], number)
    gauge = GaugeMetricFamily("waiting", "Waiting.", value=number)
    histogram = HistogramMetricFamily("took", "Took.", labels=["model"])
    histogram.add_metric(["risk"], [("1", number), ("+Inf", 2 * number)], 3.5)
    return [counter, gauge, histogram]


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def told(folder, of, asked, live):
    """What worker `asked` of `of` tells while those in `live` answer."""

    folder.mkdir()

    async def run():
        made = {n: Siblings(Worker(n, of, n * 10, folder=folder), lambda n=n: families(n)) for n in live}
        for one in made.values():
            await one.start()
        try:
            return await made[asked].metrics()
        finally:
            for one in made.values():
                await one.stop()

    return asyncio.run(run())


@pytest.mark.parametrize("asked", [1, 2, 3])
def test_whoever_is_asked_tells_of_all(tmp_path, asked):
    text = told(tmp_path / "s", 3, asked, (1, 2, 3))
    assert text.count(b"# TYPE asked_total") == 1
    found = samples(text)
    for n in (1, 2, 3):
        worker = ("worker", str(n))
        assert found["asked_total", ("model", "risk"), worker] == found["waiting", worker] == n
        assert found["took_bucket", ("le", "+Inf"), ("model", "risk"), worker] == 2 * n
        assert found["took_sum", ("model", "risk"), worker] == 3.5
        assert found["primum_worker_restarts_total", worker] == 10 * n and found["primum_worker_up", worker] == 1
    assert not list((tmp_path / "s").iterdir()), "nobody leaves anything behind"


def test_one_that_is_gone_is_said_to_be(tmp_path):
    found = samples(told(tmp_path / "s", 2, 1, (1,)))
    assert found["primum_worker_up", ("worker", "2")] == 0 and found["waiting", ("worker", "1")] == 1


@pytest.mark.parametrize("answer", [None, b"[[", b'{"a": 1}', b'[["n", "d", "counter", [["n", {}, "many"]]]]'])
def test_one_that_hangs_or_talks_nonsense_keeps_nobody(tmp_path, monkeypatch, answer):
    monkeypatch.setattr(siblings, "_PATIENCE_S", 0.2)

    async def hung(reader, writer):
        if answer is None:
            await asyncio.sleep(5)
        writer.write(answer or b"")
        writer.close()

    (tmp_path / "s").mkdir()

    async def run():
        mine = Siblings(Worker(1, 2, folder=tmp_path / "s"), lambda: families(1))
        await mine.start()
        other = await asyncio.start_unix_server(hung, tmp_path / "s" / "2")
        try:
            async with asyncio.timeout(3):
                return await mine.metrics()
        finally:
            other.close()
            await mine.stop()

    found = samples(asyncio.run(run()))
    assert found["primum_worker_up", ("worker", "2")] == 0 and found["waiting", ("worker", "1")] == 1


def test_numbers_that_are_none_travel_and_a_folder_that_is_gone_stops_nobody(tmp_path):
    async def run():
        odd = [GaugeMetricFamily("ratio", "A ratio.", value=float("nan"))]
        (tmp_path / "s").mkdir()
        mine, other = (Siblings(Worker(n, 2, folder=tmp_path / "s"), lambda: odd) for n in (1, 2))
        lost = Siblings(Worker(3, 3, folder=tmp_path / "gone"), lambda: odd)
        for one in (mine, other, lost):
            await one.start()
        try:
            return await mine.metrics(), await lost.metrics()
        finally:
            for one in (mine, other, lost):
                await one.stop()

    found, alone = (samples(text) for text in asyncio.run(run()))
    assert math.isnan(found["ratio", ("worker", "2")]) and found["primum_worker_up", ("worker", "2")] == 1
    assert math.isnan(alone["ratio", ("worker", "3")]) and alone["primum_worker_up", ("worker", "1")] == 0
