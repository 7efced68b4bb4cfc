"""Net benefit: what finding the sick is worth less what false alarms cost, at a threshold that states that trade."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy
from primum.task import Task
from primum.validation.arrays import Floats, Ints
from primum.validation.cases import Cases
from primum.validation.intervals import MeanDifference
from primum.validation.means import paired_mean_interval
from primum.validation.views import View

GRID = tuple(round(step / 100, 2) for step in range(1, 100))
"""Thresholds of a decision curve."""


@dataclass(frozen=True, slots=True)
class NetBenefit:
    """Both models at one threshold t: TP/n - FP/n t/(1 - t) (Vickers and Elkin 2006), in true positives a case."""

    name: str
    """The action that starts at t, or the view ("" for BINARY)."""
    threshold: float
    reference: float
    candidate: float
    difference: MeanDifference
    """candidate - reference, t interval by patient; degenerate where no decision differs."""
    treat_all: float
    """Of treating everybody; treating nobody has 0."""
    n: int


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit of both models and of treating everybody over thresholds 0.01 to 0.99."""

    name: str
    thresholds: tuple[float, ...]
    reference: tuple[float, ...]
    candidate: tuple[float, ...]
    treat_all: tuple[float, ...]


def net_benefits(cases: Cases, seen: tuple[View, ...], policy: ClinicalPolicy) -> tuple[NetBenefit, ...]:
    """At each threshold of the action map, else at the decision thresholds; none for tasks without a threshold."""
    if cases.task not in (Task.BINARY, Task.MULTILABEL):
        return ()
    found = []
    for view in seen:
        points = [(view.name, policy.thresholds.get(view.name, policy.threshold))]
        if policy.actions and cases.task is Task.BINARY:
            points = [(action.name, action.at) for action in policy.actions if action.at > 0]
        if view.labels.size:
            units = cases.units[view.rows]
            found += [net_benefit(name, view, units, at, policy.confidence) for name, at in points]
    return tuple(found)


def net_benefit(name: str, view: View, units: NDArray[Any], threshold: float, confidence: float = 0.95) -> NetBenefit:
    """Both models at `threshold`; `units` (n,) are the patients of the view's cases.

    A score that is not finite is the wrong call: a missed positive, a false alarm.
    """
    first, second = (case_benefits(view.labels, s, threshold) for s in (view.reference, view.candidate))
    prevalence = float(view.labels.mean())
    return NetBenefit(
        name=name,
        threshold=threshold,
        reference=float(first.mean()),
        candidate=float(second.mean()),
        difference=paired_mean_interval(second - first, confidence, units),
        treat_all=prevalence - (1 - prevalence) * threshold / (1 - threshold),
        n=int(view.labels.size),
    )


def case_benefits(labels: Ints, scores: Floats, threshold: float) -> Floats:
    """(n,) 1 for a positive found, -t/(1 - t) for a false alarm, else 0; their mean is the net benefit."""
    finite = np.isfinite(scores)
    called = np.where(finite, np.where(finite, scores, 0.0) >= threshold, labels == 0)
    cost = threshold / (1 - threshold)
    return np.where(called, np.where(labels == 1, 1.0, -cost), 0.0)


def decision_curve(view: View, thresholds: tuple[float, ...] = GRID) -> DecisionCurve:
    """Both models of one binary question over the thresholds."""
    prevalence = float(view.labels.mean())
    lines = [
        tuple(float(case_benefits(view.labels, scores, t).mean()) for t in thresholds)
        for scores in (view.reference, view.candidate)
    ]
    everybody = tuple(prevalence - (1 - prevalence) * t / (1 - t) for t in thresholds)
    return DecisionCurve(view.name, thresholds, lines[0], lines[1], everybody)
