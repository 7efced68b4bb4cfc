import numpy as np
import pytest
from scipy import stats

from primum.config import ClinicalPolicy, Margins
from primum.validation.paired import design_effect, tango_interval
from primum.validation.proportions import tango_interval_at
from primum.validation.rates import judge_rate
from primum.validation.verdict import Outcome

POLICY = ClinicalPolicy()


def clustered(patients=12, size=25, lost=6, gained=6):
    """Correctness of two models on `size` cases of each patient; every patient has flips of its own number."""
    reference, candidate = np.ones((2, patients, size), bool)
    for g in range(patients):
        candidate[g, : lost * (g % 3)] = False
        reference[g, lost * 2 : lost * 2 + gained * (g % 3)] = False
    return reference.ravel(), candidate.ravel(), np.repeat(np.arange(patients), size)


def test_few_patients_have_students_quantile():
    ref, new, units = clustered()
    part = judge_rate("sensitivity", ref, new, units, POLICY)
    cells = np.stack([ref & new, new & ~ref, ref & ~new, ~ref & ~new], axis=1).reshape(12, 25, 4).sum(axis=1)
    effect = design_effect(cells)
    table = cells.sum(axis=0) / effect
    t = stats.t.ppf(0.975, 11)
    expected = tango_interval_at(*table, t, 0.95)
    assert "t quantile" in part.method and part.design_effect == effect
    assert (part.lower, part.upper) == (expected.lower, expected.upper)
    assert part.lower < tango_interval(*table).lower
    assert {"obuchowski_statistic", "obuchowski_p"} <= part.beside.keys()


def test_n_would_decide_grows_with_the_quantile_of_so_many_patients():
    ref, new, units = clustered(lost=1, gained=1)
    policy = ClinicalPolicy(margins=Margins(sensitivity=0.01))
    part = judge_rate("sensitivity", ref, new, units, policy)
    assert part.outcome is Outcome.INCONCLUSIVE
    for n, passes in ((part.n_would_decide, True), (part.n_would_decide - 1, False)):
        table = [x * n / 12 for x in part.table]
        assert (tango_interval_at(*table, stats.t.ppf(0.975, n - 1), 0.95).lower > -0.01) is passes


def test_type_one_error_with_few_patients():
    """Ten patients, correlated losses, a true difference at the margin: the normal quantile passes too often."""
    rng = np.random.default_rng(0)
    margin, passed, trials = 0.2, 0, 400
    units = np.repeat(np.arange(10), 40)
    for _ in range(trials):
        tendency = rng.beta(2, 8, 10)  # mean 0.2
        new = rng.random(400) >= tendency[units]
        part = judge_rate(
            "accuracy", np.ones(400, bool), new, units, ClinicalPolicy(margins=Margins(sensitivity=margin))
        )
        passed += part.outcome is Outcome.NON_INFERIOR
    assert passed / trials < 0.045


def test_accuracy_has_the_margin_of_sensitivity():
    right = np.ones(300, bool)
    part = judge_rate("accuracy", right, right, np.arange(300), ClinicalPolicy(margins=Margins(sensitivity=0.03)))
    assert (part.margin, part.margin_given, part.outcome) == (0.03, True, Outcome.NON_INFERIOR)
    few = judge_rate("accuracy", right[:9], right[:9], np.arange(9), POLICY)
    assert few.reason == "9 cases cannot decide a margin of 0.020: with the differences seen so far about 189 would"


def test_a_single_patient_proves_nothing():
    right = np.ones(1000, bool)
    part = judge_rate("accuracy", right, right, np.zeros(1000), POLICY)
    assert (part.n_patients, part.outcome) == (1, Outcome.INCONCLUSIVE)
    wrong = right.copy()
    wrong[:3] = False
    assert judge_rate("accuracy", right, wrong, np.zeros(1000), POLICY).outcome is Outcome.INCONCLUSIVE
    assert judge_rate("accuracy", right, right, np.zeros(1000), POLICY).lower == pytest.approx(
        tango_interval(1, 0, 0, 0).lower
    )
