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


def views(cases: Cases, reference: Floats, candidate: Floats, rule: Rule) -> tuple[View, ...]:
    """The binary questions of a classification; scores as `Rule` takes them."""
    calls = rule.decisions(reference), rule.decisions(candidate)
    labels = cases.labels
    everyone = np.arange(len(cases))
    if cases.task is Task.BINARY:
        return (View("", everyone, labels, reference, candidate, *calls),)
    found = []
    for k, name in enumerate(cases.classes):
        if cases.task is Task.MULTILABEL:
            rows = np.flatnonzero(labels[:, k] >= 0)
            truth = labels[rows, k]
            scores = reference[rows, k], candidate[rows, k]
            said = calls[0][rows, k], calls[1][rows, k]
        elif cases.task is Task.MULTICLASS:
            rows, truth = everyone, (labels == k).astype(np.int64)
            scores = reference[:, k], candidate[:, k]
            said = _calls(calls[0], calls[0] == k), _calls(calls[1], calls[1] == k)
        elif k:
            rows, truth = everyone, (labels >= k).astype(np.int64)
            scores = reference[:, k:].sum(axis=1), candidate[:, k:].sum(axis=1)
            said = _calls(calls[0], calls[0] >= k), _calls(calls[1], calls[1] >= k)
            name = f">= {name}"
        else:
            continue  # every grade is at least the lowest: no question
        found.append(View(name, rows.astype(np.int64), truth, *scores, *said))
    return tuple(found)


def _calls(decisions: Ints, yes: NDArray[np.bool_]) -> Ints:
    return np.where(decisions == NO_DECISION, NO_DECISION, yes).astype(np.int64)
