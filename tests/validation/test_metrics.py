import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from primum.errors import InputError
from primum.validation import metrics

KEYS = {
    "accuracy", "precision", "recall", "f1", "specificity", "sensitivity", "true_negatives",
    "false_positives", "false_negatives", "true_positives",
}  # fmt: skip


@st.composite
def predictions(draw):
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return rng.integers(0, 2, n), rng.integers(0, 2, n), rng.integers(0, 12, n) / 11


@given(predictions())
@settings(max_examples=80, deadline=None)
def test_parity_with_sklearn(data):
    y, decided, p = data
    table = metrics.confusion_matrix(y, decided)
    assert tuple(table) == tuple(sk.confusion_matrix(y, decided, labels=[0, 1]).ravel())
    nan = {"zero_division": np.nan}
    expected = {
        "accuracy": sk.accuracy_score(y, decided),
        "precision": sk.precision_score(y, decided, **nan),
        "recall": sk.recall_score(y, decided, **nan),
        "specificity": sk.recall_score(y, decided, pos_label=0, **nan),
        "f1": sk.f1_score(y, decided, **nan),
    }
    got = metrics.calculate_classification_metrics(y, decided, p)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, nan_ok=True), name
    assert metrics.brier(y, p) == pytest.approx(np.mean((p - y) ** 2))
    assert got["sensitivity"] == pytest.approx(got["recall"], nan_ok=True)
    if len(set(y)) == 2:
        assert got["auroc"] == pytest.approx(sk.roc_auc_score(y, p))
        ours, theirs = metrics.roc_curve(y, p), sk.roc_curve(y, p, drop_intermediate=False)
        for one, other in zip(ours, theirs, strict=True):
            assert one == pytest.approx(other)
        assert np.trapezoid(ours[1], ours[0]) == pytest.approx(got["auroc"])
    else:
        assert "auroc" not in got
        assert np.isnan(metrics.auroc(y, p))


def test_the_documented_call():
    got = metrics.calculate_classification_metrics(
        true_labels=[0, 1, 1, 0], pred_labels=[0, 1, 1, 1], pred_probs=[0.1, 0.9, 0.8, 0.6]
    )
    assert set(got) == KEYS | {"auroc"}
    assert (got["true_negatives"], got["false_positives"]) == (1, 1)
    assert (got["accuracy"], got["recall"], got["auroc"]) == (0.75, 1.0, 1.0)
    assert set(metrics.calculate_classification_metrics([0, 1], [0, 1])) == KEYS


def test_both_columns_of_probabilities():
    got = metrics.calculate_classification_metrics([0, 1, 1], [0, 1, 0], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert got["auroc"] == 1.0


def test_undefined_is_nan():
    got = metrics.calculate_classification_metrics([0, 0], [0, 0], [0.1, 0.2])
    assert np.isnan([got["recall"], got["precision"], got["f1"]]).all()
    assert got["specificity"] == 1.0
    assert np.isnan(metrics.specificity([1, 1], [1, 0]))
    fpr, tpr, _ = metrics.roc_curve([1, 1], [0.2, 0.3])
    assert np.isnan(fpr).all()
    assert tpr.tolist() == [0, 0.5, 1]


def test_published_brier():
    assert metrics.brier([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.3]) == pytest.approx(0.0375, abs=1e-12)


def test_oracles(oracles):
    item = oracles[0]["open.brier.sklearn"]
    assert metrics.brier(item["inputs"]["y"], item["inputs"]["p"]) == pytest.approx(
        item["expected"]["brier"], abs=item["abs_tol"]
    )
    item = oracles[0]["open.fairness.fairlearn"]
    y, decided, group = (np.array(item["inputs"][k]) for k in ("y_true", "y_pred", "group"))
    for level, rate in item["expected"]["tpr"].items():
        member = group == level
        assert metrics.sensitivity(y[member], decided[member]) == pytest.approx(rate, abs=item["abs_tol"])


def test_bools_are_labels():
    assert metrics.accuracy(np.array([True, False]), [1, 0]) == 1.0


@pytest.mark.parametrize(
    ("labels", "decided"),
    [([], []), ([0, 1], [0]), ([0, 2], [0, 1]), ([0, 1], [0, -1]), ([0.5, 1], [0, 1]), (["a", "b"], [0, 1]),
     ([[0, 1]], [0, 1]), ([0, np.nan], [0, 1])],
)  # fmt: skip
def test_bad_labels_are_refused(labels, decided):
    with pytest.raises(InputError):
        metrics.calculate_classification_metrics(labels, decided)


@pytest.mark.parametrize("scores", [[0.1], [0.1, np.nan], [0.1, np.inf]])
def test_bad_scores_are_refused(scores):
    for function in (metrics.auroc, metrics.roc_curve, metrics.brier):
        with pytest.raises(InputError):
            function([0, 1], scores)
    with pytest.raises(InputError):
        metrics.calculate_classification_metrics([0, 1], [0, 1], np.ones((2, 3)))
