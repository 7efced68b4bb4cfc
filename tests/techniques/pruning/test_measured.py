"""The ratio is found by what is measured."""

import pruning_nets as nets
import pytest
import torch
from torch import nn

from primum.errors import InputError, TrialError
from primum.runtimes.export import export_onnx
from primum.techniques.pruning import PruneToLatency, prune_to_latency
from primum.techniques.pruning.remove import parameters
from primum.techniques.registry import Context, apply_all, technique_of

pytest.importorskip("torch_pruning")

EXAMPLE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nets.ready(nets.ResNet(32))


class Counted:
    """Parameters as milliseconds, and how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, model: nn.Module) -> float:
        self.calls += 1
        return parameters(model) / 1000


def _context(measure) -> Context:
    return Context(measure=measure, calibration=EXAMPLE.numpy())


@pytest.mark.parametrize("speedup", [1.3, 2.0, 4.0])
def test_the_least_pruned_network_that_reaches_the_goal(speedup):
    measure, net = Counted(), _net()
    found = prune_to_latency(net, PruneToLatency(speedup=speedup), _context(measure))
    base = parameters(net) / 1000
    assert found.reached and parameters(found.model) / 1000 <= base / speedup == found.goal
    reaching = [p for p in found.curve if p.milliseconds <= found.goal]
    assert min(p.ratio for p in reaching) == found.ratio
    missing = [p.ratio for p in found.curve if p.milliseconds > found.goal]
    assert max(missing) < found.ratio <= max(missing) + 0.7 / 2 + 1e-9
    assert measure.calls == len(found.curve) <= 7
    assert found.curve[0].ratio == 0 and found.curve[0].parameters == parameters(net)
    assert sum("ms" in note and "ratio" in note for note in found.notes) == len(found.curve)


def test_more_steps_come_nearer_and_equal_networks_are_measured_once():
    measure = Counted()
    coarse = prune_to_latency(_net(), PruneToLatency(speedup=2, steps=1), _context(Counted()))
    fine = prune_to_latency(_net(), PruneToLatency(speedup=2, steps=12), _context(measure))
    assert coarse.goal >= fine.curve[0].milliseconds / 2
    assert coarse.model.head.in_features <= fine.model.head.in_features
    assert len(fine.curve) < 12, "channels come in multiples of 8, so that ratios close by are one network"
    assert len({p.parameters for p in fine.curve}) == len(fine.curve) == measure.calls


def test_a_goal_out_of_reach_gives_the_most_pruned_and_says_so():
    config = PruneToLatency(milliseconds=0.001, max_ratio=0.5)
    found = prune_to_latency(_net(), config, _context(Counted()))
    assert not found.reached and found.ratio == 0.5 and len(found.curve) == 2
    assert any("was not reached" in note for note in found.notes)


def test_a_goal_already_met_changes_nothing():
    net = _net()
    found = prune_to_latency(net, PruneToLatency(milliseconds=1e9), _context(Counted()))
    assert found.model is net and found.reached and "nothing removed" in found.notes[0]


def test_what_cannot_be_measured():
    with pytest.raises(InputError, match="measure"):
        prune_to_latency(_net(), PruneToLatency(speedup=2), Context(calibration=EXAMPLE.numpy()))
    with pytest.raises(TrialError, match="nan ms"):
        prune_to_latency(_net(), PruneToLatency(speedup=2), _context(lambda model: float("nan")))


def test_real_latency_in_onnx_runtime(tmp_path):
    """A goal so mild that noise cannot hide it: half the channels of wide convolutions are a quarter of the work."""
    import time

    import onnxruntime

    torch.manual_seed(0)
    width = 96
    net = nets.ready(
        nn.Sequential(
            *(nn.Conv2d(3, width, 3, 1, 1), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU()) * 3,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 2),
        )
    )

    def measure(model: nn.Module) -> float:
        export_onnx(model, (3, 32, 32), tmp_path / "m.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(tmp_path / "m.onnx", options, providers=["CPUExecutionProvider"])
        feed, times = {"input": EXAMPLE.numpy()}, []
        for _ in range(30):
            start = time.perf_counter()
            session.run(None, feed)
            times.append(time.perf_counter() - start)
        return 1e3 * min(times)

    context = _context(measure)
    config = PruneToLatency(speedup=1.5, steps=2)
    pruned = apply_all(net, (config,), context)
    assert parameters(pruned) < 0.8 * parameters(net)
    assert not any("was not reached" in note for note in context.notes)
    assert technique_of(config).measures and technique_of(config).reshapes
