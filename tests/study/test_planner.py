"""What is proposed and what is left out, each with its reason."""

import dataclasses

import pytest

from primum.config import OptimizationConfig, OptimizationLevel, QuantizationConfig
from primum.errors import InputError
from primum.hardware.machine import this_machine
from primum.runtimes.facts import GraphFacts
from primum.runtimes.macs import UNKNOWN, Macs
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


TABULAR = {"weight_bytes": 16_000, "image_input": False, "baseline_ms": 0.033, "macs": Macs(3_969, exact=True)}


@pytest.mark.parametrize("change", [TABULAR, {"baseline_ms": 0.02}])
def test_small_models_are_not_quantized(change):
    chosen = plan(OptimizationConfig(), dataclasses.replace(FACTS, **change), MACHINE)
    assert all("fp32" in str(p.recipe) for p in chosen.proposals)
    assert any("too small to gain" in item.why for item in chosen.left_out)


def test_why_a_small_model_is_left_out_says_what_was_counted_and_measured():
    chosen = plan(OptimizationConfig(), dataclasses.replace(FACTS, **TABULAR), MACHINE)
    why = {item.what: item.why for item in chosen.left_out}["onnxruntime[int8]"]
    assert "3,969 multiply-accumulates a case" in why and "0.033 ms a call" in why
    assert "makes such models slower" not in why, "of this model nothing was measured but its time"
    slow_eager = dataclasses.replace(FACTS, **TABULAR | {"baseline_ms": 0.5})
    assert all("fp32" in name for name in names(OptimizationConfig(), slow_eager)), "eager's own cost is no work"


@pytest.mark.parametrize(
    ("bytes_", "ms", "macs"),
    [
        (1_150_000, 0.4, Macs(3_300_000, exact=True)),
        (470_000, 89.0, Macs(80_000_000, exact=True)),
        (550_000, 0.4, Macs(2_700_000, exact=True)),
        (150_000, 0.07, Macs(3_300_000, exact=True)),
        (1_250_000, 0.04, Macs(313_856, exact=False)),
        (60_000, 3.0, UNKNOWN),
    ],
)
def test_few_weights_that_work_much_are_tried_in_lower_precision(bytes_, ms, macs):
    small = dataclasses.replace(FACTS, weight_bytes=bytes_, baseline_ms=ms, macs=macs)
    assert {"openvino[int8]", "onnxruntime[int8]", "openvino[bf16]", "onnxruntime[fp16]"} <= set(
        names(OptimizationConfig(), small)
    )


def test_who_wants_a_small_file_is_not_told_that_speed_will_not_gain():
    tiny = dataclasses.replace(FACTS, **TABULAR)
    assert {"onnxruntime[int8]", "onnxruntime[fp16]"} <= set(names(OptimizationConfig(objective="size"), tiny))


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


LINEAR = GraphFacts(products=24, product_bytes=39_000_000, attentions=6)


def test_weights_of_matrix_products_are_stored_smaller_where_they_are_the_network():
    encoder = dataclasses.replace(FACTS, image_input=False, graph=LINEAR)
    balanced = names(OptimizationConfig(), encoder)
    assert "openvino[int8-weights]" in balanced and not any("int4" in name for name in balanced)
    assert "openvino[int4-weights]" in names(OptimizationConfig(level=OptimizationLevel.AGGRESSIVE), encoder)


def test_four_bit_convolutions_are_refused_before_any_time_is_spent():
    asked = OptimizationConfig(
        quantization=QuantizationConfig(quantization_type="int4"), preserve_medical_accuracy=False
    )
    chosen = plan(asked, dataclasses.replace(FACTS, graph=GraphFacts(convolutions=20)), MACHINE)
    reasons = {item.what: item.why for item in chosen.left_out}
    assert "4-bit convolutions do not exist on CPU" in reasons["openvino[int4-weights]"]
    assert "slower" in reasons["onnxruntime[int8-dynamic]"]
    assert not any("int4" in str(p.recipe) for p in chosen.proposals)


def test_four_bits_are_not_proposed_where_products_are_few():
    asked = OptimizationConfig(
        quantization=QuantizationConfig(quantization_type="int4"), preserve_medical_accuracy=False
    )
    few = dataclasses.replace(FACTS, graph=GraphFacts(convolutions=20, products=1, product_bytes=4_000_000))
    chosen = plan(asked, few, MACHINE)
    reasons = {item.what: item.why for item in chosen.left_out}
    assert "which hold 10% of the weights" in reasons["openvino[int4-weights]"]
    assert not any("int4" in str(p.recipe) for p in chosen.proposals)
