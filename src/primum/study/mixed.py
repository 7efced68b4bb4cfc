"""Which layers keep FP32 in an otherwise 8-bit network: as little harm as a latency allows.

An integer program over the layers' scores and their measured milliseconds (HAWQ-V3, Yao et al. 2021, with measured
rather than modelled latency), then rank and revert on the worst cases (as NNCF's accuracy control does).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.errors import InputError, TrialError
from primum.models.signature import Signature
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.runtimes.nodes import name_nodes, weighted_modules
from primum.runtimes.profiling import LayerTimes, layer_times
from primum.study.sensitivity import LayerScore, layer_scores

if TYPE_CHECKING:
    import torch

SHARES = (0.98, 0.95, 0.9, 0.8, 0.65, 0.5)
"""Parts of what INT8 saves that proposals keep."""
_FLOATS: Mapping[str, Any] = {
    "precision": "fp32",
    "ranges": "minmax",
    "bias_correction": False,
    "exclude": (),
    "floats": "fp32",
    "symmetric": False,
}
"""What makes FP32 of an INT8 target; all else stays, for times are compared."""
WORST_CASES = 300
_LEAST = 0.002
"""An excluded layer costs at least this share of the FP32 time: values are converted on its way in and out."""
_NEGLIGIBLE = 1e-3
"""Share of all harm for which no layer is excluded."""
_WORTH = 0.01
"""Share of all harm by which a slower proposal must be better than a faster one."""


@dataclass(frozen=True)
class Allocation:
    """Layers kept in FP32, and what that is predicted to give."""

    excluded: tuple[str, ...]
    score: float
    """Sum of the scores of the layers that are rounded."""
    ms: float


@dataclass(frozen=True)
class MixedProposal:
    """A target with layers excluded. Predictions are for ranking; the trial measures."""

    target: Target
    why: str
    predicted_error: float
    """Share of the harm of rounding all layers (sum of their scores) that is left; 1 for all of it."""
    predicted_ms: float
    """Of one call at batch 1, by the runtime's own counters. On ONNX Runtime too low: a convolution before an excluded
    layer loses its saving as well, for its 8-bit form gives 8 bits only."""


@dataclass(frozen=True)
class Harm:
    """What an evaluator says of one set of excluded layers."""

    amount: float
    """Harm on the worst cases; less is better."""
    acceptable: bool
    """Whether the verdict on all selection cases is good enough."""


@dataclass(frozen=True)
class Reverted:
    """How rank and revert ended."""

    excluded: tuple[str, ...]
    """In the order in which they were reverted, those given at the start first."""
    harm: Harm
    evaluations: int
    reason: str


Measure = Callable[[Target], LayerTimes]


def mixed_targets(
    module: torch.nn.Module,
    export: Path,
    signature: Signature,
    cases: NDArray[np.float32],
    labels: NDArray[Any] | None,
    target: Target,
    measure: Measure | None = None,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> tuple[MixedProposal, ...]:
    """Targets like `target` (INT8 on onnxruntime or openvino) with the layers excluded that matter most for their time.

    `module` is what `export` was made from; `cases` (N, *input_shape) with `labels` (see `layer_scores`) are
    calibration or selection cases, never confirmation. `measure` gives the layers' times on a target; by default the
    graph is built and profiled here, twice. Cheapest first; none where excluding gains nothing. Raises InputError for
    another precision, TrialError where a graph cannot be built or profiled.
    """
    import onnx

    if target.precision != "int8":
        raise InputError(f"mixed precision starts from int8, not {target.precision}")
    measure = measure or profiled(export, signature, cases)
    known = weighted_modules(name_nodes(onnx.load(export, load_external_data=False)))
    scores = [s for s in layer_scores(module, signature, cases, labels, seed) if s.name in known]
    if not scores:
        raise TrialError("no layer of the export can be traced to a layer of the network")
    if not any(s.score > 0 for s in scores):
        raise TrialError("the network is so sure of these cases that no gradient tells its layers apart")
    whole = measure(target.model_copy(update=_FLOATS))
    rounded = measure(target)
    savings = layer_savings([s.name for s in scores], whole, rounded)
    proposals = pareto(scores, savings, rounded.total, shares)
    total = sum(s.score for s in scores)
    return tuple(_proposal(target, a, total, rounded.total, whole.total, scores) for a in proposals)


def profiled(export: Path, signature: Signature, cases: NDArray[np.float32]) -> Measure:
    """A measure that builds the target from `export`, calibrated on `cases`, and reads the runtime's own counters."""

    def measure(target: Target) -> LayerTimes:
        runtime = get_runtime(target.runtime)
        with tempfile.TemporaryDirectory(prefix="primum-") as folder:
            runtime.build(BuildSource(signature, None, export, cases), target, Path(folder))
            return layer_times(Path(folder), target, export, cases)

    return measure


def layer_savings(names: Sequence[str], whole: LayerTimes, rounded: LayerTimes) -> dict[str, float]:
    """Milliseconds that INT8 saves on each layer; a layer that gains nothing (or was not seen) saves next to nothing.

    A floor, for an exclusion is never free.
    """
    least = _LEAST * whole.total
    missing = dict.fromkeys(names, 0.0)
    before, after = missing | dict(whole.layers), missing | dict(rounded.layers)
    return {name: max(before[name] - after[name], least) for name in names}


def pareto(
    scores: Sequence[LayerScore], savings: Mapping[str, float], rounded_ms: float, shares: Sequence[float] = SHARES
) -> tuple[Allocation, ...]:
    """The least harmful allocation for each latency, fastest first, without repeats and without the empty exclusion.

    `rounded_ms`: with every layer in INT8. `shares`: parts of the whole saving that must be kept.
    """
    values, gains = np.array([s.score for s in scores]), np.array([savings[s.name] for s in scores])
    found: dict[tuple[str, ...], Allocation] = {}
    least = total = float(values.sum())
    for share in sorted(shares, reverse=True):
        # The program fills its budget with whatever fits; layers that do no harm go back to INT8.
        keep = allocate(values, gains, share * gains.sum()) | (values <= _NEGLIGIBLE * total)
        excluded = tuple(s.name for s, rounds in zip(scores, keep) if not rounds)
        score = float(values[keep].sum())
        if excluded and score <= least - _WORTH * total:
            least = score
            found[excluded] = Allocation(excluded, score, rounded_ms + float(gains[~keep].sum()))
    return tuple(found.values())


def allocate(scores: ArrayLike, savings: ArrayLike, needed: float) -> NDArray[np.bool_]:
    """Which layers to round: least sum of `scores` (L,) with `savings` (L,) of at least `needed`, by integer program.

    Raises InputError where even all layers save less.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    cost, gain = np.asarray(scores, np.float64), np.asarray(savings, np.float64)
    possible = float(gain[gain > 0].sum())
    if needed > possible * (1 + 1e-9):
        raise InputError(f"all layers together save {possible:.3g} ms, less than {needed:.3g}")
    # The solver's tolerances are absolute: both sides are brought to about 1.
    unit, price = possible or 1.0, float(cost.max(initial=0)) or 1.0
    solved = milp(
        cost / price,
        constraints=LinearConstraint((gain / unit)[None, :], lb=min(needed / unit, 1.0) - 1e-9),
        integrality=np.ones(len(cost)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        raise TrialError(f"the integer program has no solution: {solved.message}")
    return np.asarray(np.round(solved.x).astype(bool))


def rank_and_revert(
    ranked: Sequence[str],
    evaluate: Callable[[frozenset[str]], Harm],
    excluded: Sequence[str] = (),
    tried: int = 8,
    most: int | None = None,
) -> Reverted:
    """Revert to FP32, one at a time, the layer that takes away most harm, until the verdict is acceptable.

    `ranked`: all layers, the most suspect first; each round tries the first `tried` that are still rounded. `evaluate`
    judges a set of excluded layers, and is asked once a set. Ends with the best set found where no single layer
    helps, or after `most` reverts: `reason` says which.
    """
    chosen, evaluations = list(excluded), 1
    harm = evaluate(frozenset(chosen))
    limit = len(ranked) if most is None else most
    while not harm.acceptable:
        left = [name for name in ranked if name not in chosen]
        if not left:
            return Reverted(tuple(chosen), harm, evaluations, "every layer keeps FP32")
        if len(chosen) - len(excluded) >= limit:
            return Reverted(tuple(chosen), harm, evaluations, f"not acceptable after {limit} reverts")
        outcomes = [(evaluate(frozenset([*chosen, name])), name) for name in left[:tried]]
        evaluations += len(outcomes)
        better, name = min(outcomes, key=lambda o: (not o[0].acceptable, o[0].amount))
        if not better.acceptable and better.amount >= harm.amount:
            return Reverted(tuple(chosen), harm, evaluations, "no single layer takes harm away")
        chosen.append(name)
        harm = better
    return Reverted(tuple(chosen), harm, evaluations, "acceptable")


def worst_cases(harm: ArrayLike, most: int = WORST_CASES) -> NDArray[np.int64]:
    """Positions (at most `most`,) of the cases with the largest `harm` (N,), worst first; NaN is the worst of all."""
    amount = np.nan_to_num(np.asarray(harm, np.float64), nan=np.inf)
    return np.argsort(-amount, kind="stable")[:most].astype(np.int64)


def _proposal(
    target: Target, found: Allocation, total: float, rounded_ms: float, whole_ms: float, scores: Sequence[LayerScore]
) -> MixedProposal:
    left = found.score / total if total > 0 else 0.0
    worst = sorted((s for s in scores if s.name in found.excluded), key=lambda s: -s.score)[:3]
    named = ", ".join(s.name for s in worst) + (", ..." if len(found.excluded) > len(worst) else "")
    why = (
        f"{len(found.excluded)} of {len(scores)} layers keep FP32 ({named}): predicted to take away {1 - left:.0%} of "
        f"the harm of INT8 at {found.ms:.3g} ms, between {rounded_ms:.3g} (all INT8) and {whole_ms:.3g} (FP32)"
    )
    exclude = tuple(dict.fromkeys([*target.exclude, *found.excluded]))
    return MixedProposal(target.model_copy(update={"exclude": exclude}), why, left, found.ms)
