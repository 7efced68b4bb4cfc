"""Action concordance: for how many patients would nothing that is done change, whoever is right?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy
from primum.task import Task
from primum.validation.arrays import Bools, Floats, Ints
from primum.validation.cases import Cases
from primum.validation.decisions import NO_DECISION, Rule
from primum.validation.flips import Kappa, cohens_kappa
from primum.validation.intervals import Interval
from primum.validation.shares import share_interval

NO_ACTION_MAP = "no action map was given: each side of the decision threshold stands for an action"


@dataclass(frozen=True, slots=True)
class Moves:
    """How many decisions moved to a more (up) or less (down) intensive action, among those of one true class."""

    among: str
    n: int
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class Concordance:
    """The clinical actions that both models lead to, case by case."""

    actions: tuple[str, ...]
    """From the mildest; empty for REGRESSION."""
    mapped: bool
    """False: the policy holds no action map, and `note` says what stands in for it."""
    unchanged: Interval
    """Share of cases with the same action (MULTILABEL: for every label), Wilson by patient. No answer is a change."""
    n: int
    n_patients: int
    changed: int
    """Cases whose action changed."""
    patients_changed: int
    """Patients with such a case."""
    kappa: Kappa | None
    """Quadratic weights where actions are ordered, else none; over the decisions of `table`."""
    weights: str
    table: tuple[tuple[int, ...], ...]
    """Decisions, actions of the reference in rows and of the candidate in columns (MULTILABEL: over all labels)."""
    moves: tuple[Moves, ...]
    not_finite: int
    """Cases without an answer of the candidate; they are not in `table`."""
    note: str = ""


def concordance(
    cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy, rule: Rule | None
) -> Concordance | None:
    """Compare the actions of both; scores as the gate takes them. None where the task leads to no action that the
    policy describes (SEGMENTATION; REGRESSION without a tolerance)."""
    if rule is None:
        return _within_tolerance(cases, reference, candidate, policy) if cases.task is Task.REGRESSION else None
    mapped = bool(policy.actions) and cases.task is Task.BINARY
    if mapped:
        names = tuple(action.name for action in policy.actions)
        first, second = (_mapped(scores, policy) for scores in (reference, candidate))
    else:
        first, second = rule.decisions(reference), rule.decisions(candidate)
        two_sided = cases.task is Task.MULTILABEL
        names = ("absent", "present") if two_sided else cases.classes
    same: Bools = np.asarray(first == second)
    unchanged = _every(same)
    ordered = cases.task is not Task.MULTICLASS
    answered: Bools = (first != NO_DECISION) & (second != NO_DECISION)
    table = _count(first[answered], second[answered], len(names))
    # Two actions have one gap, so that weights would change nothing.
    weights = "quadratic" if ordered and len(names) > 2 else "none"
    return Concordance(
        actions=names,
        mapped=mapped,
        **_shares(cases, unchanged, policy.confidence),
        kappa=cohens_kappa(table, "quadratic" if weights == "quadratic" else "none", policy.confidence)
        if table.sum()
        else None,
        weights=weights,
        table=tuple(tuple(int(v) for v in row) for row in table),
        moves=_moves(cases, first, second, answered) if ordered else (),
        not_finite=int((~_every(answered)).sum()),
        note=_note(cases.task, policy),
    )


def _mapped(scores: Floats, policy: ClinicalPolicy) -> Ints:
    """The action (N,) of each score: the last that starts at or below it."""
    starts = [action.at for action in policy.actions]
    finite = np.isfinite(scores)
    place = np.searchsorted(starts, np.where(finite, scores, 0.0), side="right") - 1
    return np.where(finite, np.maximum(place, 0), NO_DECISION).astype(np.int64)


def _within_tolerance(cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy) -> Concordance | None:
    tolerances = np.asarray(policy.tolerances_of(cases.classes))
    if np.isnan(tolerances).all():
        return None
    finite = _every(np.isfinite(candidate))
    gap = np.abs(np.where(finite[:, None], candidate, 0.0) - reference)
    within: Bools = finite & _every(np.asarray(~(gap > tolerances)))
    return Concordance(
        actions=(),
        mapped=False,
        **_shares(cases, within, policy.confidence),
        kappa=None,
        weights="none",
        table=(),
        moves=(),
        not_finite=int((~finite).sum()),
        note=f"unchanged: candidate and original differ by at most the {policy.say_tolerances(cases.classes)}",
    )


def _every(flags: Bools) -> Bools:
    """(N,) whether all flags of a case hold."""
    return np.asarray(flags.reshape(len(flags), -1).all(axis=1))


def _shares(cases: Cases, unchanged: Bools, confidence: float) -> dict[str, Any]:
    return {
        "unchanged": share_interval(unchanged, cases.units, confidence),
        "n": len(cases),
        "n_patients": int(np.unique(cases.units).size),
        "changed": int((~unchanged).sum()),
        "patients_changed": int(np.unique(cases.units[~unchanged]).size),
    }


def _count(first: Ints, second: Ints, levels: int) -> NDArray[np.int64]:
    return np.bincount(levels * first + second, minlength=levels * levels).reshape(levels, levels)


def _moves(cases: Cases, first: Ints, second: Ints, answered: Bools) -> tuple[Moves, ...]:
    """Up and down by true class; of labels whose truth is known."""
    names = ("absent", "present") if cases.task is Task.MULTILABEL else cases.classes
    up, down = answered & (second > first), answered & (second < first)
    return tuple(
        Moves(name, int(among.sum()), int((up & among).sum()), int((down & among).sum()))
        for k, name in enumerate(names)
        for among in [cases.labels == k]
    )


def _note(task: Task, policy: ClinicalPolicy) -> str:
    if task in (Task.MULTICLASS, Task.ORDINAL):
        said = "no action map was given: the class that is called stands for the action"
    elif not policy.actions:
        return NO_ACTION_MAP
    else:
        said = NO_ACTION_MAP if task is Task.MULTILABEL else ""
    if policy.actions and task is not Task.BINARY:
        said += "; the policy's actions are of one P(positive), so they are not used here"
    return said
