import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from primum.validation import macro
from primum.validation.macro import macro_auroc
from primum.validation.views import View


def view(labels, ref, new, rows=None):
    calls = (np.asarray(ref) >= 0.5).astype(int)
    rows = np.arange(len(labels)) if rows is None else rows
    return View("v", rows, np.asarray(labels), np.asarray(ref, float), np.asarray(new, float), calls, calls)


def three(n=200, seed=0):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, n)
    made = []
    for k in range(3):
        ref = (0.4 * (classes == k) + rng.random(n)).round(1) / 2
        made.append(view((classes == k).astype(int), ref, (ref + rng.normal(0, 0.05, n)).round(1)))
    return made


def test_is_the_mean_of_the_areas():
    views = three()
    got = macro_auroc(views, np.arange(200))
    assert got.reference == pytest.approx(np.mean([roc_auc_score(v.labels, v.reference) for v in views]))
    assert got.candidate == pytest.approx(np.mean([roc_auc_score(v.labels, v.candidate) for v in views]))
    assert got.lower < got.difference < got.upper
    assert (got.n_views, got.resamples) == (3, 1000)
    assert macro_auroc(views, np.arange(200)) == got


def test_is_a_bootstrap_of_patients():
    """The interval of a plain loop over the same draws, tied scores and several cases a patient included."""
    views, units = three(60), np.arange(60) // 2
    rng, gaps = np.random.default_rng(5), []
    for picked in rng.integers(0, 30, (1000, 30)):
        rows = np.concatenate([np.flatnonzero(units == g) for g in picked])
        gaps.append(
            np.mean(
                [
                    roc_auc_score(v.labels[rows], v.candidate[rows]) - roc_auc_score(v.labels[rows], v.reference[rows])
                    for v in views
                ]
            )
        )
    got = macro_auroc(views, units, seed=5)
    assert (got.lower, got.upper) == pytest.approx(np.quantile(gaps, [0.025, 0.975]))


def test_chunks_change_nothing(monkeypatch):
    views = three()
    whole = macro_auroc(views, np.arange(200))
    monkeypatch.setattr(macro, "_CELLS", 200 * 7)
    parts = macro_auroc(views, np.arange(200))
    assert (parts.lower, parts.upper) == pytest.approx((whole.lower, whole.upper))


def test_views_without_both_classes_are_left_out_and_lost_resamples_counted():
    one = view([1] * 20, np.linspace(0, 1, 20), np.linspace(0, 1, 20))
    rare = view([1] + [0] * 19, np.linspace(0, 1, 20), np.linspace(0, 1, 20)[::-1])
    got = macro_auroc([one, rare], np.arange(20))
    assert got.n_views == 1
    assert 500 < got.resamples < 750  # 1 - 0.95**20 of the draws hold the one positive
    assert np.isnan(macro_auroc([one], np.arange(20)).difference)
    assert np.isnan(macro_auroc([rare], np.zeros(20)).lower)


def test_what_is_not_finite_ranks_worst():
    broken = view([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], [np.nan, 0.8, 0.2, np.nan])
    assert macro_auroc([broken], np.arange(4)).candidate == pytest.approx(0.25)
