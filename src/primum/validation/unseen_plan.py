"""What margins take even if nothing changes, for a loss that no case shows (`UnseenLoss`), said before any trial."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.clustered import effective_clusters
from primum.validation.outcomes import named, smallest_passing
from primum.validation.sufficiency import NO_RANKING
from primum.validation.unseen import margin_without_loss
from primum.validation.views import questions

_TOLD = 5
"""Classes that are named in one line."""


def say_unseen(policy: ClinicalPolicy, cases: Cases | None) -> tuple[str, ...]:
    """What the margins of means and rankings take in patients, and what those at hand support.

    AUROC and Brier score of a classification, and of no cases; Dice of masks, at most 1; the error of values, at most
    the range of the labels (or more, where the original's outputs range further).
    """
    if cases is not None and not len(cases):
        return ()
    if cases is not None and cases.task is Task.SEGMENTATION:
        return (_mean("dice", 1.0, policy, cases),)
    if cases is not None and cases.task is Task.REGRESSION:
        reach = np.ptp(cases.labels, axis=0) if cases.labels.size else np.zeros(0)
        return tuple(
            _mean(named("error", name), float(size), policy, cases) for name, size in zip(cases.classes, reach)
        )
    ranking = _ranking(policy, cases) if cases is None or cases.task is Task.BINARY else _rankings(policy, cases)
    return (*ranking, _mean("brier", 1.0, policy, cases))


def _mean(name: str, worst: float, policy: ClinicalPolicy, cases: Cases | None) -> str:
    """One endpoint that is a mean over all patients, of whom one may lose `worst`."""
    margin = policy.margins.value(name)
    text = f"{name}: {_takes(margin, worst, policy, 'in all')}"
    if cases is None:
        return text
    held = _worth(cases.units)
    return (
        f"{text}; these are worth {held:.0f}, which support {worst * margin_without_loss(held, policy.confidence):.3g}"
    )


def _takes(margin: float, worst: float, policy: ClinicalPolicy, whom: str) -> str:
    if isnan(margin):
        return "no margin was given, and none is there by default"
    needed = smallest_passing(lambda n: worst * margin_without_loss(n, policy.confidence) < margin, 2)
    return f"a margin of {margin:.3g} takes about {needed} patients {whom} even if nothing changes"


def _ranking(policy: ClinicalPolicy, cases: Cases | None) -> tuple[str]:
    text = f"auroc: {_takes(policy.margins.value('auroc'), 1.0, policy, 'of the rarer class')}"
    if cases is None:
        return (text,)
    held = _rarer(cases.labels, cases.units)
    return (f"{text}; these are worth {held:.0f}, which support {margin_without_loss(held, policy.confidence):.3f}",)


def _rankings(policy: ClinicalPolicy, cases: Cases) -> tuple[str, ...]:
    """Of several classes one at least has to show its AUROC, of those that the original ranks."""
    margin = policy.margins.value("auroc")
    held = {q.name: _rarer(q.labels, cases.units[q.rows]) for q in questions(cases)}
    best = sorted(held, key=lambda name: -held[name])[:_TOLD]
    told = ", ".join(
        f"{name} {held[name]:.0f} ({margin_without_loss(held[name], policy.confidence):.3f})" for name in best
    )
    more = f", and {len(held) - _TOLD} with fewer" if len(held) > _TOLD else ""
    needs = _takes(margin, 1.0, policy, "of the rarer side of a class")
    text = f"auroc: {needs}, in one class at least; these are worth (and support): {told}{more}"
    enough = [name for name in held if margin_without_loss(held[name], policy.confidence) < margin]
    if enough or isnan(margin):
        return (text,)
    return (text, f"auroc: with these patients the verdict of a lossy candidate can only be INCONCLUSIVE: {NO_RANKING}")


def _rarer(labels: NDArray[Any], units: NDArray[Any]) -> float:
    """What the patients of the class that fewer have are worth."""
    return min(_worth(units[labels == value]) for value in (0, 1))


def _worth(units: NDArray[Any]) -> float:
    return effective_clusters(np.unique(units, return_counts=True)[1]) if units.size else 0.0
