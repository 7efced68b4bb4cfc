"""A real model under a real burst and under made-up memory: it goes down, comes back, and every answer is right."""

import asyncio

import numpy as np
import pytest
from ladders import Slowed, build_ladder, live, one_by_one, rows, until
from served import coarse_model, risk_model

import primum
from primum.hardware.memory import MemoryUse
from primum.serving.ladder.ladder import Why


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    return build_ladder(tmp_path_factory.mktemp("ladder"), risk_model(), coarse_model())


@pytest.fixture(scope="module")
def expected(ladder):
    """Probabilities by artifact, of `rows()`."""
    found = {}
    for folder in ladder:
        with primum.load(folder) as predictor:
            found[predictor.manifest.recipe, folder] = predictor.predict_tensor(rows())
    return {folder: values for (_, folder), values in found.items()}


def _all_right(answers, cases, expected):
    """Every answer is that of the artifact that it names; which ones those were."""
    for k, answer in zip(cases, answers):
        np.testing.assert_allclose(answer.outputs["probabilities"][0], expected[answer.rung.folder][k % 400], atol=1e-6)
    return {answer.rung.folder for answer in answers}


def test_a_burst_takes_it_down_and_calm_brings_it_back_with_every_answer_right(ladder, expected):
    cases = rows()

    async def ask(model):
        places = [model.line.ladder.place]
        tasks = []
        for k in range(400):
            tasks.append(asyncio.ensure_future(one_by_one(model, cases[k % 400][None])))
            await asyncio.sleep(0.004)
            if model.line.ladder.place:
                break
        burst = [answers[0] for answers in await asyncio.gather(*tasks)]
        places.append(model.line.ladder.place)
        below = await one_by_one(model, cases[:5])
        await until(lambda: model.line.ladder.place == 0)
        calm = await one_by_one(model, cases[:5])
        return places, burst, below, calm, model.line.ladder, model.metadata()

    executor = Slowed({ladder[0]: 0.02})
    places, burst, below, calm, state, metadata = live(ask, ladder, executor=executor, config={"max_batch_size": 4})
    assert places == [0, 1]
    assert [move.why for move in state.moves] in (
        [Why.BACKLOG, Why.CALM],
        [Why.TURNED_AWAY, Why.CALM],
    )
    assert ladder[0] in _all_right(burst, range(len(burst)), expected)
    assert _all_right(below, range(5), expected) == {ladder[1]}
    assert _all_right(calm, range(5), expected) == {ladder[0]}
    assert metadata["properties"]["rung"].startswith("0") and "barred" not in metadata["properties"]


def test_under_memory_pressure_the_rung_is_unloaded_and_loaded_again_when_there_is_room(ladder, expected):
    cases = rows()

    async def ask(model):
        executor = model._executor
        loaded = [len(executor._open)]
        model.watch.read_memory = lambda: MemoryUse(95, 100, "made up")
        await until(lambda: not model.line.is_open[0])
        loaded.append(len(executor._open))
        below = await one_by_one(model, cases[:5])
        known = len(model.stats().buckets)
        properties = model.metadata()["properties"]
        model.watch.read_memory = lambda: MemoryUse(10, 10**9, "made up")
        await until(lambda: model.line.ladder.place == 0)
        loaded.append(len(executor._open))
        return loaded, below, await one_by_one(model, cases[:5]), known, properties, model.line.ladder

    loaded, below, back, known, properties, state = live(ask, ladder)
    assert loaded == [2, 1, 2] and known == 1
    assert [move.why for move in state.moves] == [Why.MEMORY, Why.CALM]
    assert _all_right(below, range(5), expected) == {ladder[1]}
    assert _all_right(back, range(5), expected) == {ladder[0]}
    assert properties["unloaded"] == back[0].rung.version and properties["rung"].startswith("1")


def test_a_rung_that_is_in_use_is_unloaded_only_when_its_last_answer_is_given(ladder, expected):
    cases = rows()

    async def ask(model):
        model.watch.read_memory = lambda: MemoryUse(95, 100, "made up")
        asked = asyncio.ensure_future(one_by_one(model, cases[:30]))
        await until(lambda: not model.line.is_open[0])
        held = model.line.steps[0].users, model.line.steps[0].is_loaded
        answers = await asked
        await asyncio.sleep(0)
        return held, answers, model.line.steps[0].is_loaded

    held, answers, after = live(ask, ladder, executor=Slowed({ladder[0]: 0.05}), config={"max_batch_size": 2})
    assert held[0] > 0 and held[1] and not after
    assert _all_right(answers, range(30), expected) == {ladder[0]}


def test_a_rung_that_cannot_be_loaded_again_is_told_and_tried_again(tmp_path, caplog):
    folders = build_ladder(tmp_path, risk_model(), coarse_model())
    network = folders[0] / "model" / "model.onnx"
    whole = network.read_bytes()

    async def ask(model):
        model.watch.read_memory = lambda: MemoryUse(95, 100, "made up")
        await until(lambda: not model.line.is_open[0])
        network.write_bytes(b"broken")
        model.watch.read_memory = lambda: MemoryUse(10, 10**9, "made up")
        await until(lambda: model.line.steps[0].failure)
        still = await one_by_one(model, rows(5))
        network.write_bytes(whole)
        await until(lambda: model.line.ladder.place == 0)
        return still, model.line.steps[0].failure, len(model._executor._open)

    still, failure, loaded = live(ask, folders)
    assert {answer.rung.folder for answer in still} == {folders[1]}
    assert failure == "" and loaded == 2
    assert "was not loaded again" in caplog.text


def test_another_artifact_in_the_folder_is_not_loaded_in_its_place(tmp_path):
    folders = build_ladder(tmp_path, risk_model(), coarse_model())

    async def ask(model):
        model.watch.read_memory = lambda: MemoryUse(95, 100, "made up")
        await until(lambda: not model.line.is_open[0])
        manifest = folders[0] / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"created": "now"', '"created": "later"'))
        model.watch.read_memory = lambda: MemoryUse(10, 10**9, "made up")
        await until(lambda: model.line.steps[0].failure)
        return model.line.steps[0].failure, model.line.ladder.place, len(model._executor._open)

    failure, place, loaded = live(ask, folders)
    assert "another artifact" in failure and (place, loaded) == (1, 1)


def test_a_look_that_fails_is_told_once_and_the_next_may_succeed(ladder, caplog):
    async def ask(model):
        def unreadable():
            raise OSError("made to fail")

        model.watch.read_memory = unreadable
        await asyncio.sleep(2.3)
        answers = await one_by_one(model, rows(3))
        model.watch.read_memory = lambda: MemoryUse(1, 10, "made up")
        await until(lambda: model.watch.memory is not None and model.watch.memory.source == "made up")
        return answers

    assert len(live(ask, ladder)) == 3
    assert caplog.text.count("could not be looked at") == 1


def test_a_single_artifact_is_not_looked_after(ladder):
    async def ask(model):
        await asyncio.sleep(0.3)
        return model.watch.memory, model.metadata()["properties"]

    memory, properties = live(ask, ladder[:1])
    assert memory is None and "rung" not in properties and "shadow" not in properties
