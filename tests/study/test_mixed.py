"""Which layers keep FP32: the solver against brute force, reverts on rules, and a network with one fragile layer."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from primum.errors import InputError, TrialError
from primum.models.signature import Activation, Signature
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.runtimes.export import export_onnx
from primum.runtimes.profiling import LayerTimes
from primum.study.mixed import (
    Harm,
    allocate,
    layer_savings,
    mixed_targets,
    pareto,
    profiled,
    rank_and_revert,
    worst_cases,
)
from primum.study.sensitivity import LayerScore, layer_scores

SHAPE = (1, 16, 16)
SIGNATURE = Signature(input_shape=SHAPE, outputs=2, classes=("a", "b"), activation=Activation.SOFTMAX)
LAYERS = st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 200)), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(layers=LAYERS, data=st.data())
def test_the_program_finds_what_trying_everything_finds(layers, data):
    scores, savings = np.array(layers).T / 100
    # In whole hundredths: a solver meets its constraints to a millionth.
    needed = data.draw(st.integers(0, sum(saving for _, saving in layers))) / 100
    chosen = allocate(scores, savings, needed)
    possible = (
        float(scores[list(keep)].sum())
        for n in range(len(layers) + 1)
        for keep in itertools.combinations(range(len(layers)), n)
        if savings[list(keep)].sum() >= needed - 1e-9
    )
    assert savings[chosen].sum() >= needed - 1e-6
    assert scores[chosen].sum() == pytest.approx(min(possible), abs=1e-6)


def test_more_than_all_layers_save_is_refused():
    with pytest.raises(InputError, match="together save 3 ms"):
        allocate([1.0, 1.0], [1.0, 2.0], 3.5)


@settings(max_examples=40, deadline=None)
@given(layers=LAYERS)
def test_slower_allocations_are_less_harmful_and_never_repeated(layers):
    scores = [LayerScore(f"l{i}", score / 100, 0.0) for i, (score, _) in enumerate(layers)]
    savings = {f"l{i}": saving / 100 for i, (_, saving) in enumerate(layers)}
    found = pareto(scores, savings, rounded_ms=1.0)
    assert all(a.excluded for a in found) and len({a.excluded for a in found}) == len(found)
    assert [a.score for a in found] == sorted((a.score for a in found), reverse=True)
    assert [a.ms for a in found] == sorted(a.ms for a in found)
    for a in found:
        assert a.ms == pytest.approx(1 + sum(savings[name] for name in a.excluded))
        assert a.score == pytest.approx(sum(s.score for s in scores if s.name not in a.excluded))
        assert all(s.score > 0 for s in scores if s.name in a.excluded), "no layer without harm is excluded"


def test_no_exclusion_is_free():
    whole, rounded = LayerTimes({"a": 2.0, "b": 0.1}, 3.0), LayerTimes({"a": 0.5, "b": 0.2}, 1.0)
    assert layer_savings(["a", "b", "c"], whole, rounded) == {"a": 1.5, "b": 0.006, "c": 0.006}


@settings(max_examples=60, deadline=None)
@given(weights=st.lists(st.integers(0, 20), min_size=1, max_size=7), allowed=st.integers(0, 30))
def test_reverts_take_the_worst_layer_first_and_stop_when_acceptable(weights, allowed):
    """Harms that add up: greedy is right, so the fewest layers are reverted, the heaviest first."""
    names = [f"l{i}" for i in range(len(weights))]
    harm_of = dict(zip(names, weights))
    asked: list[frozenset[str]] = []

    def evaluate(excluded: frozenset[str]) -> Harm:
        asked.append(excluded)
        left = sum(v for k, v in harm_of.items() if k not in excluded)
        return Harm(left, left <= allowed)

    found = rank_and_revert(names, evaluate, tried=len(names))
    assert found.harm.acceptable and found.reason == "acceptable"
    heaviest = sorted(weights, reverse=True)
    fewest = next(n for n in range(len(weights) + 1) if sum(heaviest[n:]) <= allowed)
    assert len(found.excluded) == fewest
    assert sorted((harm_of[n] for n in found.excluded), reverse=True) == heaviest[:fewest]
    assert len(asked) == found.evaluations == len(set(asked))


def test_reverts_say_why_they_end():
    def useless(excluded: frozenset[str]) -> Harm:
        return Harm(1.0, False)

    def slow(excluded: frozenset[str]) -> Harm:
        return Harm(5.0 - len(excluded), False)

    assert rank_and_revert(["a", "b"], useless).reason == "no single layer takes harm away"
    assert rank_and_revert(["a", "b"], slow).reason == "every layer keeps FP32"
    limited = rank_and_revert(["a", "b", "c"], slow, excluded=("c",), most=1, tried=1)
    assert limited.excluded == ("c", "a") and "after 1 reverts" in limited.reason


def test_the_worst_cases_come_first_and_unknown_is_worst():
    assert worst_cases([0.1, np.nan, 0.5, 0.3], most=3).tolist() == [1, 2, 3]


class Fragile(nn.Module):
    """Five convolutions; what enters `weak` has one channel a thousand times as large as the others that matter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.loud = nn.Conv2d(16, 16, 3, padding=1)
        self.weak = nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.weak(torch.relu(self.loud(torch.relu(self.first(x))))))
        return self.head(torch.relu(self.wide(torch.relu(self.last(x)))).mean((2, 3)))


def _textures(n: int) -> np.ndarray:
    """Stripes across or along in noise, by turns: (n, 1, 16, 16)."""
    generator = np.random.default_rng(0)
    stripes = np.sin(np.arange(16) * 1.5)
    images = generator.normal(size=(n, *SHAPE))
    images[0::2] += stripes[:, None] * 0.9
    images[1::2] += stripes[None, :] * 0.9
    return images.astype(np.float32)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory) -> tuple[nn.Module, Path, np.ndarray, np.ndarray]:
    torch.manual_seed(0)
    net = Fragile()
    cases = _textures(160)
    labels = (np.arange(160) % 2).astype(np.int64)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(cases)), torch.from_numpy(labels)).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        net.loud.weight[0] *= 3000
        net.loud.bias[0] = 500.0
        net.weak.weight[:, 0] = 0
        labels = net(torch.from_numpy(cases)).argmax(1).numpy()
    path = tmp_path_factory.mktemp("fragile") / "net.onnx"
    export_onnx(net, SHAPE, path)
    return net, path, cases, labels


def flips(target: Target, fragile, folder: Path) -> int:
    _, export, cases, labels = fragile
    runtime = get_runtime(target.runtime)
    folder.mkdir(parents=True, exist_ok=True)
    runtime.build(BuildSource(SIGNATURE, None, export, cases[:60]), target, folder)
    session = runtime.open(folder, target, None)
    return int((session.run(cases).argmax(1) != labels).sum())


def test_the_fragile_layer_has_by_far_the_highest_score(fragile):
    net, _, cases, labels = fragile
    for known in (labels[:60], None):
        scores = {s.name: s.score for s in layer_scores(net, SIGNATURE, cases[:60], known)}
        weak = scores.pop("weak")
        assert weak > 20 * max(scores.values())


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_fragile_layer_is_found_excluded_and_decisions_come_back(runtime, fragile, tmp_path):
    net, export, cases, labels = fragile
    target = Target(runtime=runtime, precision="int8", threads=1)
    before = flips(target, fragile, tmp_path / "all")
    assert before > 20, "the layer is fragile indeed"
    proposals = mixed_targets(net, export, SIGNATURE, cases[:60], labels[:60], target, shares=(0.9, 0.8, 0.6, 0.3))
    found = next(p for p in proposals if "weak" in p.target.exclude)
    assert found.predicted_error < 0.1 and "weak" in found.why
    assert found.target.exclude == ("weak",), "the rest of the network stays in INT8"
    assert flips(found.target, fragile, tmp_path / "mixed") <= before // 5
    ms = [p.predicted_ms for p in proposals]
    assert ms == sorted(ms) and all(m > 0 for m in ms)


def test_reverting_finds_the_fragile_layer_by_real_builds(fragile, tmp_path):
    net, _, cases, labels = fragile
    ranked = [s.name for s in sorted(layer_scores(net, SIGNATURE, cases[:60], labels[:60]), key=lambda s: -s.score)]

    def evaluate(excluded: frozenset[str]) -> Harm:
        target = Target(runtime="openvino", precision="int8", threads=1, exclude=tuple(sorted(excluded)))
        lost = flips(target, fragile, tmp_path / ("-".join(sorted(excluded)) or "none"))
        return Harm(lost, lost <= 4)

    found = rank_and_revert(ranked, evaluate, tried=2)
    assert found.excluded == ("weak",) and found.reason == "acceptable" and found.evaluations == 3


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_layers_are_timed_by_the_runtime_itself(runtime, fragile):
    _, export, cases, _ = fragile
    measure = profiled(export, SIGNATURE, cases[:20])
    runs = [measure(Target(runtime=runtime, threads=1)) for _ in range(3)]
    times = runs[0]
    assert set(times.layers) == {"first", "loud", "weak", "last", "wide", "head"}
    assert 0 < sum(times.layers.values()) <= times.total * 1.2
    # The fastest of three runs: a busy machine may hold up any one layer.
    loud, head = (min(run.layers[name] for run in runs) for name in ("loud", "head"))
    assert loud > head / 5


def test_mixed_precision_starts_from_int8(fragile):
    net, export, cases, labels = fragile
    with pytest.raises(InputError, match="starts from int8"):
        mixed_targets(net, export, SIGNATURE, cases, labels, Target(runtime="openvino"))


@pytest.mark.parametrize(
    ("target", "plain"),
    [
        (
            Target(runtime="openvino", precision="int8", floats="bf16", symmetric=True, fixed_batch=True, threads=1),
            Target(runtime="openvino", fixed_batch=True, threads=1),
        ),
        (
            Target(runtime="onnxruntime", precision="int8", ranges="mean", fused_attention=True, spinning=True),
            Target(runtime="onnxruntime", fused_attention=True, spinning=True),
        ),
    ],
)
def test_int8_is_held_against_fp32_that_is_otherwise_the_same(target, plain, fragile):
    net, export, cases, labels = fragile
    asked = []

    def measure(one: Target) -> LayerTimes:
        asked.append(one)
        if len(asked) == 2:
            raise TrialError("enough")
        return LayerTimes({}, 1.0)

    with pytest.raises(TrialError, match="enough"):
        mixed_targets(net, export, SIGNATURE, cases[:60], labels[:60], target, measure)
    assert asked == [plain, target]
