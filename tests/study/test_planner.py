"""What is proposed and what is left out, each with its reason."""

import dataclasses

import pytest

from primum.config import OptimizationConfig, OptimizationLevel
from primum.errors import InputError
from primum.hardware.machine import this_machine
from primum.study.planner import ModelFacts, baseline_recipe, plan

FACTS = ModelFacts(from_torch=True, weight_bytes=40_000_000, image_input=True, baseline_ms=10.0)
MACHINE = dataclasses.replace(this_machine(), features=("avx2", "avx512", "bf16", "vnni"))


def names(config: OptimizationConfig, facts: ModelFacts = FACTS, machine=MACHINE) -> list[str]:
    return [str(p.recipe.target) for p in plan(config, facts, machine).proposals]


def test_minimal_is_lossless():
    assert all("fp32" in name for name in names(OptimizationConfig(level=OptimizationLevel.MINIMAL)))


def test_balanced_adds_sixteen_bits_and_int8():
    found = names(OptimizationConfig())
    assert {"openvino[int8]", "onnxruntime[int8]", "openvino[bf16]", "onnxruntime[fp16]"} <= set(found)
    assert found[0] == "onnxruntime[fp32]", "something lossless comes first"


def test_medical_critical_goes_no_lower_than_int8():
    assert all("int4" not in name for name in names(OptimizationConfig(level=OptimizationLevel.MEDICAL_CRITICAL)))


@pytest.mark.parametrize("change", [{"weight_bytes": 60_000}, {"baseline_ms": 0.02}])
def test_small_models_are_not_quantized(change):
    chosen = plan(OptimizationConfig(), dataclasses.replace(FACTS, **change), MACHINE)
    assert all("fp32" in str(p.recipe) for p in chosen.proposals)
    assert any("too small to gain" in item.why for item in chosen.left_out)


def test_a_cpu_without_bf16_is_not_asked_for_it():
    chosen = plan(OptimizationConfig(), FACTS, dataclasses.replace(MACHINE, features=("avx2",)))
    assert not any("bf16" in str(p.recipe) for p in chosen.proposals)
    assert sum("no BF16" in item.why for item in chosen.left_out) == 3


def test_an_onnx_model_runs_in_graph_runtimes_only():
    onnx = dataclasses.replace(FACTS, from_torch=False)
    assert {name.split("[")[0] for name in names(OptimizationConfig(), onnx)} == {"onnxruntime", "openvino"}
    assert "onnxruntime[fp32]" not in names(OptimizationConfig(), onnx), "that is the baseline itself"
    assert str(baseline_recipe(False, None)) == "onnxruntime[fp32]"


def test_runtimes_can_be_chosen_and_unknown_ones_are_refused():
    assert {n.split("[")[0] for n in names(OptimizationConfig(runtimes=("openvino",)))} == {"openvino"}
    with pytest.raises(InputError, match="no runtime 'tpu'"):
        plan(OptimizationConfig(runtimes=("tpu",)), FACTS, MACHINE)
