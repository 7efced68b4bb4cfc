"""What each precision does to a weight: by hand, and in parity with torch and ONNX Runtime's quantizer."""

import numpy as np
import pytest
import torch
from onnx import helper
from onnxruntime.quantization.quant_utils import compute_scale_zp

from primum.runtimes.base import Target
from primum.study.scheme import affine, scheme_of

CONV = helper.make_node("Conv", ["x", "w"], ["y"])
GEMM = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
PLAIN = helper.make_node("Gemm", ["x", "w"], ["y"])
MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])


def rounded(node, values, precision="int8", runtime="openvino", slot=1):
    return scheme_of(Target(runtime=runtime, precision=precision)).round(node, slot, np.asarray(values, np.float32))


def test_int8_weights_have_one_scale_an_output_channel():
    weight = np.array([[127.0, 0.4, -0.6], [1.27, 0.004, -0.006]])
    expected = [[127.0, 0.0, -1.0], [1.27, 0.0, -0.01]]
    assert rounded(GEMM, weight) == pytest.approx(np.array(expected), abs=1e-6)
    assert rounded(PLAIN, weight.T) == pytest.approx(np.array(expected).T, abs=1e-6)
    assert rounded(MATMUL, weight.T) == pytest.approx(np.array(expected).T, abs=1e-6)
    assert rounded(CONV, weight[:, None]) == pytest.approx(np.array(expected)[:, None], abs=1e-6)


def test_a_bias_and_a_channel_of_zeros_stay_as_they_are():
    assert rounded(CONV, [0.123, 4.567], slot=2).tolist() == np.float32([0.123, 4.567]).tolist()
    assert rounded(GEMM, np.zeros((2, 3))).tolist() == np.zeros((2, 3)).tolist()


def test_dynamic_int8_takes_one_scale_for_a_whole_convolution():
    weight = np.array([[[100.0]], [[0.1]]])
    assert rounded(CONV, weight, "int8-dynamic", "onnxruntime")[1, 0, 0] == 0
    assert rounded(GEMM, weight[..., 0], "int8-dynamic", "onnxruntime")[1, 0] == pytest.approx(0.1)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0)])
def test_activation_ranges_have_onnx_runtimes_scale_and_zero_point(low, high):
    zero, scale = compute_scale_zp(np.float64(low), np.float64(high), np.uint8(0), np.uint8(255), symmetric=False)
    got = affine(np.float64(low), np.float64(high))
    assert (float(got[0]), float(got[1])) == pytest.approx((float(scale), float(zero)))


def test_16_bits_in_parity_with_torch():
    values = np.random.default_rng(0).normal(0, 3, (64, 5)).astype(np.float32)
    half = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(rounded(MATMUL, values, "bf16"), half)
    stored = rounded(MATMUL, values, "fp16", "onnxruntime")
    np.testing.assert_array_equal(stored, values.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(rounded(MATMUL, values[:2], "fp16", "onnxruntime"), values[:2])


def test_fp32_changes_nothing():
    assert scheme_of(Target(runtime="openvino")) is None


def test_four_bits_keep_the_largest_of_a_block_whatever_its_sign():
    weight = np.zeros((2, 64), np.float32)
    weight[0, :3], weight[0, 32:35], weight[1, 0] = (8.0, -7.0, 0.4), (-0.8, 0.7, 0.04), 3.0
    expected = weight.copy()
    expected[0, 2], expected[0, 34] = 0, 0
    expected[0, 1], expected[0, 33] = -7.0, 0.7
    assert rounded(GEMM, weight, "int4-weights") == pytest.approx(expected, abs=1e-6)
    assert rounded(MATMUL, weight.T, "int4-weights") == pytest.approx(expected.T, abs=1e-6)


def test_nf4_in_parity_with_bitsandbytes_where_it_is_installed():
    functional = pytest.importorskip("bitsandbytes").functional
    values = np.random.default_rng(0).normal(0, 1, (16, 64)).astype(np.float32)
    packed, state = functional.quantize_nf4(torch.from_numpy(values), blocksize=32)
    theirs = functional.dequantize_nf4(packed, state).numpy()
    assert rounded(GEMM, values, "nf4-weights") == pytest.approx(theirs, abs=1e-5)


def test_a_layer_within_an_excluded_module_is_spared():
    scheme = scheme_of(Target(runtime="openvino", precision="int8", exclude=("layer1", "head.0")))
    assert scheme.spares("layer1") and scheme.spares("layer1.0.conv") and scheme.spares("head.0")
    assert not scheme.spares("layer10") and not scheme.spares("head.1")
