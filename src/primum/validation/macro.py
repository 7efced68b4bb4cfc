"""Macro-AUROC: the mean over views of both models' AUROC, with a bootstrap of patients for its difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike

from primum.validation.arrays import Floats, Ints, as_codes
from primum.validation.auroc import worst_ranked
from primum.validation.metrics import auroc
from primum.validation.views import View

_WORK = 2e7
"""Cases x views x resamples that one judgement may cost; fewer resamples of very many cases."""
_FEWEST, _MOST = 200, 1000
_CELLS = 4e6
"""Weights held at once."""


@dataclass(frozen=True, slots=True)
class MacroAuroc:
    """Macro-AUROC of both models; difference candidate - reference with a percentile interval."""

    reference: float
    candidate: float
    difference: float
    lower: float
    upper: float
    n_views: int
    """Views with both answers: the others have no AUROC."""
    resamples: int
    """Those that held both answers of every such view."""


def macro_auroc(views: Sequence[View], units: ArrayLike, confidence: float = 0.95, seed: int = 0) -> MacroAuroc:
    """Both macro-AUROCs over the views of the same N cases; `units` (N,) are the patients.

    Patients are drawn with replacement (Efron's percentile interval, seeded): 1000 times, fewer (200 at least) where
    cases and views are many. A candidate score that is not finite ranks worst for its class. Bounds are NaN with fewer
    than two patients.
    """
    n = np.asarray(units).size
    codes, patients = as_codes(units, n)
    judged = [view for view in views if view.labels.size and view.labels.min() < view.labels.max()]
    if not judged:
        return MacroAuroc(nan, nan, nan, nan, nan, 0, 0)
    ranked = [worst_ranked(view.labels, view.candidate) for view in judged]
    before = float(np.mean([auroc(view.labels, view.reference) for view in judged]))
    after = float(np.mean([auroc(view.labels, scores) for view, scores in zip(judged, ranked)]))
    if patients < 2:
        return MacroAuroc(before, after, after - before, nan, nan, len(judged), 0)
    ladders = [
        [_Ladder.of(view.labels, codes[view.rows], s) for s in (view.reference, scores)]
        for view, scores in zip(judged, ranked)
    ]
    draws = int(np.clip(_WORK / (n * len(judged)), _FEWEST, _MOST))
    gaps = [
        np.mean([new.auroc(weights) - ref.auroc(weights) for ref, new in ladders], axis=0)
        for weights in _draw(patients, draws, n, seed)
    ]
    found = np.concatenate(gaps)
    found = found[np.isfinite(found)]
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(found, [tail, 1 - tail]) if found.size else (nan, nan)
    return MacroAuroc(before, after, after - before, float(lower), float(upper), len(judged), int(found.size))


def _draw(patients: int, draws: int, n: int, seed: int) -> Iterator[Floats]:
    """How often each patient is drawn, (G, b) at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, int(_CELLS / n))
    for start in range(0, draws, step):
        picked = rng.integers(0, patients, (min(step, draws - start), patients))
        counts = np.stack([np.bincount(row, minlength=patients) for row in picked], axis=1)
        yield np.ascontiguousarray(counts, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Ladder:
    """One view's scores, sorted once for all resamples."""

    negatives: Ints
    """(n,) patients of the negatives, by rising score."""
    positives: Ints
    """(m,) patients of the positives."""
    below: Ints
    """(m,) how many negatives lie below each positive."""
    not_above: Ints

    @classmethod
    def of(cls, labels: Ints, codes: Ints, scores: Floats) -> _Ladder:
        lower, upper = scores[labels == 0], scores[labels == 1]
        order = np.argsort(lower, kind="stable")
        below, not_above = (np.searchsorted(lower[order], upper, side) for side in ("left", "right"))
        return cls(codes[labels == 0][order], codes[labels == 1], below.astype(np.int64), not_above.astype(np.int64))

    def auroc(self, weights: Floats) -> Floats:
        """(b,) AUROC with each case counted as often as its patient is drawn, ties half; NaN where a class is gone."""
        reached = np.zeros((self.negatives.size + 1, weights.shape[1]))
        np.cumsum(weights[self.negatives], axis=0, out=reached[1:])
        hits = weights[self.positives]
        under = reached[self.below] + reached[self.not_above]
        pairs = hits.sum(axis=0) * reached[-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(pairs > 0, np.einsum("ij,ij->j", hits, under) / 2 / pairs, np.nan))
