import numpy as np
import pytest
from scipy import stats

from primum.config import ClinicalPolicy, Margins
from primum.errors import InputError
from primum.task import Task
from primum.validation.gate import Cases, judge
from primum.validation.means import skewed_mean_interval
from primum.validation.paired import bland_altman
from primum.validation.regression import worst_values
from primum.validation.verdict import Basis, Outcome

POLICY = ClinicalPolicy(margins=Margins(error=0.5), tolerance=2.0)
# Peak expiratory flow, first readings by two meters (Bland and Altman 1986).
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def cases(labels, patients=None, names=("hb",), **groups):
    labels = np.asarray(labels, float)
    own = np.arange(len(labels)) if patients is None else patients
    return Cases(labels, own, groups, np.arange(len(labels)), task=Task.REGRESSION, classes=names)


def outputs(n=400, error=5.0, moved=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.normal(100, 20, n)
    reference = labels + rng.normal(0, error, n)
    return labels, reference, reference + rng.normal(0, moved, n)


def test_peak_flow():
    got = bland_altman(WRIGHT, MINI)
    assert (got.bias.estimate, got.standard_deviation) == pytest.approx((-2.117647, 38.76513), abs=1e-5)
    assert (got.lower.estimate, got.upper.estimate) == pytest.approx((-78.097302, 73.862007), abs=1e-5)
    assert (got.bias.lower, got.bias.upper) == pytest.approx((-22.048838, 17.813544), abs=1e-5)


def test_peak_flow_oracle(oracles):
    item = oracles[0]["open.blandaltman.pefr1986"]
    published, exact = item["expected"]["published"], item["expected"]["recomputed"]
    got = bland_altman(item["inputs"]["method1"], item["inputs"]["method2"])
    assert (got.bias.estimate, got.standard_deviation) == pytest.approx(
        (published["bias"], published["sd"]), abs=item["abs_tol"]
    )
    assert [got.bias.lower, got.bias.upper] == pytest.approx(published["bias_ci"], abs=item["abs_tol"])
    assert [got.lower.estimate, got.upper.estimate] == pytest.approx(exact["loa_1_96"], abs=1e-5)
    # The paper's rounded limits are at 2 SD.
    twice = [got.bias.estimate + k * got.standard_deviation for k in (-2, 2)]
    assert twice == pytest.approx(published["loa_2sd"], abs=0.1)


def test_bounds_of_the_limits():
    """Bland and Altman 1999, section 2: 85 systolic pressures, mean -16.29, SD 19.61; SE of a limit 1.71 SD/sqrt(n)."""
    z = stats.norm.ppf((np.arange(85) + 0.5) / 85)
    gaps = -16.29 + 19.61 * (z - z.mean()) / z.std(ddof=1)
    got = bland_altman(gaps, np.zeros(85))
    assert (got.lower.estimate, got.upper.estimate) == pytest.approx((-54.7, 22.1), abs=0.05)
    se = (got.upper.upper - got.upper.estimate) / stats.t.ppf(0.975, 84)
    assert se / (19.61 / np.sqrt(85)) == pytest.approx(1.71, abs=0.01)
    assert got.lower.estimate - got.lower.lower == pytest.approx(got.upper.upper - got.upper.estimate)


def test_limits_hold_95_percent_of_the_differences_of_a_patient():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(400), rng.integers(1, 6, 400))
    gaps = rng.normal(0, 2, 400)[patients] + rng.normal(0, 1, patients.size)
    got = bland_altman(gaps, np.zeros(gaps.size), clusters=patients)
    assert got.standard_deviation == pytest.approx(np.sqrt(5), rel=0.05)
    assert (got.n, got.n_units) == (gaps.size, 400)
    naive = bland_altman(gaps, np.zeros(gaps.size))
    assert got.upper.upper - got.upper.estimate > naive.upper.upper - naive.upper.estimate


def test_repeated_cases_do_not_buy_precision():
    gaps = np.random.default_rng(1).normal(size=50)
    one = bland_altman(gaps, np.zeros(50))
    four = bland_altman(np.repeat(gaps, 4), np.zeros(200), clusters=np.repeat(np.arange(50), 4))
    assert four.standard_deviation == pytest.approx(one.standard_deviation, rel=0.02)
    assert four.upper.upper - four.upper.estimate == pytest.approx(one.upper.upper - one.upper.estimate, rel=0.02)
    assert bland_altman(gaps, np.zeros(50), clusters=np.zeros(50)).degenerate


@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 2], [1]), ([1, np.nan], [1, 2])])
def test_bad_vectors_are_refused(a, b):
    with pytest.raises(InputError):
        bland_altman(a, b)


def test_error_and_agreement_decide():
    labels, ref, new = outputs(1200)
    verdict = judge(cases(labels), ref, new, POLICY)
    error = verdict.component("error")
    interval = skewed_mean_interval(np.abs(ref - labels) - np.abs(new - labels))
    assert (error.difference, error.beside["seen_lower"], error.upper) == pytest.approx(
        (interval.estimate, interval.lower, interval.upper)
    )
    assert error.beside["worst_loss"] == np.ptp(np.r_[labels, ref])
    assert error.lower == error.beside["unseen_lower"] < interval.lower
    assert (error.reference, error.margin, error.margin_given) == (
        pytest.approx(np.abs(ref - labels).mean()),
        0.5,
        True,
    )
    limits = bland_altman(new, ref)
    part = verdict.component("agreement")
    assert part.difference == -max(-limits.lower.estimate, limits.upper.estimate)
    assert part.lower == -max(-limits.lower.lower, limits.upper.upper)
    assert verdict.outcome is part.outcome is Outcome.NON_INFERIOR
    assert verdict.reasons == () and np.isnan(verdict.threshold)


def test_each_endpoint_can_fail():
    labels, ref, _ = outputs()
    worse = judge(cases(labels), ref, ref + np.sign(ref - labels) * np.linspace(0.6, 0.8, 400), POLICY)
    assert worse.component("error").outcome is Outcome.INFERIOR
    assert worse.component("agreement").outcome is Outcome.NON_INFERIOR
    # As good on average, yet not the same numbers.
    rng = np.random.default_rng(9)
    other = judge(cases(labels), ref, labels + rng.permutation(ref - labels), POLICY)
    assert other.component("agreement").outcome is other.outcome is Outcome.INFERIOR
    assert "limits of agreement" in other.reasons[0]
    few = judge(cases(labels[:8]), ref[:8], ref[:8] + rng.normal(0, 0.5, 8), POLICY)
    part = few.component("agreement")
    assert part.outcome is Outcome.INCONCLUSIVE and part.n_would_decide > 8


def test_without_margin_or_tolerance_nothing_is_assessed():
    labels, ref, new = outputs(50)
    verdict = judge(cases(labels), ref, new, ClinicalPolicy(), exported=True)
    assert verdict.outcome is Outcome.NOT_ASSESSED
    assert "--error-margin" in verdict.component("error").reason
    assert "no tolerance" in verdict.component("agreement").reason
    assert verdict.component("error").reference == pytest.approx(np.abs(ref - labels).mean())
    assert (verdict.agreement.flips, np.isnan(verdict.agreement.churn)) == (0, True)
    assert not any("default margins" in reason for reason in verdict.reasons)
    same = judge(cases(labels), ref, ref, ClinicalPolicy(), exported=True)
    assert (same.outcome, same.basis) == (Outcome.NON_INFERIOR, Basis.NUMERIC)


def test_flips_are_moves_beyond_the_tolerance():
    labels, ref, new = outputs(50, moved=0.1)
    new[0] = labels[0] + (ref[0] - labels[0]) + np.copysign(5, ref[0] - labels[0])
    ref[1], new[1] = labels[1] + 9, labels[1] + 1
    verdict = judge(cases(labels, site=np.repeat(["N", "S"], 25)), ref, new, POLICY)
    assert [(f.case_id, f.harmful, f.groups) for f in verdict.flips] == [
        ("0", True, {"site": "N"}), ("1", False, {"site": "N"}),
    ]  # fmt: skip
    assert verdict.flips[0].label == labels[0]
    assert (verdict.agreement.harmful, verdict.agreement.beneficial, verdict.agreement.churn) == (1, 1, 2 / 50)
    assert verdict.component("agreement").beside["share_moved"] == 2 / 50


def test_what_is_not_finite_is_worse_than_any_seen():
    labels, ref, new = outputs(60)
    new[[3, 4]] = np.nan, -np.inf
    filled = worst_values(labels[:, None], ref[:, None], new[:, None])[:, 0]
    seen = np.r_[np.abs(ref - labels), np.abs(np.delete(new, [3, 4]) - np.delete(labels, [3, 4]))]
    assert np.abs(filled - labels)[[3, 4]].min() >= seen.max()
    verdict = judge(cases(labels), ref, new, POLICY)
    assert verdict.component("error").n == 60
    assert verdict.component("error").candidate == pytest.approx(np.abs(filled - labels).mean())
    assert verdict.outcome is Outcome.INFERIOR
    assert [flip.case_id for flip in verdict.flips if flip.harmful] == ["3", "4"]
    assert any("NaN" in reason for reason in verdict.reasons)
    unasked = judge(cases(labels), ref, new, ClinicalPolicy())
    assert [flip.case_id for flip in unasked.flips if flip.harmful] == ["3", "4"]
    ref[0] = np.nan
    assert judge(cases(labels), ref, new, POLICY).outcome is Outcome.NOT_ASSESSED


def test_several_outputs_have_their_own_endpoints():
    labels, ref, new = (np.stack([x, 0.1 * x], axis=1) for x in outputs(1200))
    new[:, 1] += 3
    verdict = judge(cases(labels, names=("hb", "wbc")), ref, new, POLICY)
    assert [part.name for part in verdict.components] == ["error[hb]", "error[wbc]", "agreement[hb]", "agreement[wbc]"]
    assert verdict.component("error[hb]").outcome is Outcome.NON_INFERIOR
    assert verdict.component("error[wbc]").outcome is Outcome.INFERIOR
    assert {flip.view for flip in verdict.flips} == {"wbc"}


def test_lossless_is_relative_to_the_spread():
    labels, ref, _ = outputs(5)
    for scale, basis in ((1e-6, Basis.NUMERIC), (1e-4, Basis.STATISTICAL)):
        assert judge(cases(labels), ref, ref + scale * ref.std(), POLICY, exported=True).basis is basis


def test_subgroups_are_judged_on_their_error():
    labels, ref, new = outputs(2000)
    new[1900:] += np.sign(ref - labels)[1900:] * 2
    site = np.repeat(["A", "B", "C"], [1900, 95, 5])
    verdict = judge(cases(labels, site=site), ref, new, ClinicalPolicy(margins=Margins(error=0.6), tolerance=9))
    a, b, c = verdict.subgroups
    assert verdict.component("error").outcome is Outcome.NON_INFERIOR
    assert [level.outcome for level in (a, b)] == [Outcome.NON_INFERIOR, Outcome.INFERIOR]
    assert [part.name for part in b.components] == ["error"]
    assert (a.harmed, b.harmed, b.n_positive) == (False, True, None)
    expected = stats.ttest_1samp((np.abs(ref - labels) - np.abs(new - labels))[site == "B"], 0, alternative="less")
    assert b.harm_p_adjusted == pytest.approx(3 * expected.pvalue)
    assert c.n == 5 and verdict.outcome is Outcome.INFERIOR


@pytest.mark.parametrize("labels", [[1.0, np.nan], [[1.0, 2.0]], ["a", "b"]])
def test_missing_labels_are_refused(labels):
    with pytest.raises(InputError):
        Cases(labels, np.arange(2), {}, np.arange(2), task=Task.REGRESSION, classes=("hb",))


def two_units(dead=False):
    rng = np.random.default_rng(4)
    labels = np.stack([rng.normal(120, 15, 2000), rng.uniform(0.2, 0.7, 2000)], axis=1)
    reference = labels + rng.normal(0, 1, labels.shape) * (2, 0.02)
    candidate = reference + rng.normal(0, 1, labels.shape) * (0.1, 0.001)
    if dead:
        candidate[:, 1] = 0.45
    return cases(labels, names=("pressure", "ejection fraction")), reference, candidate


def test_outputs_in_other_units_have_margins_and_tolerances_of_their_own():
    own = {"error_margins": {"ejection fraction": 0.02}, "tolerances": {"ejection fraction": 0.05}}
    policy = ClinicalPolicy(margins=Margins(error=2.0), tolerance=8.0, **own)
    verdict = judge(*two_units(), policy)
    assert verdict.outcome is Outcome.NON_INFERIOR and not any("one unit" in reason for reason in verdict.reasons)
    margins = {part.name: (part.margin, part.margin_given) for part in verdict.components}
    assert margins["error[pressure]"] == (2.0, True) and margins["error[ejection fraction]"] == (0.02, True)
    assert margins["agreement[pressure]"] == (8.0, True) and margins["agreement[ejection fraction]"] == (0.05, True)

    held, reference, candidate = two_units(dead=True)
    broken = judge(held, reference, candidate, policy)
    assert broken.outcome is Outcome.INFERIOR and {flip.view for flip in broken.flips} == {"ejection fraction"}
    assert broken.agreement.flips == int((np.abs(candidate - reference)[:, 1] > 0.05).sum())


def test_one_margin_for_several_outputs_is_told():
    shared = ClinicalPolicy(margins=Margins(error=2.0), tolerance=8.0)
    told = [r for r in judge(*two_units(dead=True), shared).reasons if "one unit" in r]
    assert told == [
        "one margin for the error (2) for pressure, ejection fraction and one tolerance (8) for pressure, ejection "
        "fraction: right only where these have one unit"
    ]
    partly = ClinicalPolicy(error_margins={"pressure": 2.0}, tolerances={"pressure": 8.0})
    verdict = judge(*two_units(), partly)
    assert verdict.component("error[pressure]").outcome is Outcome.NON_INFERIOR
    assert verdict.component("error[ejection fraction]").outcome is Outcome.NOT_ASSESSED
    assert verdict.component("agreement[ejection fraction]").outcome is Outcome.NOT_ASSESSED
    assert verdict.outcome is Outcome.NOT_ASSESSED and verdict.agreement.flips == 0


@pytest.mark.parametrize("names", [("hb",), ("hb", "iron")])
def test_a_margin_of_no_output_is_refused(names):
    labels = np.zeros((5, len(names)))
    for own in ({"error_margins": {"blood": 1.0}}, {"tolerances": {"hb" if len(names) == 1 else "blood": 1.0}}):
        with pytest.raises(InputError, match="there is no output"):
            judge(cases(labels, names=names), labels, labels, ClinicalPolicy(**own))
