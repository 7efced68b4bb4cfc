"""Every classification as a set of binary questions, so that one gate judges them all.

BINARY asks one; MULTICLASS one a class (this class or any other); ORDINAL one a cut (at least this grade);
MULTILABEL one a label, on the cases where that label is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from primum.task import Task
from primum.validation.arrays import Bools, Floats, Ints
from primum.validation.cases import Cases
from primum.validation.decisions import NO_DECISION, Rule


@dataclass(frozen=True, eq=False)
class View:
    """One binary question: truth, scores and calls of both models on the n cases that have an answer."""

    name: str
    """"" for BINARY, else the class, the cut (">= grade 2") or the label."""
    rows: Ints
    """(n,) positions in the judged cases."""
    labels: Ints
    """(n,) 0 or 1."""
    reference: Floats
    """(n,) score for "yes"."""
    candidate: Floats
    reference_calls: Ints
    """(n,) 0 or 1; -1 where the score is not finite."""
    candidate_calls: Ints

    @property
    def reference_right(self) -> Bools:
        """(n,) whether the reference answers as the label says."""
        return np.asarray(self.reference_calls == self.labels)

    @property
    def candidate_right(self) -> Bools:
        """(n,) whether the candidate answers as the label says."""
        return np.asarray(self.candidate_calls == self.labels)


@dataclass(frozen=True, eq=False)
class Question:
    """One binary question and its truth, before any model is asked."""

    name: str
    rows: Ints
    labels: Ints
    column: int
    """Class, grade or label that it is about."""


def questions(cases: Cases) -> tuple[Question, ...]:
    """The binary questions of a classification; none for regression and segmentation."""
    labels, everyone = cases.labels, np.arange(len(cases))
    if cases.task is Task.BINARY:
        return (Question("", everyone, labels, 0),)
    found = []
    for k, name in enumerate(cases.classes):
        if cases.task is Task.MULTICLASS:
            found.append(Question(name, everyone, (labels == k).astype(np.int64), k))
        elif cases.task is Task.ORDINAL and k:  # every grade is at least the lowest: no question
            found.append(Question(f">= {name}", everyone, (labels >= k).astype(np.int64), k))
        elif cases.task is Task.MULTILABEL:
            rows = np.flatnonzero(labels[:, k] >= 0)
            found.append(Question(name, rows, labels[rows, k], k))
    return tuple(found)


def views(cases: Cases, reference: Floats, candidate: Floats, rule: Rule) -> tuple[View, ...]:
    """The binary questions of a classification, answered; scores as `Rule` takes them."""
    answers = tuple((scores, rule.decisions(scores)) for scores in (reference, candidate))
    found = []
    for asked in questions(cases):
        (old, old_calls), (new, new_calls) = (_answer(asked, cases.task, *pair) for pair in answers)
        found.append(View(asked.name, asked.rows, asked.labels, old, new, old_calls, new_calls))
    return tuple(found)


def _answer(asked: Question, task: Task, scores: Floats, calls: Ints) -> tuple[Floats, Ints]:
    """Score and call for "yes" on the question's rows."""
    k, rows = asked.column, asked.rows
    if task is Task.BINARY:
        return scores, calls
    if task is Task.MULTILABEL:
        return scores[rows, k], calls[rows, k]
    if task is Task.MULTICLASS:
        return scores[:, k], _yes(calls, calls == k)
    return scores[:, k:].sum(axis=1), _yes(calls, calls >= k)


def _yes(decisions: Ints, yes: NDArray[np.bool_]) -> Ints:
    return np.where(decisions == NO_DECISION, NO_DECISION, yes).astype(np.int64)
