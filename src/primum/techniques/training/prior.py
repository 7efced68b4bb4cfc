"""The weights of classes that a network was calibrated to, read off its own answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.models.signature import Signature
from primum.task import Task

_CLASSES = (Task.BINARY, Task.MULTICLASS, Task.ORDINAL)


def class_weights(signature: Signature, raw: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.float64] | None:
    """Weights of the labels under which answers `raw` are calibrated in the large; None where the task has no classes.

    A network that was trained with weighted classes answers as if they were that common; unweighted labels would pull
    a student to other odds. With weights w, mean answers meet the labels where, for each class c, the sum over cases
    of w[label] (p[c] - 1{label = c}) is 0, which is where the gradient of weighted cross-entropy by the last bias
    vanishes. w[c] n[c] is then the stationary distribution of the confusion matrix of the answers. One confusion more,
    shared out by chance, leans the weights to 1 where the answers hardly err.

    (K,) of the classes; MULTILABEL: (L, 2) of absent and present; each such that the labels weigh 1 on average.
    """
    if signature.task in _CLASSES:
        return _weights(signature.probabilities(raw), labels.astype(np.int64))
    if signature.task is Task.MULTILABEL:
        present = signature.probabilities(raw)
        return np.stack([_of_finding(p, y) for p, y in zip(present.T, labels.T)])
    return None


def _of_finding(present: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
    known = labels >= 0
    return _weights(np.stack([1 - present[known], present[known]], axis=1), labels[known].astype(np.int64))


def _weights(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    weights, there = np.ones(classes), counts > 0
    if there.sum() < 2:
        return weights
    confused = np.zeros((classes, classes))
    np.add.at(confused, labels, probabilities)
    shares = counts / counts.sum()
    confused = (confused + np.outer(shares, shares))[np.ix_(there, there)]
    # Sum over c' of w[c'] confused[c', c] = w[c] (row c's sum); one equation follows from the others.
    system = confused.T - np.diag(confused.sum(axis=1))
    system[-1] = counts[there]
    weights[there] = np.linalg.solve(system, [*np.zeros(len(system) - 1), counts.sum()])
    return weights
