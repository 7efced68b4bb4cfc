"""Answers in the words of the model, whatever it decides: against the predictor's own decisions."""

import asyncio

import numpy as np
import pytest
from served import build_artifact, risk_model
from torch import nn

import primum
from primum.config import BatchConfig
from primum.errors import RequestRejected
from primum.models.signature import Activation, Signature
from primum.serving.model import INPUT, ServedModel
from primum.serving.predictions import predictions
from primum.serving.repository import Repository
from primum.task import Task

ROWS = np.random.default_rng(0).normal(0, 1, (40, 32)).astype(np.float32)


def answered(folder, rows):
    """Through a served model, in words."""

    async def live():
        model = ServedModel("m", [folder], BatchConfig())
        await model.start()
        try:
            outputs, rung = await model.infer({INPUT: rows}, 0, None)
            return predictions(rung, outputs)
        finally:
            await model.stop()

    return asyncio.run(live())


@pytest.mark.parametrize("positive", [0, 1])
def test_a_diagnosis_is_the_positive_class_wherever_it_stands(tmp_path, positive):
    signature = Signature(input_shape=(32,), outputs=1, classes=("ill", "well")[:: 1 if positive == 0 else -1])
    signature = signature.model_copy(update={"positive": positive})
    folder = build_artifact(tmp_path / "a", risk_model(), signature=signature)
    with primum.load(folder) as predictor:
        ill = predictor.decide(predictor.predict_tensor(ROWS))
    found = answered(folder, ROWS)
    assert [one["decision"] for one in found] == ["ill" if yes else "well" for yes in ill]
    assert 0 < sum(ill) < len(ill) and all((one["probabilities"]["ill"] >= 0.5) == yes for one, yes in zip(found, ill))


def test_findings_are_decided_one_by_one(tmp_path):
    signature = Signature(input_shape=(32,), outputs=3, task=Task.MULTILABEL, classes=("a", "b", "c"))
    folder = build_artifact(tmp_path / "a", nn.Linear(32, 3), signature=signature, thresholds=(0.3, 0.5, 0.7))
    with primum.load(folder) as predictor:
        given = predictor.predict_tensor(ROWS)
        wanted = predictor.decide(given)
    found = answered(folder, ROWS)
    assert [list(one["decision"].values()) for one in found] == wanted.tolist()
    np.testing.assert_allclose([list(one["probabilities"].values()) for one in found], given, atol=1e-6)


def test_masks_hold_the_class_of_every_pixel(tmp_path):
    signature = Signature(
        input_shape=(1, 6, 5),
        outputs=3,
        task=Task.SEGMENTATION,
        classes=("ground", "lung", "heart"),
        activation=Activation.SOFTMAX,
        spatial=(6, 5),
    )
    folder = build_artifact(tmp_path / "a", nn.Conv2d(1, 3, 1), (1, 6, 5), signature=signature)
    rows = ROWS[:4, :30].reshape(4, 1, 6, 5)
    with primum.load(folder) as predictor:
        wanted = predictor.decide(predictor.predict_tensor(rows))
    found = answered(folder, rows)
    assert np.array_equal([one["mask"] for one in found], wanted) and len(np.unique(wanted)) > 1
    assert found[0]["classes"] == signature.classes and "probabilities" not in found[0]


def test_what_is_unloaded_is_released(artifact):
    async def live():
        model = ServedModel("risk", [artifact], BatchConfig())
        repository = Repository([model], lambda name: ServedModel(name, [artifact], BatchConfig()))
        await repository.start()
        await asyncio.gather(repository.unload("risk"), repository.unload("risk"))
        with pytest.raises(RequestRejected):
            await model.infer({INPUT: ROWS[:1]}, 0, None)
        await asyncio.gather(repository.load("risk"), repository.load("risk"))
        fresh = repository.get("risk")
        assert fresh is not model and len((await fresh.infer({INPUT: ROWS[:2]}, 0, None)).outputs["decision"]) == 2
        await repository.stop()

    asyncio.run(live())
