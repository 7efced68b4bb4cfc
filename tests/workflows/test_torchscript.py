"""A TorchScript file as the original, whole: judged, exported, delivered; what would need Python is left out."""

import json

import inline
import numpy as np
import pytest
import torch
from nets import build
from safetensors.torch import load_file
from studies import RUNTIMES, config

import primum
from primum.config import OptimizationLevel
from primum.errors import InputError
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.techniques.registry import make

ALL = (*RUNTIMES, "torch", "torchscript", "inductor")
FORMS = {
    "traced": lambda net: torch.jit.trace(net, torch.zeros(2, 1, 32, 32)),
    "frozen": lambda net: torch.jit.freeze(torch.jit.script(net)),
}
GIVEN = (
    Recipe(Target(runtime="onnxruntime", threads=1), (make("prune_channels", {"ratio": 0.3}),)),
    Recipe(Target(runtime="inductor", threads=1)),
)


@pytest.fixture(scope="module")
def network(workshop):
    net = build()
    net.load_state_dict(load_file(workshop.weights))
    return net


@pytest.fixture(scope="module", params=FORMS)
def study(request, workshop, network, tmp_path_factory):
    """The file, the study of it, and what each process of it was."""
    folder = tmp_path_factory.mktemp(request.param)
    path = folder / "clinic.pt"
    FORMS[request.param](network).save(str(path))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("study.runner.TIMED_ROUNDS", "study.race.ROUNDS", "workflows.optimize.FINAL_ROUNDS"):
            patch.setattr(f"primum.{name}", 3)
        patch.setattr("primum.workflows.optimize.STAGE_IMAGES", 12)
        patch.setenv("PRIMUM_STATE", str(folder / "state"))
        inline.patch(patch)
        delivery = primum.optimize(
            path,
            workshop.few,
            folder / "out",
            patient_column="patient_id",
            preprocessing=workshop.few.parent / "preprocessing.yaml",
            config=config(level=OptimizationLevel.AGGRESSIVE, runtimes=ALL),
            recipes=GIVEN,
        )
    return path, delivery


def test_every_runtime_that_needs_no_python_answers_as_the_module_does(study, network):
    path, delivery = study
    result = delivery.result
    ran = {(t.recipe_data["target"]["runtime"], t.recipe_data["target"]["precision"]): t for t in result.trials}
    wanted = {(r, "fp32") for r in (*RUNTIMES, "torch", "torchscript")} | {(r, "int8") for r in RUNTIMES}
    assert wanted <= ran.keys() and all(t.ok for t in result.trials), [(t.recipe, t.reason) for t in result.trials]
    lossless = [t for (_, precision), t in ran.items() if precision == "fp32"]
    assert len(lossless) == 4 and all(t.lossless and t.self_contained for t in lossless)
    assert result.baseline.recipe.startswith("torch[") and result.baseline.precision_proven == "fp32"
    inputs = np.load(delivery.artifact.parent / "study" / "inputs.npy")[:20]
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(inputs))).numpy()
    for trial in lossless:
        with primum.load(delivery.artifact.parent / "study" / "candidates" / trial.key) as predictor:
            assert predictor.predict_tensor(inputs)[:, 1:] == pytest.approx(expected, abs=1e-5), trial.recipe
    assert ran["openvino", "int8"].size_bytes < 0.4 * ran["torch", "fp32"].size_bytes
    assert ran["torch", "fp32"].size_bytes == pytest.approx(path.stat().st_size, rel=0.1)


def test_what_changes_or_compiles_python_is_left_out_with_the_reason(study):
    _, delivery = study
    why = {item.what: item.why for item in delivery.result.left_out}
    assert "give the Python module" in why[str(GIVEN[0])] and "give the Python module" in why["pruning, distillation"]
    assert "came as TorchScript" in why[str(GIVEN[1])]
    assert sum("came as TorchScript" in reason for reason in why.values()) >= 3
    assert not any(t.recipe_data["techniques"] for t in delivery.result.trials)


def test_the_delivery_names_the_file_and_needs_nothing_of_the_user(study):
    path, delivery = study
    result = delivery.result
    assert result.model.name == path.name and result.winner.self_contained
    # Freezing folds batch norm into convolutions.
    assert result.model.parameters == pytest.approx(sum(p.numel() for p in build().parameters()), rel=0.01)
    assert any("tracing exporter" in note for note in result.model.notes)
    with primum.load(delivery.artifact) as predictor:
        assert predictor.manifest.parent_hash == result.model.digest
    assert json.loads((delivery.artifact / "manifest.json").read_text())["factory"] is None


@pytest.mark.parametrize("study", ["traced"], indirect=True)
def test_the_artifact_is_validated_against_the_file(study, workshop):
    path, delivery = study
    done = inline.primum(
        "validate", "--artifact", delivery.artifact, "--model", path, "--data", workshop.many, "--patient-column",
        "patient_id", "--margin", "0.3", "--auroc-margin", "0.2", "--brier-margin", "0.2", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"]["outcome"] == "NON_INFERIOR"


def test_the_command_line_takes_the_file_and_refuses_what_is_none(network, workshop, tmp_path):
    weights = tmp_path / "net.pt"
    torch.save(network, weights)
    done = inline.primum("optimize", "--model", weights, "--data", workshop.few, "--out", tmp_path / "out")
    assert done.returncode == 2 and "no TorchScript file" in done.stderr
    two = torch.jit.script(_Two())
    two.save(str(tmp_path / "two.ts"))
    done = inline.primum("optimize", "--model", tmp_path / "two.ts", "--data", workshop.few, "--out", tmp_path / "out")
    assert done.returncode == 2 and "age: Tensor" in done.stderr


class _Two(torch.nn.Module):
    def forward(self, x: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return x + age


def test_a_live_script_module_is_to_be_saved_first(network, workshop, tmp_path):
    with pytest.raises(InputError, match=r"torch\.jit\.save"):
        primum.optimize(FORMS["traced"](network), workshop.few, tmp_path / "out")
