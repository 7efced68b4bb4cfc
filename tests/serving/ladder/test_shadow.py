"""Shadow sampling of real artifacts: a wrong one is found and barred, a right one is left alone, all is counted."""

import asyncio
import logging
import shutil

import numpy as np
import pytest
from ladders import ROUTINE, Slowed, build_ladder, live, one_by_one, rows, spoiled_model
from served import build_artifact, coarse_model, risk_model

import primum
from primum.artifact.manifest import read_manifest, write_manifest
from primum.config import BatchConfig
from primum.errors import InputError
from primum.models.signature import Activation
from primum.serving.ladder.ladder import Why
from primum.serving.ladder.shadow import Dropped, ShadowOptions
from primum.serving.ladder.trust import TrustStore
from primum.serving.model import INPUT, ServedModel
from primum.task import Task

ALL = ShadowOptions(share=1.0, seed=0)
SMALL = {"max_batch_size": 4}


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """Guarded, with a fast network whose weights are spoiled: it decides a tenth otherwise, far outside the band."""
    folder = tmp_path_factory.mktemp("spoiled") / "artifact"
    return build_artifact(folder, spoiled_model(), reference=risk_model(), band=0.01)


@pytest.fixture(scope="module")
def faithful(tmp_path_factory):
    """Guarded, its fast network as good as its original, and its band as good as none."""
    folder = tmp_path_factory.mktemp("faithful") / "artifact"
    return build_artifact(folder, risk_model(), reference=risk_model(), band=1e-6)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    return build_ladder(tmp_path_factory.mktemp("ladder"), risk_model(), spoiled_model(), coarse_model())


@pytest.fixture(scope="module")
def wanted(ladder):
    """What the original answers."""
    with primum.load(ladder[0]) as predictor:
        return predictor.predict_tensor(rows())


def _adds_up(shadow, test):
    assert shadow.sampled == test.cases + sum(shadow.dropped.values())


async def _asked(model, cases):
    """Asked in small groups, each compared before the next."""
    answers = []
    for start in range(0, len(cases), 32):
        answers += await one_by_one(model, cases[start : start + 32])
        await model.shadow.settled()
    return answers


def test_a_spoiled_guarded_artifact_is_barred_and_its_original_answers_everything(spoiled, wanted, caplog, tmp_path):
    heard = []

    async def ask(model):
        model.shadow.told = heard.append
        before = model.metadata()["properties"]
        await _asked(model, rows())
        step = model.line.step
        after = await one_by_one(model, rows())
        together = (await model.infer({INPUT: rows()}, ROUTINE, None)).outputs
        await model.shadow.settled()
        return before, step, after, together, model.metadata()["properties"], model.shadow

    with caplog.at_level(logging.ERROR, "primum.serving"):
        before, step, after, together, properties, shadow = live(
            ask, [spoiled], shadow=ALL, trust=TrustStore(tmp_path / "state")
        )
    test = step.test
    assert step.distrusted and heard == [test] and test.barred is not None
    # Found at an early case, and not one more was compared after.
    assert test.flips >= 2 and test.cases <= 200 and test.log_e > np.log(20)
    assert shadow.dropped[Dropped.BARRED] > 0
    _adds_up(shadow, test)
    np.testing.assert_allclose(np.concatenate([answer.outputs["probabilities"] for answer in after]), wanted, atol=1e-6)
    np.testing.assert_allclose(together["probabilities"], wanted, atol=1e-6)
    assert together["deferred"].all() and all(answer.outputs["deferred"].all() for answer in after)
    assert "barred" not in before and test.sha256[:12] in properties["barred"] and "original" in properties["answers"]
    assert "is barred" in caplog.text and f"{test.flips} of {test.cases}" in caplog.text

    # A restart remembers, whether it samples or not.
    async def first(model):
        return (await model.infer({INPUT: rows()}, ROUTINE, None)).outputs, model.line.step.distrusted

    for options in (ALL, None):
        again, distrusted = live(first, [spoiled], shadow=options, trust=TrustStore(tmp_path / "state"))
        assert distrusted
        np.testing.assert_allclose(again["probabilities"], wanted, atol=1e-6)
    again, distrusted = live(first, [spoiled])
    assert not distrusted and np.abs(again["probabilities"] - wanted).max() > 0.05


def test_a_spoiled_rung_of_a_ladder_is_barred_and_the_first_answers(ladder, wanted, tmp_path):
    async def ask(model):
        model.line.ladder.place = 1
        answers = await _asked(model, rows())
        after = await one_by_one(model, rows())
        return answers, after, model.line, model.shadow, model.metadata()["properties"]

    trust = TrustStore(tmp_path)
    answers, after, line, shadow, properties = live(ask, ladder, shadow=ALL, trust=trust)
    test = line.steps[1].test
    assert test.most_flips == 0.02 and test.alpha == 0.025 and test.barred is not None
    assert line.ladder.place == 0 and line.ladder.barred == {1} and line.ladder.counts[Why.BARRED] == 1
    assert {answer.rung.folder for answer in answers} == {ladder[0], ladder[1]}
    assert {answer.rung.folder for answer in after} == {ladder[0]}
    np.testing.assert_allclose(np.concatenate([a.outputs["probabilities"] for a in after]), wanted, atol=1e-6)
    assert "confirmed by no clinician" in properties["shadow"] and "barred" in properties
    _adds_up(shadow, test)
    # After a restart too, and it cannot be served as the most trusted.
    assert live(lambda model: _barred(model), ladder, trust=trust) == {1}
    with pytest.raises(InputError, match=r"was barred on .* cases otherwise"):
        ServedModel("risk", [ladder[1]], BatchConfig(), trust=trust)


def test_a_reload_with_another_first_artifact_does_not_unbar_one_that_stays(tmp_path):
    folders = build_ladder(tmp_path, risk_model(), spoiled_model())
    other = build_ladder(tmp_path / "other", risk_model())[0]

    async def ask(model):
        model.line.ladder.place = 1
        await _asked(model, rows(100))
        barred = model.line.ladder.barred
        manifest = read_manifest(other).model_copy(update={"created": "later", "units": "probability"})
        shutil.copytree(other, folders[0], dirs_exist_ok=True)
        write_manifest(folders[0], manifest)
        assert await model.reload()
        return barred, model.line.ladder.barred, model.line.steps[1].test.barred

    before, after, when = live(ask, folders, shadow=ALL)
    assert before == after == {1} and when is not None


async def _barred(model):
    return model.line.ladder.barred


def test_a_faithful_rung_is_left_alone_and_its_counts_go_on_after_a_restart(tmp_path):
    folders = build_ladder(tmp_path / "models", risk_model(), risk_model())
    trust = TrustStore(tmp_path / "state")

    async def ask(model):
        model.line.ladder.place = 1
        await _asked(model, rows(200))
        return model.line, model.shadow

    for run in (1, 2):
        line, shadow = live(ask, folders, shadow=ALL, trust=trust)
        test = line.steps[1].test
        assert (test.cases, test.flips, test.barred) == (200 * run, 0, None) and not line.ladder.moves
        assert shadow.sampled == 200 and not shadow.dropped
    # Another rate is another test: its evidence begins anew.
    other = ShadowOptions(share=1.0, most_flips=0.05, seed=0)
    assert live(ask, folders, shadow=other, trust=trust)[0].steps[1].test.cases == 200


def test_deferred_cases_count_as_no_flip_and_are_dropped_like_any_other(tmp_path, wanted):
    folder = build_artifact(tmp_path / "a", coarse_model(), reference=risk_model(), band=0.05)

    async def ask(model):
        outputs = (await model.infer({INPUT: rows()}, ROUTINE, None)).outputs
        await model.shadow.settled()
        return outputs["deferred"][:64].sum(), model.shadow, model.line.step.test, model.stats().background

    deferred, shadow, test, background = live(ask, [folder], shadow=ALL)
    with primum.load(folder) as predictor:
        guarded = predictor.predict_tensor_guarded(rows()[:64])
        undetected = (predictor.decide(guarded.probabilities) != (wanted[:64, 1] >= 0.5)) & ~guarded.deferred
    assert shadow.deferred == deferred > 5
    assert shadow.dropped == {Dropped.BUSY: 400 - 64}
    assert sum(background.values()) == 64 == test.cases and test.flips == undetected.sum() > 0


def test_the_share_is_kept_and_the_draw_looks_at_nothing_but_its_seed(faithful):

    def sampled(cases, seed):
        async def ask(model):
            for _ in range(50):
                await model.infer({INPUT: cases}, ROUTINE, None)
            return model.shadow.sampled

        return live(ask, [faithful], shadow=ShadowOptions(share=0.01, seed=seed), config=SMALL)

    first = sampled(rows(), 5)
    assert 20_000 * 0.01 - 60 < first < 20_000 * 0.01 + 60
    assert sampled(rows(seed=9), 5) == first != sampled(rows(), 6)


def test_a_trusted_network_that_fails_is_counted_and_bars_nobody(faithful):

    async def ask(model):
        real = model._executor.run
        reference = model.rung.reference

        def run(asked):
            if asked.program == reference:
                raise ValueError("made to fail")
            return real(asked)

        model.batcher._dispatcher._call.call = run
        await one_by_one(model, rows(30))
        await model.shadow.settled()
        return model.shadow, model.line.step.test

    shadow, test = live(ask, [faithful], shadow=ALL)
    assert shadow.dropped == {Dropped.FAILED: 30} and (test.cases, test.barred) == (0, None)


def test_stopping_drops_what_waits_to_be_compared(faithful):

    async def ask(model):
        await one_by_one(model, rows(20))
        return model.shadow

    shadow = live(ask, [faithful], shadow=ALL)
    assert shadow.dropped == {Dropped.STOPPED: 20}


def test_what_cannot_be_compared_is_refused(tmp_path):
    plain = build_artifact(tmp_path / "plain")
    with pytest.raises(InputError, match="there is none: serve a guarded artifact, or a ladder"):
        ServedModel("risk", [plain], BatchConfig(), shadow=ALL)
    with pytest.raises(InputError, match="no share"):
        ServedModel("risk", [plain], BatchConfig(), shadow=ShadowOptions(share=1.5))
    with pytest.raises(InputError, match="no share"):
        ServedModel("risk", [plain], BatchConfig(), shadow=ShadowOptions(most_flips=0.0))
    ServedModel("risk", [plain], BatchConfig(), shadow=ShadowOptions())


@pytest.mark.parametrize("task", [Task.REGRESSION, Task.SEGMENTATION])
def test_tasks_without_a_decision_a_case_are_refused(tmp_path, task):
    folders = build_ladder(tmp_path, risk_model(), risk_model())
    for folder in folders:
        manifest = read_manifest(folder)
        shape = {"task": task, "activation": Activation.IDENTITY}
        if task is Task.SEGMENTATION:
            shape = {"task": task, "spatial": (1,), "outputs": 1}
        signature = manifest.signature.model_copy(update=shape)
        write_manifest(folder, manifest.model_copy(update={"signature": signature}))
    with pytest.raises(InputError, match=f"{task.value} makes none"):
        ServedModel("risk", folders, BatchConfig(), shadow=ALL)
    ServedModel("risk", folders, BatchConfig())


def test_a_record_that_cannot_be_written_is_told_and_the_bar_holds(spoiled, tmp_path, caplog):
    folder = tmp_path / "state"

    async def ask(model):
        folder.rmdir()
        folder.write_text("a file where the folder was")
        await _asked(model, rows())
        return model.shadow.failure, model.line.step.distrusted

    failure, distrusted = live(ask, [spoiled], shadow=ALL, trust=TrustStore(folder))
    assert distrusted and failure and "records of flips" in caplog.text


def test_patients_never_wait_for_more_than_one_case_of_the_background(faithful):
    """With a slow original, sampled always: answers stay as quick as without, but for one call."""

    class SlowOriginal(Slowed):
        def open(self, network):
            program = super().open(network)
            self._slow[program.key] = 0.03 if network.reference else 0.0
            return program

    async def ask(model):
        loop, waits = asyncio.get_running_loop(), []
        for case in rows(60):
            start = loop.time()
            await model.infer({INPUT: case[None]}, ROUTINE, None)
            waits.append(loop.time() - start)
            await asyncio.sleep(0.004)
        return waits, model.stats().background

    waits, background = live(ask, [faithful], shadow=ALL, executor=SlowOriginal({}), config=SMALL)
    assert sum(background.values()) > 3
    assert np.quantile(waits, 0.9) < 0.1
