"""Metrics of one binary classifier. What is undefined (recall without positives) is NaN, never a made-up
0."""

from __future__ import annotations

from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from primum.errors import InputError
from primum.validation.arrays import Floats, as_labels, as_scores, midranks, same_length


class Confusion(NamedTuple):
    """Counts of the four outcomes, in the order that scikit-learn ravels them."""

    tn: int
    fp: int
    fn: int
    tp: int


def confusion_matrix(true_labels: ArrayLike, pred_labels: ArrayLike) -> Confusion:
    """The four counts of 0/1 labels (N,) and decisions (N,).

    InputError on lengths that differ, empty input, or labels other than 0 and 1 (all functions here).
    """
    truth, decided = as_labels(true_labels, "true labels"), as_labels(pred_labels, "predicted labels")
    same_length(decided, truth.size, "predicted labels")
    counts = np.bincount(2 * truth + decided, minlength=4)
    return Confusion(*(int(count) for count in counts))


def accuracy(true_labels: ArrayLike, pred_labels: ArrayLike) -> float:
    """Share of decisions that are right."""
    table = confusion_matrix(true_labels, pred_labels)
    return (table.tp + table.tn) / sum(table)


def precision(true_labels: ArrayLike, pred_labels: ArrayLike) -> float:
    """Share of positive decisions that are right; NaN where nothing was called positive."""
    table = confusion_matrix(true_labels, pred_labels)
    return _share(table.tp, table.tp + table.fp)


def sensitivity(true_labels: ArrayLike, pred_labels: ArrayLike) -> float:
    """Share of positives that were found; NaN without positives."""
    table = confusion_matrix(true_labels, pred_labels)
    return _share(table.tp, table.tp + table.fn)


recall = sensitivity


def specificity(true_labels: ArrayLike, pred_labels: ArrayLike) -> float:
    """Share of negatives that were cleared; NaN without negatives."""
    table = confusion_matrix(true_labels, pred_labels)
    return _share(table.tn, table.tn + table.fp)


def f1_score(true_labels: ArrayLike, pred_labels: ArrayLike) -> float:
    """Harmonic mean of precision and recall; NaN where there is no positive, true or called."""
    table = confusion_matrix(true_labels, pred_labels)
    return _share(2 * table.tp, 2 * table.tp + table.fp + table.fn)


def auroc(true_labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve by midranks, ties counting half; NaN where only one class is present."""
    labels = as_labels(true_labels, "true labels")
    ranks = midranks(as_scores(scores, labels.size))
    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        return nan
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def brier(true_labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared error of P(positive)."""
    labels = as_labels(true_labels, "true labels")
    return float(np.mean((as_scores(probabilities, labels.size, "probabilities") - labels) ** 2))


def roc_curve(y: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """(fpr, tpr, thresholds) at every distinct score, descending, starting at (0, 0) with threshold infinity.

    A rate whose class is absent is NaN throughout.
    """
    labels = as_labels(y, "true labels")
    values = as_scores(scores, labels.size)
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], labels[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)
    true_positives = np.concatenate([[0], np.cumsum(hits)[last]])
    false_positives = np.concatenate([[0], last + 1]) - true_positives
    thresholds = np.concatenate([[np.inf], ranked[last]])
    return _rate(false_positives), _rate(true_positives), thresholds


def calculate_classification_metrics(
    true_labels: ArrayLike, pred_labels: ArrayLike, pred_probs: ArrayLike | None = None
) -> dict[str, float]:
    """All metrics of 0/1 labels and decisions (N,) as one dictionary.

    `pred_probs` is P(positive) (N,), or both columns (N, 2); `auroc` is there only with probabilities and
    both classes. The four counts are whole numbers. Undefined shares are NaN. InputError as
    `confusion_matrix`.
    """
    table = confusion_matrix(true_labels, pred_labels)
    found = sensitivity(true_labels, pred_labels)
    metrics: dict[str, float] = {
        "accuracy": accuracy(true_labels, pred_labels),
        "precision": precision(true_labels, pred_labels),
        "recall": found,
        "f1": f1_score(true_labels, pred_labels),
        "specificity": specificity(true_labels, pred_labels),
        "sensitivity": found,
        "true_negatives": table.tn,
        "false_positives": table.fp,
        "false_negatives": table.fn,
        "true_positives": table.tp,
    }
    if pred_probs is not None:
        area = auroc(true_labels, _positive_column(pred_probs))
        if not np.isnan(area):
            metrics["auroc"] = area
    return metrics


def _positive_column(probabilities: ArrayLike) -> Floats:
    array = np.asarray(probabilities, dtype=np.float64)
    if array.ndim == 2:
        if array.shape[1] != 2:
            raise InputError(f"probabilities must be (N,) or (N, 2) for two classes, got shape {array.shape}")
        return array[:, 1]
    return array


def _share(part: int, whole: int) -> float:
    return part / whole if whole else nan


def _rate(cumulative: np.ndarray) -> Floats:
    total = cumulative[-1]
    return np.asarray(cumulative / total if total else np.full(cumulative.size, nan), dtype=np.float64)
