"""Which layers change decisions: planted causes are found, and the simulation follows the runtimes it simulates."""

import copy
import dataclasses
from pathlib import Path

import nets
import numpy as np
import pytest
import torch
from torch import nn

from primum.data.preprocessing import Preprocessing
from primum.models.reference import ModelReference
from primum.models.signature import Signature
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.runtimes.export import export_onnx
from primum.runtimes.isolated import Isolated
from primum.study import stages
from primum.study.changes import plan_changes
from primum.study.layers import _run, cases_to_explain, explain_layers
from primum.study.original import Original
from primum.study.recipe import Recipe
from primum.study.stages import Workshop
from primum.task import Task
from primum.techniques.registry import Context, apply_all
from primum.techniques.rounding import RoundWeights
from primum.validation.decisions import Rule

RULE = Rule(Task.BINARY)
INT8 = Recipe(Target(runtime="onnxruntime", precision="int8", threads=1))


class Convs(nn.Module):
    """(N, 1, 16) to one logit: convolutions over time, a residual, and a head of MatMul and Add."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 8, 3, padding=1)
        self.second = nn.Conv1d(8, 8, 3, padding=1)
        self.head = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = (x + self.second(x).relu()).transpose(1, 2)
        return self.head(x).mean(1)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))


@pytest.fixture
def study(tmp_path):
    """Exports a network and makes 120 cases; gives the original, the inputs' path, and their scores."""

    def make(module, shape, inputs=None, damage=None):
        module = module.eval()
        if inputs is None:
            inputs = np.random.default_rng(0).normal(0, 1, (120, *shape)).astype(np.float32)
        np.save(tmp_path / "inputs.npy", inputs)
        export_onnx(module, shape, tmp_path / "net.onnx")
        signature = Signature(input_shape=shape, outputs=1, classes=("clear", "shadow"))
        original = Original(
            ModelReference(module=module), "0", signature, Preprocessing(), 0.5, tmp_path / "net.onnx"
        )  # fmt: skip
        with torch.inference_mode():
            scores = signature.positive_probability(module(torch.from_numpy(inputs)).numpy())
        return original, tmp_path / "inputs.npy", scores

    return make


def centred(module, shape):
    """The module with its last bias set so that half the cases are positive: many lie near the threshold."""
    inputs = np.random.default_rng(0).normal(0, 1, (120, *shape)).astype(np.float32)
    with torch.inference_mode():
        last = [p for name, p in module.named_parameters() if name.endswith("bias")][-1]
        # Between the two middle cases: none lies on the threshold itself.
        last -= float(module.eval()(torch.from_numpy(inputs)).quantile(0.5))
    return module


def workshop(inputs, cases=32):
    return Workshop(Path(inputs).with_name("stages"), inputs, np.arange(cases))


def staged_as(monkeypatch, apply):
    """Let the techniques of a recipe do what `apply` does."""

    def made(original, *_):
        return apply(original.reference.module, (), None), ()

    monkeypatch.setattr(stages, "apply_stages", made)


def explain(made, recipe, candidate=None, **more):
    original, inputs, scores = made
    candidate = scores if candidate is None else candidate
    rows = cases_to_explain(scores, candidate, RULE)
    return explain_layers(original, recipe, workshop(inputs), rows, candidate[rows], RULE, **more)


def run_real(made, target, tmp_path):
    """Raw outputs of what the runtime itself builds."""
    original, inputs, _ = made
    (tmp_path / "real").mkdir()
    adapter, array = get_runtime(target.runtime), np.load(inputs)
    source = BuildSource(original.signature, original.reference.module, original.onnx, array[:32])
    adapter.build(source, target, tmp_path / "real")
    session = adapter.open(tmp_path / "real", target, None)
    return np.concatenate([session.run(array[i : i + 1]) for i in range(len(array))])


@pytest.mark.parametrize("damaged", ["0", "2", "4"])
def test_the_one_layer_that_int8_damages_ranks_first(damaged, study):
    """One huge weight stretches its channel's only scale: the rest of that layer is rounded to nothing."""
    torch.manual_seed(1)
    module = mlp()
    wide = dict(module.named_modules())[damaged]
    with torch.no_grad():
        wide.weight[:, 0] = 4000.0
    enters = {"0": None, "2": module[:1], "4": module[:3]}[damaged]
    inputs = np.random.default_rng(0).normal(0, 1, (120, 12)).astype(np.float32)
    if enters is None:
        inputs[:, 0] = 0.0
    else:  # the unit before the huge weights never fires
        with torch.no_grad():
            enters[-1].weight[0] = 0.0
            enters[-1].bias[0] = -1.0
    with torch.no_grad():
        module[4].bias -= module(torch.from_numpy(inputs)).quantile(0.5)
    made = study(module, (12,), inputs)
    report = explain(made, INT8)
    assert explain(made, INT8, seconds=0.0).layers[0].name == damaged
    assert report.layers[0].name == damaged and report.layers[0].kind == "Gemm"
    assert report.layers[0].mean_change > 10 * report.layers[1].mean_change
    assert {layer.name for layer in report.layers} == {"0", "2", "4"}
    assert report.layers[0].parameters == wide.weight.numel() + wide.bias.numel()


def test_flips_of_a_damaged_layer_are_laid_to_it(study):
    torch.manual_seed(1)
    original, inputs, scores = study(centred(mlp(), (12,)), (12,))
    recipe = Recipe(Target(runtime="torch"), (RoundWeights(bits=2),))
    module = original.reference.module
    with torch.inference_mode():
        changed = apply_all(module, recipe.techniques, Context(0))
        candidate = original.signature.positive_probability(changed(torch.from_numpy(np.load(inputs))).numpy())
    report = explain((original, inputs, scores), recipe, candidate)
    chosen = cases_to_explain(scores, candidate, RULE)
    flipped = (scores[chosen] >= 0.5) != (candidate[chosen] >= 0.5)
    assert report.flips == flipped.sum() > 5 and report.cases == 64
    # The techniques' weights all together are the candidate itself.
    assert report.together.flips_alone == report.flips and report.together.other_flips == 0
    assert report.together.mean_change == pytest.approx(np.abs(scores - candidate)[chosen].mean(), rel=1e-3)
    assert 0 < max(layer.flips_alone for layer in report.layers) <= report.flips
    assert any(layer.cured for layer in report.layers)
    assert "the techniques changed, one layer at a time" in report.method and not report.skipped


def changing(**amounts):
    """A technique that adds to biases, by module name."""

    def apply(module, techniques, context):
        changed = copy.deepcopy(module)
        with torch.no_grad():
            for name, amount in amounts.items():
                changed.get_submodule(name).bias += amount
        return changed

    return apply


def test_changed_weights_of_one_layer_are_laid_to_that_layer(study, monkeypatch):
    """A technique that touches one layer alone leaves nothing else to blame, wherever its bias stands in the graph."""
    torch.manual_seed(2)
    made = study(Convs(), (1, 16))
    staged_as(monkeypatch, changing(**{"head.2": 0.5}))
    report = explain(made, Recipe(Target(runtime="torch"), (RoundWeights(bits=3),)))
    assert [layer.name for layer in report.layers] == ["head.2"]
    assert report.layers[0].rms_error == pytest.approx(0.5, rel=1e-4)


def test_leaving_the_guilty_layer_as_it_was_undoes_its_flips(study, monkeypatch):
    torch.manual_seed(2)
    original, inputs, scores = study(centred(Convs(), (1, 16)), (1, 16))
    apply = changing(**{"head.2": 0.5, "first": 1e-4})
    staged_as(monkeypatch, apply)
    with torch.inference_mode():
        raw = apply(original.reference.module, (), None)(torch.from_numpy(np.load(inputs))).numpy()
    candidate = original.signature.positive_probability(raw)
    recipe = Recipe(Target(runtime="torch"), (RoundWeights(bits=3),))
    report = explain((original, inputs, scores), recipe, candidate)
    guilty, innocent = report.layers
    assert (guilty.name, innocent.name) == ("head.2", "first") and report.flips > 5
    assert guilty.cured == guilty.flips_alone == report.flips and innocent.cured == innocent.flips_alone == 0
    hurried = explain((original, inputs, scores), recipe, candidate, seconds=0.0)
    assert [e.name for e in hurried.layers] == ["head.2"] and [s.name for s in hurried.skipped] == ["first"]


def narrowed(made, monkeypatch):
    """A narrower network in place of the original, its answers, and the rule's decisions of both."""
    original, inputs, _ = made
    narrow = centred(nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)), (12,))
    staged_as(monkeypatch, lambda *_: narrow)
    with torch.inference_mode():
        return original.signature.positive_probability(narrow(torch.from_numpy(np.load(inputs))).numpy())


def test_of_a_network_of_another_shape_the_techniques_own_part_is_told(study, monkeypatch):
    torch.manual_seed(2)
    made = study(centred(mlp(), (12,)), (12,))
    candidate = narrowed(made, monkeypatch)
    report = explain(made, Recipe(Target(runtime="torch"), (RoundWeights(bits=3),)), candidate)
    changed = int((RULE.decisions(made[2]) != RULE.decisions(candidate)).sum())
    assert report.layers == () and "techniques changed the layers themselves" in report.reason
    assert report.techniques.flips_alone == report.total_flips and 0 < report.total_flips <= changed
    assert report.flips == 0, "nothing was changed after the techniques"


def test_after_the_techniques_the_layers_are_held_against_what_they_made(study, monkeypatch, tmp_path):
    torch.manual_seed(2)
    made = study(centred(mlp(), (12,)), (12,))
    narrow = narrowed(made, monkeypatch)
    recipe = Recipe(INT8.target, (RoundWeights(bits=3),))
    report = explain(made, recipe, narrow)
    assert {e.name for e in report.layers} == {"0", "2", "4"} and "that the techniques made" in report.method
    assert report.flips == 0 and report.total_flips == report.techniques.flips_alone > 0


def test_an_excluded_layer_is_not_rounded(study):
    torch.manual_seed(0)
    made = study(Convs(), (1, 16))
    target = INT8.target.model_copy(update={"exclude": ("head",)})
    assert {e.name for e in explain(made, INT8).layers} == {"first", "second", "head.0", "head.2"}
    assert {e.name for e in explain(made, Recipe(target)).layers} == {"first", "second"}


@pytest.mark.parametrize(
    ("runtime", "precision", "closeness"),
    [
        ("onnxruntime", "int8", 0.5),
        ("onnxruntime", "int8-dynamic", 0.05),
        ("openvino", "int8", 0.8),
        ("onnxruntime", "fp16", 0.01),
    ],
)
def test_all_layers_together_follow_the_real_runtime(runtime, precision, closeness, study, tmp_path):
    """The simulated rounding error is the error that the runtime's own build makes, case by case."""
    torch.manual_seed(0)
    follows(study(Convs(), (1, 16)), runtime, precision, closeness, tmp_path)


@pytest.mark.parametrize("precision", ["int4-weights", "nf4-weights"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_four_bit_weights_follow_the_real_runtime(runtime, precision, study, tmp_path):
    if precision not in get_runtime(runtime).precisions:
        pytest.skip(f"{runtime} has no {precision}")
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    follows(study(wide, (64,)), runtime, precision, 0.3, tmp_path)


def follows(made, runtime, precision, closeness, tmp_path):
    original, inputs, _ = made
    target = Target(runtime=runtime, precision=precision, threads=1)
    plan, _ = plan_changes(original, Recipe(target), workshop(inputs))
    array, rows = np.load(inputs), np.arange(120)
    everything = [change for _, layer_changes in plan.changes for change in layer_changes]
    exact = _run(plan, (), array, rows)
    simulated, real = _run(plan, everything, array, rows) - exact, run_real(made, target, tmp_path) - exact
    assert np.abs(real).max() > 0
    assert np.linalg.norm(simulated - real) < closeness * np.linalg.norm(real)


def test_bf16_rounds_weights_and_what_enters(study):
    torch.manual_seed(0)
    module = mlp()
    made = study(module, (12,))
    report = explain(made, Recipe(Target(runtime="openvino", precision="bf16")))
    x = torch.from_numpy(np.load(made[1]))
    half, rows = torch.bfloat16, cases_to_explain(made[2], made[2], RULE)
    with torch.inference_mode():
        hidden = module[:4](x)
        last = nn.functional.linear(hidden.to(half).float(), module[4].weight.to(half).float(), module[4].bias)
        expected = float(torch.sqrt(torch.square((last - module(x))[rows]).mean()))
    errors = {layer.name: layer for layer in report.layers}
    assert set(errors) == {"0", "2", "4"}
    assert errors["4"].rms_error == pytest.approx(expected, rel=1e-3)


def test_without_flips_nothing_is_laid_to_anybody(study):
    torch.manual_seed(0)
    made = study(nets.build(), (1, 32, 32), np.random.default_rng(0).normal(0, 1, (40, 1, 32, 32)).astype(np.float32))
    report = explain(made, INT8)
    assert report.flips == 0 and all(e.flips_alone == 0 and e.cured is None for e in report.layers)
    assert [e.name for e in sorted(report.layers, key=lambda e: e.name)] == [
        "features.0",
        "features.3",
        "features.6",
        "head",
    ]
    assert report.cases == 40 and report.calibration_cases == 32
    assert "INT8 simulated in ONNX Runtime, one layer at a time" in report.method


@pytest.mark.parametrize(
    ("recipe", "change", "reason"),
    [
        (Recipe(Target(runtime="openvino")), {}, "only the runtime differs"),
        (INT8, {"onnx": None}, "no ONNX export"),
    ],
)
def test_where_nothing_can_be_substituted_a_reason_stands(recipe, change, reason, study):
    original, inputs, scores = study(mlp(), (12,))
    report = explain((dataclasses.replace(original, **change), inputs, scores), recipe)
    assert report.layers == () and reason in report.reason and report.together is None


def test_what_is_not_simulated_is_named(study):
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.LSTM(4, 8, batch_first=True)
            self.head = nn.Linear(8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out, _ = self.memory(x)
            return self.head(out[:, -1] + (out @ out.transpose(1, 2) @ out).mean(1))

    report = explain(study(Recurrent(), (6, 4)), INT8)
    assert [layer.name for layer in report.layers] == ["head"]
    assert any(s.name == "memory" and "not simulated" in s.why for s in report.skipped)
    assert sum("no weight" in s.why for s in report.skipped) == 2


def test_when_time_is_short_the_result_says_what_was_left_out(study):
    report = explain(study(mlp(), (12,)), INT8, seconds=0.0)
    assert len(report.layers) == 1 and report.cases == 8
    assert report.notes[0] == "the first 8 of 64 cases were run, to save time"
    assert report.notes[1:] == ("the simulation leaves out sums and pooling in 8 bits",)
    assert [s.why for s in report.skipped] == ["there was no time left to measure it"] * 2


def test_classes_and_values_are_measured_too(study):
    torch.manual_seed(0)
    original, inputs, _ = study(mlp(), (12,))
    rows = np.arange(20)
    report = explain_layers(original, INT8, workshop(inputs, 8), rows, np.empty((20, 1)), None)
    assert report.flips == 0 and report.layers[0].mean_change > 0


def test_in_a_process_of_its_own(study):
    made = study(mlp(), (12,))
    original, inputs, scores = made
    rows = cases_to_explain(scores, scores, RULE)
    with Isolated(120.0) as process:
        report = process.call(
            "primum.study.layers:explain_layers",
            original=original, recipe=INT8, workshop=workshop(inputs), rows=rows,
            candidate=scores[rows], rule=RULE,
        )  # fmt: skip
    assert report == explain(made, INT8)


def test_changed_decisions_come_first_then_the_nearest():
    reference = np.array([0.9, 0.45, 0.52, 0.1, 0.7, np.nan])
    candidate = np.array([0.4, 0.45, 0.52, 0.1, 0.6, 0.2])
    assert cases_to_explain(reference, candidate, RULE).tolist() == [0, 5, 2, 1, 4, 3]
    assert cases_to_explain(reference, candidate, RULE, most=4).tolist() == [0, 5, 2, 1]
    many = np.linspace(0.6, 0.9, 20)
    assert cases_to_explain(many, 1 - many, RULE, most=8).tolist() == [0, 1, 2, 3, 4, 5]
