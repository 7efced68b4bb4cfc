"""A served model without a socket: its answers are the artifact's own, guarded, reloaded or many at a time."""

import asyncio
import shutil
import threading

import numpy as np
import pytest
from served import FEATURES, build_artifact, coarse_model, risk_model
from torch import nn

import primum
from primum.config import BatchConfig
from primum.errors import InputError, PrimumError, RequestExpired, RequestRejected
from primum.serving.executor.isolation import Isolation
from primum.serving.executor.placement import Hosting
from primum.serving.ladder.shadow import ShadowOptions
from primum.serving.model import INPUT, ServedModel

ROUTINE = 0


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(1).normal(0, 1, (300, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    return build_artifact(tmp_path_factory.mktemp("guarded") / "artifact", coarse_model(), reference=risk_model())


def run(folders, ask, **config):
    """What the coroutine function `ask` returns of a started model."""

    async def live():
        model = ServedModel("risk", folders, BatchConfig(**config))
        await model.start()
        try:
            return await ask(model)
        finally:
            await model.stop()

    return asyncio.run(live())


async def one_by_one(model, rows):
    return await asyncio.gather(*[model.infer({INPUT: row[None]}, ROUTINE, None) for row in rows])


def test_a_guarded_artifact_answers_as_its_predictor_does(guarded, rows):
    with primum.load(guarded) as predictor:
        expected = predictor.predict_tensor_guarded(rows)
        decisions = predictor.decide(expected.probabilities)
    assert 0.02 < expected.deferred.mean() < 0.5

    async def ask(model):
        together = (await model.infer({INPUT: rows}, ROUTINE, None)).outputs
        return together, [answered.outputs for answered in await one_by_one(model, rows)], model.stats()

    together, alone, stats = run([guarded], ask)
    for name, wanted in (
        ("probabilities", expected.probabilities),
        ("decision", decisions.astype(np.int64)),
        ("deferred", expected.deferred),
    ):
        np.testing.assert_allclose(together[name], wanted, atol=1e-6)
        np.testing.assert_allclose(np.concatenate([answer[name] for answer in alone]), wanted, atol=1e-6)
    programs = {facts.bucket.key: facts.calls for facts in stats.buckets}
    assert len(programs) == 2 and all(programs.values())


def test_deferred_cases_keep_the_deadline_of_their_request(guarded, rows):
    """The original is not asked where its answer would come too late."""
    with primum.load(guarded) as predictor:
        deferred = rows[predictor.predict_tensor_guarded(rows).deferred]

    async def ask(model):
        slow = model.rung.reference
        table = model.batcher._dispatcher.core.plan(slow).table
        for _ in range(50):
            table.observe(1, 10.0)
        asked = [model.infer({INPUT: row[None]}, ROUTINE, 1.0) for row in deferred[:8]]
        return await asyncio.gather(*asked, return_exceptions=True)

    ended = run([guarded], ask)
    # One is let through, to find whether what was learned still holds.
    assert sum(isinstance(end, RequestRejected | RequestExpired) for end in ended) >= 7


def test_a_reload_loses_no_request_and_changes_the_answers(tmp_path, rows):
    folder = build_artifact(tmp_path / "a")
    with primum.load(folder) as predictor:
        before = predictor.predict_tensor(rows)
    other = build_artifact(tmp_path / "b", coarse_model())
    with primum.load(other) as predictor:
        after = predictor.predict_tensor(rows)

    async def ask(model):
        first = model.rung
        assert not await model.reload()
        assert model.rung is first
        asked = asyncio.create_task(one_by_one(model, rows))
        await asyncio.sleep(0)
        shutil.rmtree(folder)
        shutil.copytree(other, folder)
        assert await model.reload()
        met = await asked
        again = await one_by_one(model, rows)
        return first.digest, met, again, model.line.users, len(model._executor._open)

    first, met, again, users, still_open = run([folder], ask)
    assert {answer.rung.digest for answer in again} != {first}
    for k, answer in enumerate(met):
        wanted = before if answer.rung.digest == first else after
        np.testing.assert_allclose(answer.outputs["probabilities"][0], wanted[k], atol=1e-6)
    np.testing.assert_allclose([a.outputs["probabilities"][0] for a in again], after, atol=1e-6)
    assert not users and still_open == 1


def test_a_reload_of_a_broken_artifact_changes_nothing(tmp_path, rows):
    folder = build_artifact(tmp_path / "a")

    async def ask(model):
        (folder / "model" / "model.onnx").write_bytes(b"broken")
        with pytest.raises(PrimumError):
            await model.reload()
        return await one_by_one(model, rows[:3]), len(model._executor._open)

    answers, still_open = run([folder], ask)
    assert len(answers) == 3 and still_open == 1


def test_only_proven_forms_of_one_original_make_a_ladder(tmp_path):
    proven = {"verdict": "NON_INFERIOR", "parent_hash": "p"}
    first = build_artifact(tmp_path / "first", **proven)
    for name, changes, said in (
        ("inferior", {**proven, "verdict": "INFERIOR"}, "INFERIOR, not proven"),
        ("unproven", {**proven, "unproven": True}, "not proven"),
        ("other", {**proven, "parent_hash": "q"}, "another original"),
        ("cut", {**proven, "units": "probability"}, None),
    ):
        folders = [first, build_artifact(tmp_path / name, coarse_model(), **changes)]
        if said is None:
            ServedModel("risk", folders, BatchConfig())
        else:
            with pytest.raises(InputError, match=said):
                ServedModel("risk", folders, BatchConfig())
    wide = build_artifact(tmp_path / "wide", nn.Linear(3, 1), (3,), **proven)
    with pytest.raises(InputError, match="another signature"):
        ServedModel("risk", [first, wide], BatchConfig())


def test_a_case_without_a_finite_answer_fails_alone(tmp_path, rows):
    folder = build_artifact(tmp_path / "a")
    broken = rows[:20].copy()
    broken[7] = np.nan

    async def ask(model):
        return await asyncio.gather(
            *[model.infer({INPUT: row[None]}, ROUTINE, None) for row in broken], return_exceptions=True
        )

    answers = run([folder], ask)
    assert [k for k, answer in enumerate(answers) if isinstance(answer, PrimumError)] == [7]
    assert "finite" in str(answers[7])


def test_a_model_that_is_refused_leaves_no_process_behind(tmp_path):
    folder = build_artifact(tmp_path / "a")
    before = set(threads())
    with pytest.raises(InputError):
        ServedModel("risk", [folder], BatchConfig(), hosting=Hosting(Isolation.ALWAYS), shadow=ShadowOptions(share=0.1))
    assert set(threads()) == before


def threads():
    """Those that keep an executor's place filled: as long as one lives, so does its process."""
    return [one for one in threading.enumerate() if one.name == "primum-executor"]


def test_metadata_says_whether_the_artifact_is_unproven(artifact, unproven):
    def told(folder):
        model = ServedModel("risk", [folder], BatchConfig())
        return model.unproven, model.metadata()["properties"]["unproven"]

    assert told(unproven) == (True, True) and told(artifact) == (False, False)
