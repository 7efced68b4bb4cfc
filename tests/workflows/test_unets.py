"""2-D and 3-D U-Nets (instance norm, transposed convolution with output padding, skips), whole: pruned, taught again,
quantized, exported, judged by Dice, delivered."""

import inline
import numpy as np
import pytest
import torch
import unets
from safetensors.torch import load_file
from studies import RUNTIMES

import primum
from primum.config import ClinicalPolicy, Margins, OptimizationConfig, OptimizationLevel
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.task import Task
from primum.techniques.registry import make
from primum.validation.segmentation import dice_scores

SMALLER = (make("prune_channels", {"ratio": 0.3}), make("distill", {"epochs": 12, "validation": 0.2, "batch": 8}))
TARGETS = {
    name: Target(runtime=runtime, precision=precision, threads=1)
    for runtime in RUNTIMES
    for precision in ("fp32", "int8")
    for name in [f"{runtime}-{precision}"]
}
KINDS = {2: ("flat", unets.images, 80), 3: ("deep", unets.volumes, 60)}


@pytest.fixture(scope="module", params=KINDS, ids=["2-D", "3-D"])
def study(request, tmp_path_factory):
    """Axes, original, delivery, and its trials by name."""
    axes, folder = request.param, tmp_path_factory.mktemp(f"unet{request.param}")
    name, save, steps = KINDS[axes]
    weights = unets.taught(getattr(unets, name)(), axes, folder / "weights.safetensors", steps)
    (folder / "preprocessing.yaml").write_text(unets.PREPROCESSING)
    with pytest.MonkeyPatch.context() as patch:
        for constant in ("study.runner.TIMED_ROUNDS", "study.race.ROUNDS", "workflows.optimize.FINAL_ROUNDS"):
            patch.setattr(f"primum.{constant}", 2)
        patch.setattr("primum.workflows.optimize.STAGE_IMAGES", 4)
        patch.setenv("PRIMUM_STATE", str(folder / "state"))
        inline.patch(patch)
        delivery = primum.optimize(
            f"unets:{name}",
            save(folder / "judged.npz" if axes == 3 else folder / "judged", 90, seed=1),
            folder / "out",
            checkpoint=weights,
            train_data=save(folder / "taught.npz" if axes == 3 else folder / "taught", 48, seed=2),
            task="segmentation",
            label_column="mask",
            patient_column="patient",
            classes=("background", "blob"),
            preprocessing=folder / "preprocessing.yaml" if axes == 2 else None,
            config=OptimizationConfig(
                level=OptimizationLevel.MINIMAL,
                runtimes=RUNTIMES,
                threads=1,
                policy=ClinicalPolicy(margins=Margins(dice=0.1)),
            ),
            recipes=[
                *(Recipe(target, SMALLER) for target in TARGETS.values()),
                *(Recipe(target) for target in TARGETS.values() if target.precision == "int8"),
            ],
        )
    net = getattr(unets, name)()
    net.load_state_dict(load_file(weights))
    return axes, net, delivery, {t.recipe: t for t in delivery.result.trials}


def trial(study, techniques, target):
    found = study[3][str(Recipe(TARGETS[target], techniques))]
    assert found.ok, found.reason
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_smaller_ones_are_built_with_parity_and_keep_their_dice(study, target):
    changed = trial(study, SMALLER, target)
    assert changed.parity.passed and changed.precision_proven == TARGETS[target].precision
    (dice,) = [c for c in changed.verdict.components if c.name.startswith("dice")]
    assert dice.view == "blob" and dice.reference > 0.85 and dice.candidate > dice.reference - 0.1
    assert any("prune_channels" in note for note in changed.notes)
    fast = trial(study, (), target.replace("int8", "fp32"))
    assert changed.size_bytes < (0.5 if "int8" in target else 0.75) * fast.size_bytes


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_int8_alone_follows_the_original(study, runtime):
    quantized, lossless = trial(study, (), f"{runtime}-int8"), trial(study, (), f"{runtime}-fp32")
    assert lossless.lossless and lossless.parity.relative < 1e-3
    assert quantized.parity.passed and quantized.size_bytes < 0.6 * lossless.size_bytes
    (dice,) = [c for c in quantized.verdict.components if c.name.startswith("dice")]
    assert dice.candidate > dice.reference - 0.05


def test_the_delivery_predicts_masks_on_new_cases(study):
    axes, net, delivery, _ = study
    assert delivery.result.model.task is Task.SEGMENTATION and delivery.report.is_file()
    found, masks = unets.blobs(axes, 12, seed=3)
    inputs = unets.scaled(found)
    with torch.inference_mode():
        own = dice_scores(net(torch.from_numpy(inputs)).softmax(1).numpy(), masks, ("background", "blob"))
    with primum.load(delivery.artifact) as predictor:
        answers = predictor.predict_tensor(inputs)
        assert answers.shape == (12, 2, *masks.shape[1:])
        assert np.allclose(answers.sum(axis=1), 1.0, atol=1e-5)
        assert dice_scores(answers, masks, predictor.classes).mean() > own.mean() - 0.1
        assert predictor.decide(answers).shape == masks.shape
