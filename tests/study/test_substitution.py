"""Layers of a graph by name, and copies of it in which one of them computes otherwise."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from primum.runtimes.export import export_onnx
from primum.runtimes.nodes import module_path
from primum.study.substitution import Change, Network, Range, open_graph


class Shared(nn.Module):
    """One convolution used twice, a BatchNorm to fold, a head of MatMul and Add."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)
        self.body = nn.Sequential(nn.Conv1d(2, 4, 1), nn.BatchNorm1d(4), nn.ReLU())
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.conv(self.conv(x).relu())).transpose(1, 2)).mean(1)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Shared().eval()


@pytest.fixture(scope="module")
def network(module, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    export_onnx(module, (2, 8), path)
    return Network(onnx.load(path))


def run(graph, cases):
    return open_graph(graph).run(None, {"input": cases})[0]


CASES = np.random.default_rng(0).normal(0, 1, (5, 2, 8)).astype(np.float32)


def test_layers_carry_the_modules_names(network):
    layers = {layer.name: layer for layer in network.layers()}
    assert set(layers) == {"conv", "body.0", "head"}
    assert len(layers["conv"].nodes) == 2 and layers["conv"].parameters == 2 * 2 * 3 + 2
    assert (layers["head"].kind, layers["head"].parameters) == ("MatMul", 5)


def test_names_of_the_tracing_exporter_and_of_strangers():
    node = helper.make_node("Conv", ["x", "onnx::Conv_193"], ["y"], name="/layer1/layer1.0/conv1/Conv")
    assert module_path(node, {"onnx::Conv_193": None}) == "layer1.0.conv1"
    assert module_path(helper.make_node("Conv", ["x", "stem.0.weight"], ["y"]), {"stem.0.weight": None}) == "stem.0"
    assert module_path(helper.make_node("Gemm", ["x", "W"], ["y"], name="dense"), {"W": None}) == "dense"
    assert module_path(helper.make_node("Gemm", ["x", "W"], ["y"]), {"W": None}) == "y"
    odd = helper.make_node("MatMul", ["x", "val_3"], ["y"], name="node_linear")
    odd.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'block.fc', 'linear']")
    assert module_path(odd, {"val_3": None}) == "block.fc"
    odd.metadata_props[0].value = "__import__('os').abort()"
    assert module_path(odd, {"val_3": None}) == "node_linear"


def test_no_change_gives_the_same_graph(network, module):
    with torch.inference_mode():
        expected = module(torch.from_numpy(CASES)).numpy()
    np.testing.assert_allclose(run(network.changed(()), CASES), expected, atol=1e-5)


def test_other_constants_reach_one_use_alone(network, module):
    """A shared weight is replaced at the node that is named, and stays at the other."""
    first, second = next(layer.nodes for layer in network.layers() if layer.name == "conv")
    weight = network.constants_of(network.nodes[first])[1]
    got = run(network.changed([Change(second, {1: weight * 2})]), CASES)
    with torch.inference_mode():
        x = module.conv(torch.from_numpy(CASES)).relu()
        x = nn.functional.conv1d(x, module.conv.weight * 2, module.conv.bias, padding=1)
        expected = module.head(module.body(x).transpose(1, 2)).mean(1).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_array_equal(network.constants_of(network.nodes[first])[1], weight)


def test_activations_are_rounded_and_clipped_to_their_range(network):
    first = network.layers()[0].nodes[0]
    got = run(network.changed([Change(first, {}, "static", enters=Range(-0.51, 0.51))]), CASES)
    step = 1.02 / 255
    entered = (np.clip(np.round(CASES / step) + 128, 0, 255) - 128) * step
    np.testing.assert_allclose(got, run(network.changed(()), entered.astype(np.float32)), atol=1e-5)
    left = run(network.changed([Change(first, {}, rounds_output=True, leaves=Range(0.0, 1e-30))]), CASES)
    assert np.ptp(left) < 1e-6 < np.ptp(run(network.changed(()), CASES))


def test_ranges_are_extremes_or_means_of_the_cases(network, module):
    entry, inner = "input", str(network.nodes[0].output[0])
    with torch.inference_mode():
        seen = module.conv(torch.from_numpy(CASES)).numpy().reshape(5, -1)
    extremes, means = (network.ranges([entry, inner], CASES, mean) for mean in (False, True))
    assert (extremes[entry].low, extremes[entry].high) == pytest.approx((CASES.min(), CASES.max()))
    assert (extremes[inner].low, extremes[inner].high) == pytest.approx((seen.min(), seen.max()), rel=1e-4)
    assert means[inner].high == pytest.approx(seen.max(axis=1).mean(), rel=1e-4)


def test_what_leaves_a_layer_is_taken_behind_its_relu(network):
    first, second = next(layer.nodes for layer in network.layers() if layer.name == "conv")
    assert network.leaves(network.nodes[first]) == network.nodes[second].input[0]
    assert network.leaves(network.nodes[second]) == network.nodes[second].output[0]
