"""The proof that the right channels went must fail where they did not."""

import copy

import pruning_nets as nets
import pytest
import torch
from torch import nn

pytest.importorskip("torch_pruning")

from primum.techniques.pruning.check import Ledger, fault
from primum.techniques.pruning.graph import Graph
from primum.techniques.pruning.plan import Cut
from primum.techniques.pruning.remove import remove

EXAMPLE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _cut(norm=nn.BatchNorm2d) -> tuple[nn.Module, nn.Module, Ledger]:
    net = nets.ready(nets.ResNet(norm=norm))
    pruned, ledger = copy.deepcopy(net), Ledger()
    graph = Graph(pruned, EXAMPLE)
    ledger.enter(graph.remove("stages.1.conv1", [0, 3, 5]))
    ledger.enter(graph.remove("stages.1.conv1", [1]))
    return net, pruned, ledger


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, lambda c: nn.GroupNorm(c, c), lambda c: nn.GroupNorm(1, c)])
def test_right_channels_pass(norm):
    net, pruned, ledger = _cut(norm)
    assert ledger.lost == {"stages.1.conv2": [0, 3, 5, 2]}, "places are those of the original"
    assert fault(net, pruned, ledger, EXAMPLE) is None


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, lambda c: nn.GroupNorm(1, c)])
def test_wrong_channels_fail(norm):
    net, pruned, ledger = _cut(norm)
    with torch.no_grad():
        weight = pruned.stages[1].conv2.weight
        weight[:, [0, 1]] = weight[:, [1, 0]]
    assert "more changed" in fault(net, pruned, ledger, EXAMPLE)


def test_a_network_that_breaks_fails():
    net, pruned, ledger = _cut()
    wrong = copy.deepcopy(pruned)
    wrong.head = nn.Linear(32, 2)
    assert "shape changed" in fault(net, wrong, ledger, EXAMPLE)
    wrong.head = nn.Linear(31, 3)
    assert "does not run" in fault(net, wrong, ledger, EXAMPLE)
    with torch.no_grad():
        pruned.head.weight[0, 0] = float("nan")
    assert "not finite" in fault(net, pruned, ledger, EXAMPLE)


def test_a_set_that_cannot_go_is_left_out_and_the_others_go():
    torch.manual_seed(0)
    net = nets.ready(nets.Transformer())
    example = torch.randn(1, 1, 16, 16)
    names = {layer: s.name for s in Graph(copy.deepcopy(net), example).sets() for layer in s.layers}
    plan = {names["qkv"]: Cut((0, 1, 2), 1), names["wide"]: Cut(tuple(range(48)), 8)}
    pruned, faults = remove(net, example, plan)
    assert faults == {"qkv": "more changed than the removed channels"}, "it runs, with its heads mixed up"
    assert pruned.qkv.out_features == 72 and pruned.wide.out_features == 48
