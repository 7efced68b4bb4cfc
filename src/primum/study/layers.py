"""Why a candidate decides differently, layer by layer: the original with one layer computed as the candidate does.

The effect of single substitutions on the answers themselves, as in NNCF's accuracy control (rank by the metric on the
items that suffer), measured on the cases whose decisions changed and on those nearest to the threshold.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, isfinite, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.models.signature import Signature
from primum.study.changes import CALIBRATION_CASES, Plan, Skipped, plan_changes
from primum.study.original import Original
from primum.study.recipe import Recipe
from primum.study.stages import Workshop
from primum.study.substitution import Change, open_graph
from primum.task import Task
from primum.validation.decisions import Rule

MOST_CASES = 64
KEPT_BACK = 5
"""The most harmful layers, for which it is also measured what keeping them as they are would cure."""
_FEWEST_CASES = 8
_BATCH = 16

Raw = NDArray[np.float32]


@dataclass(frozen=True)
class LayerError:
    """What one layer of the candidate does alone. Scores and decisions are those of the explained cases."""

    name: str
    """Path of the module in the network, as far as the export kept it."""
    kind: str
    """ONNX operator, for example Conv."""
    parameters: int
    mean_change: float
    """Mean |Δ score| over the cases (the largest of a case's scores); NaN where an output is not finite."""
    max_change: float
    rms_error: float
    """Root mean square change of the raw outputs (logits)."""
    flips_alone: int
    """Of the decisions that the candidate changes, those that this layer alone changes likewise."""
    other_flips: int
    """Decisions that this layer alone changes and the whole candidate does not."""
    cured: int | None = None
    """Of the flips that all layers together reproduce, those that vanish when this layer stays as in the original;
    None where it was not measured (only the most harmful are)."""


@dataclass(frozen=True)
class LayerReport:
    """The layers of one candidate, the most harmful first. Without layers, `reason` says why there are none."""

    recipe: str
    layers: tuple[LayerError, ...] = ()
    method: str = ""
    reason: str = ""
    cases: int = 0
    """How many cases were run: those with changed decisions first, then those nearest to the threshold."""
    flips: int = 0
    """Decisions among them that the candidate changes."""
    calibration_cases: int = 0
    together: LayerError | None = None
    """All measured layers at once: how far the substitutions account for the candidate."""
    techniques: LayerError | None = None
    """Where techniques changed the layers themselves: the network that they made, in FP32, against the original. The
    layers are then held against that network, and `flips` counts what its precision changes."""
    total_flips: int = 0
    """Decisions among the cases that the candidate changes against the original."""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


def cases_to_explain(
    reference: ArrayLike, candidate: ArrayLike, rule: Rule, most: int = MOST_CASES
) -> NDArray[np.int64]:
    """Positions (at most `most`,) of the cases to explain: those with changed decisions, then the nearest to change.

    At most three quarters are changed decisions, so that some of the others show what a layer does to them.
    Scores (N, ...) as `Rule` takes them; cases without a finite reference come last.
    """
    before, after = rule.decisions(reference), rule.decisions(candidate)
    width = len(before), -1
    flipped = (before != after).reshape(width).any(axis=1)
    margins = np.nan_to_num(rule.margins(reference).reshape(width), nan=np.inf).min(axis=1)
    order = np.argsort(margins, kind="stable")
    changed = order[flipped[order]][: -(-most * 3 // 4)]
    chosen = np.concatenate([changed, order[~flipped[order]][: most - len(changed)]])
    return np.asarray(chosen, dtype=np.int64)


def explain_layers(
    original: Original,
    recipe: Recipe,
    workshop: Workshop,
    rows: NDArray[np.int64],
    candidate: NDArray[np.float64],
    rule: Rule | None,
    seconds: float = 60.0,
) -> LayerReport:
    """Substitute one layer of `recipe` at a time into the original's export and measure what that does to `rows`.

    `rows` are rows of the workshop's inputs, most telling first; `candidate` (n,
    ...) are the candidate's scores at `rows` as `rule` takes them. Without a rule (regression, segmentation) no
    decision is counted. Meant for a child process: it holds the network several times. Fewer cases are run, then fewer
    layers, rather than take much more than `seconds`; the result says so. Raises TrialError where a changed network
    cannot be exported.
    """
    if not len(rows):
        return LayerReport(str(recipe), reason="there is no case to run")
    began = time.monotonic()
    plan, reason = plan_changes(original, recipe, workshop)
    if plan is None:
        return LayerReport(str(recipe), reason=reason)
    array = np.load(workshop.inputs, mmap_mode="r")
    report = _measure(plan, original.signature, array, rows, candidate, rule, began + seconds)
    if plan.original is not None and not report.layers:
        report = replace(report, reason="techniques changed the layers themselves, and nothing else was changed")
    used = (
        min(len(workshop.calibration), CALIBRATION_CASES) if plan.scheme and plan.scheme.activation == "static" else 0
    )
    notes = report.notes
    if plan.scheme is not None and plan.scheme.omits:
        notes += (f"the simulation leaves out {plan.scheme.omits}",)
    method = _method(recipe, plan)
    return replace(report, recipe=str(recipe), method=method, calibration_cases=used, notes=notes)


def _method(recipe: Recipe, plan: Plan) -> str:
    parts = []
    if recipe.techniques and plan.original is None:
        parts.append("the weights that the techniques changed")
    if plan.scheme is not None:
        parts.append(f"{plan.scheme.words} simulated in ONNX Runtime")
    where = "the original network" if plan.original is None else "the network that the techniques made"
    return f"{' and '.join(parts)}, one layer at a time in {where}" if parts else ""


def _measure(
    plan: Plan,
    signature: Signature,
    array: NDArray[np.float32],
    rows: NDArray[np.int64],
    candidate: NDArray[np.float64],
    rule: Rule | None,
    deadline: float,
) -> LayerReport:
    rows, candidate = rows[:MOST_CASES], candidate[: min(len(rows), MOST_CASES)]
    began = time.monotonic()
    base = _run(plan, (), array, rows)
    fitting = _fitting(len(rows), len(plan.changes), time.monotonic() - began, deadline - time.monotonic())
    notes: tuple[str, ...] = ()
    if fitting < len(rows):
        notes = (f"the first {fitting} of {len(rows)} cases were run, to save time",)
        rows, candidate, base = rows[:fitting], candidate[:fitting], base[:fitting]
    judge = _Judge(signature, rule, base, candidate)
    techniques, total = None, judge.flips
    if plan.original is not None:
        first = _Judge(signature, rule, _run(replace(plan, network=plan.original), (), array, rows), candidate)
        techniques, total = first.error("the techniques alone", "", 0, base), first.flips
    errors: list[LayerError] = []
    skipped = list(plan.skipped)
    for layer, changes in plan.changes:
        if errors and time.monotonic() > deadline:
            skipped.append(Skipped(layer.name, "there was no time left to measure it"))
            continue
        raw = _run(plan, changes, array, rows)
        errors.append(judge.error(layer.name, layer.kind, layer.parameters, raw))
    errors.sort(key=lambda e: (-e.mean_change if isfinite(e.mean_change) else -inf, e.name))
    everything = [change for _, changes in plan.changes for change in changes]
    raw = _run(plan, everything, array, rows)
    parameters = sum(layer.parameters for layer, _ in plan.changes)
    together = judge.error("all layers together", "", parameters, raw)
    if together.flips_alone:
        errors[:KEPT_BACK] = [
            replace(e, cured=_cured(e.name, plan, array, rows, judge, raw)) for e in errors[:KEPT_BACK]
        ]
    return LayerReport(
        "",
        tuple(errors),
        cases=len(rows),
        flips=judge.flips,
        together=together,
        techniques=techniques,
        total_flips=total,
        skipped=tuple(skipped),
        notes=notes,
    )


def _cured(
    name: str,
    plan: Plan,
    array: NDArray[np.float32],
    rows: NDArray[np.int64],
    judge: _Judge,
    together: Raw,
) -> int:
    """How many of the flips that all layers together reproduce vanish when layer `name` stays as it is."""
    rest = [change for layer, changes in plan.changes if layer.name != name for change in changes]
    without = judge.reproduced(_run(plan, rest, array, rows))
    return int((judge.reproduced(together) & ~without).sum())


def _fitting(cases: int, layers: int, one_pass: float, left: float) -> int:
    """How many of `cases` can be run in the time left, if each layer takes as long as the first pass did."""
    share = left / max((layers + KEPT_BACK + 1) * one_pass, 1e-9)
    return cases if share >= 1 else min(cases, max(_FEWEST_CASES, int(cases * share)))


def _run(plan: Plan, changes: Iterable[Change], array: NDArray[np.float32], rows: NDArray[np.int64]) -> Raw:
    """Raw outputs (len(rows), outputs) of the original with `changes` made."""
    session = open_graph(plan.network.changed(changes))
    entry, output = session.get_inputs()[0], session.get_outputs()[0].name
    # Ranges taken from the input are taken from one case in service, never from a batch.
    alone = isinstance(entry.shape[0], int) or (plan.scheme is not None and plan.scheme.activation == "dynamic")
    size = 1 if alone else _BATCH
    out = []
    for start in range(0, len(rows), size):
        batch = np.ascontiguousarray(array[rows[start : start + size]], dtype=np.float32)
        out.append(np.asarray(session.run([output], {entry.name: batch})[0]).reshape(len(batch), -1))
    return np.concatenate(out)


class _Judge:
    """Holds a variant's raw outputs against the original's."""

    def __init__(self, signature: Signature, rule: Rule | None, base: Raw, candidate: NDArray[np.float64]) -> None:
        self._signature, self._rule, self._base = signature, rule, base
        self._scores = self._scores_of(base)
        self._before = self._decided(self._scores)
        self._after = self._before if rule is None else rule.decisions(candidate)
        self._flipped = self._before != self._after

    @property
    def flips(self) -> int:
        """Decisions that the candidate changes."""
        return int(self._flipped.sum())

    def reproduced(self, raw: Raw) -> NDArray[np.bool_]:
        """Where a variant changes a decision as the candidate does."""
        return np.asarray(self._flipped & (self._decided(self._scores_of(raw)) == self._after))

    def error(self, name: str, kind: str, parameters: int, raw: Raw) -> LayerError:
        """What a variant with these raw outputs changes."""
        scores = self._scores_of(raw)
        moved = np.abs(scores - self._scores).reshape(len(raw), -1)
        # Of values and masks the mean tells more than the worst of a million pixels.
        by_case = moved.max(axis=1) if self._rule is not None else moved.mean(axis=1)
        finite = bool(np.isfinite(by_case).all())
        gap = np.asarray(raw, np.float64) - self._base
        other = (self._decided(scores) != self._before) & ~self._flipped
        return LayerError(
            name,
            kind,
            parameters,
            float(by_case.mean()) if finite else nan,
            float(by_case.max()) if finite else nan,
            float(np.sqrt(np.square(gap).mean())) if finite else nan,
            int(self.reproduced(raw).sum()),
            int(other.sum()),
        )

    def _scores_of(self, raw: Raw) -> NDArray[np.float64]:
        masks = self._signature.task is Task.SEGMENTATION
        return self._signature.probabilities(raw) if masks else self._signature.scores(raw)

    def _decided(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.zeros(0, np.int64) if self._rule is None else self._rule.decisions(scores)
