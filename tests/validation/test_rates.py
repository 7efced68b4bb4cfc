import numpy as np
import pytest
from scipy import stats

from primum.config import ClinicalPolicy, Margins
from primum.validation.paired import design_effect, tango_interval
from primum.validation.proportions import tango_interval_at
from primum.validation.rates import judge_rate
from primum.validation.sufficiency import mark_rate
from primum.validation.verdict import Outcome

POLICY = ClinicalPolicy()


def clustered(patients=12, size=25, lost=6, gained=6):
    """Correctness of two models on `size` cases of each patient; every patient has flips of its own number."""
    reference, candidate = np.ones((2, patients, size), bool)
    for g in range(patients):
        candidate[g, : lost * (g % 3)] = False
        reference[g, lost * 2 : lost * 2 + gained * (g % 3)] = False
    return reference.ravel(), candidate.ravel(), np.repeat(np.arange(patients), size)


def test_what_is_estimated_stands_where_it_is_the_larger_with_students_quantile():
    reference, candidate = np.ones((2, 60, 5), bool)
    candidate[:8] = reference[20:24] = False  # all five cases of a patient go together: the effect is 5 and more
    ref, new, units = reference.ravel(), candidate.ravel(), np.repeat(np.arange(60), 5)
    part = judge_rate("sensitivity", ref, new, units, POLICY)
    cells = np.stack([ref & new, new & ~ref, ref & ~new, ~ref & ~new], axis=1).reshape(60, 5, 4).sum(axis=1)
    effect = design_effect(cells)
    table = cells.sum(axis=0) / effect
    expected = tango_interval_at(*table, stats.t.ppf(0.975, 59), 0.95)
    assert "t quantile" in part.method and part.design_effect == effect > 5
    assert (part.lower, part.upper) == pytest.approx((expected.lower, expected.upper))
    assert part.lower < tango_interval(*table).lower
    assert {"obuchowski_statistic", "obuchowski_p"} <= part.beside.keys()


def test_flips_that_cancel_do_not_make_twelve_patients_three_hundred():
    ref, new, units = clustered()
    part = judge_rate("sensitivity", ref, new, units, POLICY)
    assert (part.design_effect, part.beside["effective_patients"]) == (25, 12)
    assert part.lower < tango_interval(12, 0, 0, 0).lower


SPREAD = np.repeat([1, 2, 3, 4, 5, 6], [459, 194, 82, 41, 25, 16])
"""Images of 817 patients, 1.8 of each, as a set of chest radiographs has."""


@pytest.mark.parametrize(("sizes", "worst"), [(SPREAD, 1.25), ([2] * 300, 1.05), ([1] * 299 + [2], 1.05)])
def test_one_or_two_cases_a_patient_keep_the_power_of_the_patients(sizes, worst):
    """Without a flip the bound is near that of as many patients, and every lost case moves it down."""
    units = np.repeat(np.arange(len(sizes)), sizes)
    right = np.ones(units.size, bool)
    lowers = []
    for lost in range(7):
        new = right.copy()
        new[np.linspace(0, units.size - 1, lost, dtype=int)] = False
        part = judge_rate("sensitivity", right, new, units, POLICY)
        assert part.difference == pytest.approx(-lost / units.size)
        lowers.append(part.lower)
    assert lowers == sorted(lowers, reverse=True)
    assert 1 <= lowers[0] / tango_interval(len(sizes), 0, 0, 0).lower < worst


def test_a_patient_with_most_of_the_cases_is_not_many():
    sizes = np.r_[200, np.ones(200, int)]
    units = np.repeat(np.arange(201), sizes)
    right = np.ones(400, bool)
    part = judge_rate("sensitivity", right, right, units, POLICY)
    assert part.beside["effective_patients"] < 6 and part.outcome is Outcome.INCONCLUSIVE
    marked = mark_rate(part, "positives", 0.95)
    assert marked.outcome is Outcome.INSUFFICIENT and marked.n_would_decide > 201
    assert "201 patients with positives are too few" in marked.reason


def test_too_few_even_without_a_flip_is_what_the_interval_says():
    """INSUFFICIENT ends where unchanged decisions begin to pass, to the patient."""
    for patients, outcome in ((190, Outcome.INSUFFICIENT), (191, Outcome.NON_INFERIOR)):
        right = np.ones(3 * patients, bool)
        part = judge_rate("sensitivity", right, right, np.repeat(np.arange(patients), 3), POLICY)
        marked = mark_rate(part, "positives", 0.95)
        assert marked.outcome is outcome
        assert marked.n_would_decide == (191 if outcome is Outcome.INSUFFICIENT else None)


def test_n_would_decide_grows_with_the_quantile_of_so_many_patients():
    ref, new, units = clustered(lost=1, gained=1)
    policy = ClinicalPolicy(margins=Margins(sensitivity=0.01))
    part = judge_rate("sensitivity", ref, new, units, policy)
    assert part.outcome is Outcome.INCONCLUSIVE
    for n, passes in ((part.n_would_decide, True), (part.n_would_decide - 1, False)):
        table = [x * n / 12 for x in part.table]
        assert (tango_interval_at(*table, stats.t.ppf(0.975, n - 1), 0.95).lower > -0.01) is passes


@pytest.mark.parametrize("sizes", [[40] * 10, [1] * 60 + [3] * 25 + [10] * 15, SPREAD[::4]], ids=["10", "100", "205"])
def test_type_one_error_of_correlated_losses(sizes):
    """A true loss of exactly the margin, any two cases of a patient correlated by 0.7: an estimated design effect alone
    passes the first two in 35 % and 11 %."""
    rng = np.random.default_rng(0)
    margin, passed, trials = 0.1, 0, 400
    units = np.repeat(np.arange(len(sizes)), sizes)
    right, policy = np.ones(units.size, bool), ClinicalPolicy(margins=Margins(sensitivity=margin))
    for _ in range(trials):
        common = rng.random(len(sizes))[units]
        lost = np.where(rng.random(units.size) < 0.7**0.5, common, rng.random(units.size)) < margin
        passed += judge_rate("sensitivity", right, ~lost, units, policy).outcome is Outcome.NON_INFERIOR
    assert passed / trials < 0.04


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
    assert part.lower < tango_interval(1, 0, 0, 0).lower
