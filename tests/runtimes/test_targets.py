"""Targets as data: what old records mean, and which settings are refused rather than passed over."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from primum.runtimes.base import MODES, RANGES, Target
from primum.study.recipe import Recipe


def test_settings_at_their_defaults_leave_old_keys_alone():
    plain = {"runtime": "torch", "precision": "fp32", "channels_last": False, "threads": None, "spinning": False}
    assert Target(runtime="torch").model_dump(mode="json") == plain
    assert Recipe(Target(runtime="torch")).key == "976b535a0051"


def test_static_int8_is_built_otherwise_than_before_and_has_another_key():
    assert Target(runtime="onnxruntime", precision="int8").model_dump(mode="json")["ranges"] == "minmax"
    assert Recipe(Target(runtime="onnxruntime", precision="int8")).key != "97c27d318c1d"


def test_an_old_record_of_a_target_is_still_read():
    old = {"runtime": "openvino", "precision": "int8", "channels_last": False, "threads": 2, "spinning": False}
    assert Target.model_validate(old) == Target(runtime="openvino", precision="int8", threads=2)


@given(
    runtime=st.sampled_from(sorted(RANGES)),
    data=st.data(),
    exclude=st.lists(st.text(min_size=1, max_size=5), max_size=2).map(tuple),
)
def test_plain_data_gives_the_target_back(runtime, data, exclude):
    target = Target(
        runtime=runtime,
        precision="int8",
        ranges=data.draw(st.sampled_from(RANGES[runtime])),
        bias_correction=runtime == "openvino" and data.draw(st.booleans()),
        fused_attention=runtime == "onnxruntime" and data.draw(st.booleans()),
        floats="bf16" if runtime == "openvino" and data.draw(st.booleans()) else "fp32",
        fixed_batch=runtime == "openvino" and data.draw(st.booleans()),
        exclude=exclude,
    )
    assert Target.model_validate(json.loads(json.dumps(target.model_dump(mode="json")))) == target


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"runtime": "onnxruntime", "precision": "int8", "ranges": "histogram"}, "minmax, mean, entropy, percentile"),
        ({"runtime": "openvino", "ranges": "mean"}, "static INT8"),
        ({"runtime": "onnxruntime", "precision": "int8", "bias_correction": True}, "bias_correction belongs to"),
        ({"runtime": "torch", "exclude": ("head",)}, "exclude belongs to"),
        ({"runtime": "openvino", "fused_attention": True}, "fused_attention belongs to"),
        ({"runtime": "openvino", "floats": "bf16"}, "floats belongs to"),
        ({"runtime": "onnxruntime", "fixed_batch": True}, "fixed_batch belongs to"),
        ({"runtime": "openvino", "symmetric": True}, "symmetric belongs to"),
        ({"runtime": "torch", "mode": "max-autotune"}, "other runtimes have no mode"),
        ({"runtime": "inductor", "mode": "fastest"}, ", ".join(MODES)),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        Target(**settings)


def test_it_prints_as_one_word_with_what_is_unusual():
    target = Target(runtime="openvino", precision="int8", ranges="mean", exclude=("stem", "head"), threads=2)
    assert str(target) == "openvino[int8, ranges=mean, without stem+head, threads=2]"


@pytest.mark.slow
def test_a_mode_of_torch_compile_gives_the_same_numbers(tmp_path):
    import nets
    import numpy as np
    import torch

    from primum.models.signature import Signature
    from primum.runtimes.base import BuildSource, get_runtime

    signature = Signature(input_shape=(1, 32, 32), outputs=1, classes=("a", "b"))
    x = np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)
    target, runtime = Target(runtime="inductor", mode="reduce-overhead", threads=1), get_runtime("inductor")
    runtime.build(BuildSource(signature, nets.build(), None, x), target, tmp_path)
    with torch.inference_mode():
        expected = nets.build()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(runtime.open(tmp_path, target, nets.build).run(x), expected, atol=1e-5)
