"""Everything that is judged of two models on the same cases, task by task; the gate makes one verdict of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isnan, nan

import numpy as np
from numpy.typing import ArrayLike

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.task import Task
from primum.validation import classification, regression, segmentation
from primum.validation.arrays import Floats, as_scores, refuse_masked
from primum.validation.cases import Cases
from primum.validation.classification import POOLED, Answers
from primum.validation.decisions import Rule
from primum.validation.flips import (
    agreement,
    answers_agreement,
    answers_flips,
    list_flips,
    moved_agreement,
    moved_flips,
)
from primum.validation.outcomes import named, not_assessed
from primum.validation.subgroups import judge_subgroups
from primum.validation.verdict import Agreement, Component, Flip, SubgroupVerdict

_OVERSHOOT = 1e-6
"""How far rounding may carry a probability past 0 or 1."""
_SUM = 0.01
"""How far the probabilities of one case may add up to other than 1: 16-bit outputs do, other scores do not."""
_VALUES = (Task.REGRESSION, Task.SEGMENTATION)


@dataclass(frozen=True, slots=True)
class Judged:
    """The parts of a verdict."""

    components: tuple[Component, ...]
    subgroups: tuple[SubgroupVerdict, ...]
    agreement: Agreement
    flips: tuple[Flip, ...]
    distance: float = nan
    """Largest |difference| of an output: of probabilities as it is; of values and Dice in standard deviations of the
    reference's, infinite where these do not vary and something changed."""
    beside: dict[str, float] = field(default_factory=dict)


def judge_task(cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy, rule: Rule | None) -> Judged:
    """All components, subgroups, flips and figures of checked scores, of which the reference's are finite."""
    if cases.task is Task.REGRESSION:
        return _judge_regression(cases, reference, candidate, policy)
    if cases.task is Task.SEGMENTATION:
        return _judge_segmentation(cases, reference, candidate, policy)
    assert rule is not None  # every other task decides
    return _judge_classification(cases, reference, candidate, policy, rule)


def unjudged(cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy, reason: str) -> Judged:
    """Every endpoint of all cases together NOT_ASSESSED for `reason`; for BINARY the flips that can be seen."""
    components = tuple(not_assessed(name, policy, reason, n=len(cases)) for name in _endpoints(cases, reference))
    if cases.task is Task.BINARY and len(cases):
        return Judged(components, (), *_binary_accounts(cases, reference, candidate, policy))
    broken = int((~np.isfinite(candidate)).sum())
    return Judged(components, (), Agreement(nan, nan, 0, 0, 0, nan, nan, broken), ())


def checked_scores(cases: Cases, scores: ArrayLike, name: str) -> Floats:
    """`scores` as float64 in the shape of the task: BINARY (N,), else (N, K), (N, L), (N, D) or (N, C).

    InputError on another shape; on finite probabilities or Dice outside [0, 1]; on class probabilities (MULTICLASS,
    ORDINAL) that do not add up to 1.
    """
    n, task = len(cases), cases.task
    if task is Task.BINARY:
        array = as_scores(scores, n, f"{name} scores", finite=False)
    else:
        array = _two_dimensions(cases, scores, name)
    if task is Task.REGRESSION:
        return array
    known = array[np.isfinite(array)]
    outside = int(((known < -_OVERSHOOT) | (known > 1 + _OVERSHOOT)).sum())
    if outside:
        what = "Dice" if task is Task.SEGMENTATION else "probabilities"
        raise InputError(f"{name} scores must be {what} in [0, 1]; {outside} are not")
    if task in (Task.MULTICLASS, Task.ORDINAL):
        sums = array.sum(axis=1)
        off = int((np.abs(sums[np.isfinite(sums)] - 1) > _SUM).sum())
        if off:
            raise InputError(f"{name} scores must be probabilities that add up to 1 in each case; in {off} they do not")
    return array


def _two_dimensions(cases: Cases, scores: ArrayLike, name: str) -> Floats:
    refuse_masked(scores, f"{name} scores")
    array = np.asarray(scores, dtype=np.float64)
    n, width = len(cases), len(cases.classes)
    if cases.task is Task.REGRESSION and width == 1 and array.shape == (n,):
        array = array.reshape(n, 1)
    if n == 0:
        return np.zeros((0, width))
    if array.ndim != 2 or len(array) != n:
        raise InputError(f"{name} scores must have shape ({n}, {width}), got {array.shape}")
    if cases.task is Task.SEGMENTATION:
        segmentation.structures_of(cases, array.shape[1])
    elif array.shape[1] != width:
        raise InputError(f"{name} scores must have shape ({n}, {width}), got {array.shape}")
    return array


def _endpoints(cases: Cases, reference: Floats) -> Sequence[str]:
    if cases.task not in _VALUES:
        return POOLED[cases.task]
    if cases.task is Task.SEGMENTATION:
        return [named("dice", name) for name in segmentation.structures_of(cases, reference.shape[1])]
    outputs = cases.classes if len(cases.classes) > 1 else ("",)
    return [named(kind, name) for kind in ("error", "agreement") for name in outputs]


def _judge_classification(
    cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy, rule: Rule
) -> Judged:
    answers = Answers.of(cases, reference, candidate, rule)
    if cases.task is Task.BINARY:
        found, flips = _binary_accounts(cases, reference, candidate, policy)
    else:
        found, flips = answers_agreement(answers), answers_flips(answers)
    return Judged(
        classification.judge_answers(answers, policy),
        judge_subgroups(cases, lambda member: classification.judge_level(answers, member, policy), policy),
        found,
        flips,
        found.max_abs_difference,
        classification.figures_beside(answers, policy),
    )


def _binary_accounts(
    cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy
) -> tuple[Agreement, tuple[Flip, ...]]:
    flips = list_flips(cases.labels, reference, candidate, policy.threshold, cases.case_ids, cases.groups)
    return agreement(cases.labels, reference, candidate, policy.threshold), flips


def _judge_regression(cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy) -> Judged:
    values = regression.Values.of(cases, reference, candidate)
    tolerances = policy.tolerances_of(cases.classes)
    harmful, beneficial = regression.moved(values, tolerances)
    names = values.outputs
    return Judged(
        regression.judge_values(values, policy),
        judge_subgroups(cases, lambda member: regression.judge_level(values, member, policy), policy),
        moved_agreement(reference, candidate, harmful, beneficial, not all(map(isnan, tolerances))),
        moved_flips(cases, names, cases.labels, (reference, candidate), harmful, beneficial),
        _relative_distance(reference, candidate),
    )


def _judge_segmentation(cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy) -> Judged:
    names = segmentation.structures_of(cases, reference.shape[1])
    kept = np.where(np.isfinite(candidate), candidate, 0.0)
    harmful = reference - kept > segmentation.DICE_LOSS
    none = np.zeros_like(harmful)
    return Judged(
        segmentation.judge_dice(cases, names, reference, kept, policy),
        judge_subgroups(
            cases,
            lambda member: segmentation.judge_level(cases, names, reference, kept, member, policy),
            policy,
        ),
        moved_agreement(reference, candidate, harmful, none, True),
        moved_flips(cases, names, np.full(harmful.shape, nan), (reference, candidate), harmful, none),
        _relative_distance(reference, candidate),
    )


def _relative_distance(reference: Floats, candidate: Floats) -> float:
    """The largest |difference| over the standard deviation of the reference's output, over all outputs."""
    gaps = np.abs(candidate - reference).max(axis=0)
    spread = reference.std(axis=0)
    ratios = [0.0 if gap == 0 else float(gap / wide) if wide > 0 else inf for gap, wide in zip(gaps, spread)]
    return max(ratios)
