import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from primum.config import ClinicalPolicy, Margins
from primum.errors import InputError
from primum.task import Task
from primum.validation.gate import Cases, judge
from primum.validation.paired import auc_mover_logit_interval, newcombe_paired_interval, tango_interval
from primum.validation.recommendations import recommend
from primum.validation.sufficiency import NO_RANKING
from primum.validation.verdict import Basis, Outcome

POLICY = ClinicalPolicy()
GIVEN = ClinicalPolicy(margins=Margins(sensitivity=0.02, specificity=0.02, auroc=0.01, brier=0.01))


def outcomes(verdict):
    return {part.name: part.outcome for part in verdict.components}


def test_a_faithful_candidate_passes_with_its_figures(make_cases, scored):
    labels, ref, new = scored(1200, 1800, lost=2, gained=1)
    verdict = judge(make_cases(labels), ref, new, GIVEN)
    assert verdict.outcome is Outcome.NON_INFERIOR
    assert verdict.basis is Basis.STATISTICAL
    assert verdict.reasons == ()
    part = verdict.component("sensitivity")
    assert part.table == (1077.0, 1.0, 2.0, 120.0)
    assert part.difference == pytest.approx(part.candidate - part.reference) == pytest.approx(-1 / 1200)
    interval, newcombe = tango_interval(*part.table), newcombe_paired_interval(*part.table)
    assert (part.lower, part.upper) == (interval.lower, interval.upper)
    assert part.beside["newcombe_lower"] == newcombe.lower
    assert (part.n, part.n_patients, part.design_effect, part.margin_given) == (1200, 1200, 1.0, True)
    auroc = verdict.component("auroc")
    assert auroc.beside["seen_lower"] == pytest.approx(auc_mover_logit_interval(labels, new, ref).lower)
    assert auroc.beside["delong_lower"] > auroc.beside["seen_lower"] >= auroc.lower
    brier = verdict.component("brier")
    assert brier.difference == pytest.approx(brier.reference - brier.candidate)
    assert (verdict.n_positive, verdict.n_negative, verdict.clustered, verdict.unit) == (
        1200,
        1800,
        False,
        "patient",
    )
    assert [flip.case_id for flip in verdict.flips] == ["c0", "c1", "c2"]
    assert (verdict.agreement.harmful, verdict.agreement.beneficial) == (2, 1)


def test_default_margins_are_named(make_cases, scored):
    labels, ref, new = scored(400, 600, lost=1)
    verdict = judge(make_cases(labels), ref, new, POLICY)
    assert "not confirmed by a clinician" in verdict.reasons[-1]
    assert not verdict.component("auroc").margin_given


def test_clear_harm_is_inferior(make_cases, scored):
    labels, ref, new = scored(300, 300, lost=40)
    verdict = judge(make_cases(labels), ref, new, POLICY)
    assert verdict.outcome is Outcome.INFERIOR
    part = verdict.component("sensitivity")
    assert part.upper < -part.margin
    assert part.n_would_decide is None
    assert verdict.reasons[0].startswith("sensitivity: the candidate is worse")


def test_too_few_cases_say_how_many_would_do(make_cases, scored):
    labels, ref, new = scored(40, 400)
    verdict = judge(make_cases(labels), ref, new, POLICY)
    part = verdict.component("sensitivity")
    assert part.outcome is verdict.outcome is Outcome.INCONCLUSIVE
    assert part.n_would_decide == 189
    assert part.reason == (
        "40 positives cannot decide a margin of 0.020: with the differences seen so far about 189 would"
    )


@pytest.mark.parametrize(("lost", "gained"), [(1, 0), (2, 1), (1, 2), (3, 3)])
def test_n_would_decide_is_the_smallest(make_cases, scored, lost, gained):
    labels, ref, new = scored(150, 400, lost=lost, gained=gained)
    part = judge(make_cases(labels), ref, new, POLICY).component("sensitivity")
    assert part.outcome is Outcome.INCONCLUSIVE
    for n, passes in ((part.n_would_decide, True), (part.n_would_decide - 1, False)):
        assert (tango_interval(*(x * n / 150 for x in part.table)).lower > -0.02) is passes


def test_no_number_would_do_beyond_the_margin(make_cases, scored):
    labels, ref, new = scored(100, 400, lost=3)
    part = judge(make_cases(labels), ref, new, POLICY).component("sensitivity")
    assert part.outcome is Outcome.INCONCLUSIVE
    assert part.n_would_decide is None
    assert "no number" in part.reason


def test_n_would_decide_of_the_score_endpoints():
    rng = np.random.default_rng(2)
    labels = np.r_[np.ones(60, int), np.zeros(60, int)]
    ref = (0.35 + 0.25 * labels + rng.normal(0, 0.15, 120)).clip(0, 1)
    new = (ref + rng.normal(0, 0.08, 120)).clip(0, 1)

    def run(times):
        n = 120 * times
        cases = Cases(np.tile(labels, times), np.arange(n), {}, np.arange(n))
        return judge(cases, np.tile(ref, times), np.tile(new, times), POLICY)

    for name in ("auroc", "brier"):
        first = run(1).component(name)
        assert first.outcome is Outcome.INCONCLUSIVE
        if first.n_would_decide is None:
            assert first.difference <= -first.margin
            continue
        assert first.n_would_decide > 120
        enough = -(-first.n_would_decide // 120)
        assert run(enough + 1).component(name).outcome is Outcome.NON_INFERIOR
        assert run(max(1, enough - 2)).component(name).outcome is Outcome.INCONCLUSIVE


def test_lossless_passes_whatever_the_number(make_cases):
    ref = np.array([0.9, 0.2, 0.3])
    verdict = judge(
        make_cases([1, 0, 0], groups={"g": ["a", "b", "b"]}), ref, ref + np.array([0, 1e-6, 0]), POLICY, exported=True
    )
    assert (verdict.outcome, verdict.basis) == (Outcome.NON_INFERIOR, Basis.NUMERIC)
    assert verdict.reasons[0].startswith("lossless")
    assert outcomes(verdict)["sensitivity"] is Outcome.INCONCLUSIVE
    assert len(verdict.subgroups) == 2
    only_one_class = judge(make_cases([0, 0]), [0.1, 0.2], [0.1, 0.2], POLICY, exported=True)
    assert (only_one_class.outcome, only_one_class.basis) == (Outcome.NON_INFERIOR, Basis.NUMERIC)


def test_agreement_on_a_few_cases_proves_nothing_of_changed_weights(make_cases):
    """A saturated model agrees with almost any other on easy cases."""
    verdict = judge(make_cases([1, 0, 0]), [0.9, 0.2, 0.3], [0.9, 0.2, 0.3], POLICY)
    assert (verdict.outcome, verdict.basis) == (Outcome.INCONCLUSIVE, Basis.STATISTICAL)


@pytest.mark.parametrize("new", [[0.9, 0.2, 0.3001], [0.9, 0.2, np.nan], [0.9, 0.5, 0.3]])
def test_not_lossless(make_cases, new):
    verdict = judge(make_cases([1, 0, 0]), [0.9, 0.499999, 0.3], new, POLICY, exported=True)
    assert verdict.basis is Basis.STATISTICAL
    assert verdict.outcome is not Outcome.NON_INFERIOR


def test_a_tiny_flip_at_the_threshold_is_not_lossless(make_cases):
    verdict = judge(make_cases([1, 0]), [0.5000001, 0.2], [0.4999999, 0.2], POLICY)
    assert verdict.agreement.harmful == 1
    assert verdict.basis is Basis.STATISTICAL


@pytest.mark.parametrize(("shift", "outcome"), [(0.5, Outcome.INFERIOR), (3, Outcome.INFERIOR)])
def test_scrambled_tiny_scores_are_not_lossless(make_cases, shift, outcome):
    """All scores within 1e-5: |Δp| and flips see nothing, the ranking is destroyed."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    ref = (rng.random(2000) + shift * labels) * 1e-6
    verdict = judge(make_cases(labels), ref.clip(0), rng.permutation(ref), POLICY)
    assert verdict.component("auroc").outcome is outcome
    assert (verdict.outcome, verdict.basis) == (outcome, Basis.STATISTICAL)


@pytest.mark.parametrize(("n", "outcome"), [(40, Outcome.INCONCLUSIVE), (300, Outcome.INCONCLUSIVE),
                                            (400, Outcome.NON_INFERIOR)])  # fmt: skip
def test_identical_rankings_show_what_so_many_patients_can(make_cases, scored, n, outcome):
    """Of the rarer class none lost, as in `UnseenLoss`; only an export of the same weights passes by agreement."""
    labels, ref, _ = scored(n, 500)
    for new in (ref**1.001, ref):
        verdict = judge(make_cases(labels), ref, new, POLICY)
        part = verdict.component("auroc")
        assert (part.outcome, part.basis, part.difference) == (outcome, Basis.STATISTICAL, 0.0)
        t = stats.t.ppf(0.975, n - 1)
        assert -part.lower == part.upper == pytest.approx(part.reference * t**2 / (n + t**2))
    exported = judge(make_cases(labels), ref, ref, POLICY, exported=True)
    assert (exported.outcome, exported.basis) == (Outcome.NON_INFERIOR, Basis.NUMERIC)


def test_identical_rankings_say_how_many_would_decide(make_cases, scored):
    labels, ref, _ = scored(100, 100)
    part = judge(make_cases(labels), ref, ref, POLICY).component("auroc")
    for n, passes in ((part.n_would_decide, True), (part.n_would_decide - 1, False)):
        t = stats.t.ppf(0.975, n / 2 - 1)
        assert bool(part.reference * t**2 / (n / 2 + t**2) < 0.01) is passes


@pytest.mark.parametrize(
    ("n", "outcome"), [(40, Outcome.INCONCLUSIVE), (300, Outcome.INCONCLUSIVE), (400, Outcome.NON_INFERIOR)]
)
def test_perfect_auroc_with_other_rankings_is_decided_by_the_smaller_class(make_cases, n, outcome):
    """No variance can be estimated there; zero flips of n patients bound it, as they bound a proportion."""
    rng = np.random.default_rng(0)
    labels = np.r_[np.ones(n, int), np.zeros(500, int)]
    ref, new = (0.7 * labels + 0.2 * rng.random(n + 500) for _ in range(2))
    part = judge(make_cases(labels), ref, new, POLICY).component("auroc")
    assert (part.outcome, part.difference) == (outcome, 0.0)
    assert part.lower == pytest.approx(-3.8414588 / (n + 3.8414588)) and part.lower < 0 < part.upper
    assert part.n_would_decide == (381 if outcome is Outcome.INCONCLUSIVE else None)


@pytest.mark.parametrize(("label", "name"), [(0, "sensitivity"), (1, "specificity")])
def test_one_class_is_not_assessed(make_cases, label, name):
    ref = np.linspace(0.1, 0.4, 300) + 0.5 * label
    verdict = judge(make_cases(np.full(300, label)), ref, ref[::-1], POLICY)
    assert verdict.outcome is Outcome.NOT_ASSESSED
    for part in (verdict.component(name), verdict.component("auroc")):
        assert part.outcome is Outcome.NOT_ASSESSED
        assert "there are no" in part.reason


def test_no_cases_are_not_assessed(make_cases):
    verdict = judge(make_cases([]), [], [], POLICY)
    assert verdict.outcome is Outcome.NOT_ASSESSED
    assert verdict.reasons == ("there are no cases",)
    assert len(verdict.components) == 4


def test_nan_candidates_are_wrong_in_every_endpoint(make_cases, scored):
    labels, ref, new = scored(300, 300)
    broken = new.copy()
    broken[[0, 1, 2]] = np.nan, np.inf, -np.inf
    broken[300] = np.nan
    verdict = judge(make_cases(labels), ref, broken, POLICY)
    before = judge(make_cases(labels), ref, new, POLICY)
    assert verdict.agreement.not_finite == 4
    assert verdict.component("sensitivity").table[2] == 3
    assert verdict.component("specificity").table[2] == 1
    assert len(verdict.flips) == 4
    worst = np.where(np.isfinite(broken), broken, np.where(labels == 1, -9.0, 9.0))
    seen = verdict.component("auroc").beside["seen_lower"]
    assert seen == pytest.approx(auc_mover_logit_interval(labels, worst, ref).lower)
    assert verdict.component("brier").candidate > before.component("brier").candidate + 0.9 * 4 / 600
    assert any("NaN" in reason for reason in verdict.reasons)


def test_all_nan_is_inferior(make_cases, scored):
    labels, ref, _ = scored(50, 50)
    assert judge(make_cases(labels), ref, np.full(100, np.nan), POLICY).outcome is Outcome.INFERIOR


def test_nan_reference_is_not_assessed(make_cases, scored):
    labels, ref, new = scored(300, 300)
    ref[5] = np.nan
    verdict = judge(make_cases(labels), ref, new, POLICY)
    assert set(outcomes(verdict).values()) == {Outcome.NOT_ASSESSED}
    assert verdict.reasons == ("the reference gave NaN or infinity on 1 of 600 cases",)


@pytest.mark.parametrize("bad", [[0.1], [0.1, 1.2], [0.1, -3.0]])
def test_bad_scores_are_refused(make_cases, bad):
    with pytest.raises(InputError):
        judge(make_cases([0, 1]), [0.1, 0.9], bad, POLICY)
    with pytest.raises(InputError):
        judge(make_cases([0, 1]), bad, [0.1, 0.9], POLICY)


def test_the_threshold_belongs_to_the_positive_side(make_cases):
    verdict = judge(make_cases([1, 0]), [0.3, 0.1], [0.30, 0.29], ClinicalPolicy(threshold=0.3))
    assert verdict.agreement.flips == 0
    assert verdict.component("sensitivity").candidate == 1.0


def test_independent_cases_are_their_own_patients(make_cases, scored):
    labels, ref, new = scored(30, 30)
    verdict = judge(make_cases(labels, np.full(60, ""), independent=True), ref, new, POLICY)
    assert verdict.unit == "case (declared independent)"
    assert (verdict.clustered, verdict.n_patients) == (False, 60)


def test_rows_that_repeat_others_are_no_new_evidence(make_cases, scored):
    """Every row four times, no patient named: judged as four rows of one patient each."""
    labels, ref, new = (np.repeat(values, 4) for values in scored(40, 40, lost=1))
    own = np.repeat(np.arange(80), 4)
    of_patients = judge(make_cases(labels, own), ref, new, POLICY)
    found = judge(make_cases(labels, np.full(320, ""), contents=own), ref, new, POLICY)
    assert found.components == of_patients.components and found.outcome is of_patients.outcome
    assert (found.n, found.n_patients, found.copies, found.clustered) == (320, 80, 240, True)
    assert any("240 of 320 cases repeat the input of another" in reason for reason in found.reasons)
    assert of_patients.copies == 0 and not any("repeat the input" in reason for reason in of_patients.reasons)


def clustered(scored, make_cases, size, **changes):
    labels, ref, new = scored(300, 300, **changes)
    return judge(make_cases(labels, np.arange(600) // size), ref, new, POLICY)


def test_zero_flips_in_clusters_count_patients(scored, make_cases):
    """300 positives of 75 patients without a flip: cases would pass, patients cannot."""
    verdict = clustered(scored, make_cases, 4)
    part = verdict.component("sensitivity")
    assert verdict.clustered
    assert (part.outcome, part.n_patients, part.n_would_decide) == (Outcome.INCONCLUSIVE, 75, 191)
    assert sum(part.table) == pytest.approx(part.n / part.design_effect) == 75
    t = stats.t.ppf(0.975, 74)
    assert part.lower == pytest.approx(-(t**2) / (75 + t**2))
    assert "patients with positives" in part.reason


def test_correlated_flips_widen_the_interval(scored, make_cases):
    """12 lost cases: of 12 patients each its only one, or of 3, four each."""
    labels, ref, new = scored(300, 300, lost=24, gained=24)
    alone = judge(make_cases(labels), ref, new, POLICY).component("sensitivity")
    together = judge(make_cases(labels, np.arange(600) // 4), ref, new, POLICY).component("sensitivity")
    assert together.design_effect > 3.5
    assert "design effect" in together.method
    assert together.difference == pytest.approx(alone.difference)
    assert together.lower < alone.lower
    assert together.beside["obuchowski_p"] >= 0
    rng = np.random.default_rng(0)
    spread = judge(make_cases(labels, rng.permutation(600) % 300), ref, new, POLICY).component("sensitivity")
    assert 1 <= spread.design_effect < 1.6


def test_one_lost_case_leaves_no_more_than_the_patients(scored, make_cases):
    part = clustered(scored, make_cases, 2, lost=1).component("sensitivity")
    assert part.beside["discordant_patients"] == 1
    assert part.beside["effective_patients"] == sum(part.table) == 150
    assert part.difference == pytest.approx(part.candidate - part.reference) == pytest.approx(-1 / 300)
    assert part.lower < clustered(scored, make_cases, 2).component("sensitivity").lower


def test_one_patient_with_many_lost_cases_is_not_one_loss(make_cases):
    """One of 400 patients holds 60 of 459 positives, all lost: patients alone would hide them."""
    patients = np.r_[np.zeros(60, int), np.arange(1, 400), np.arange(1000, 1400)]
    labels = np.r_[np.ones(459, int), np.zeros(400, int)]
    rng = np.random.default_rng(0)
    ref = 0.2 + 0.6 * labels + 0.1 * rng.random(859)
    new = ref.copy()
    new[:60] -= 0.6
    part = judge(make_cases(labels, patients), ref, new, POLICY).component("sensitivity")
    assert part.outcome is not Outcome.NON_INFERIOR
    assert tango_interval(399, 0, 1, 0).lower > -0.02
    assert part.difference == pytest.approx(-60 / 459)


def test_repeating_every_case_proves_nothing_more(make_cases, scored):
    labels, ref, new = scored(120, 400, lost=6, gained=6)
    one = judge(make_cases(labels), ref, new, POLICY)
    five = judge(
        make_cases(np.repeat(labels, 5), np.repeat(np.arange(520), 5)),
        np.repeat(ref, 5),
        np.repeat(new, 5),
        POLICY,
    )
    for name in ("sensitivity", "auroc", "brier"):
        assert five.component(name).lower == pytest.approx(one.component(name).lower, abs=2e-3)
        assert five.component(name).outcome is one.component(name).outcome


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_order_of_cases_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 60))
    labels, ref = rng.integers(0, 2, n), rng.integers(0, 11, n) / 10
    new = np.where(rng.random(n) < 0.1, np.nan, (ref + rng.normal(0, 0.1, n)).clip(0, 1))
    patients, sites, ids = rng.integers(0, n, n), rng.integers(0, 2, n).astype(str), np.arange(n)
    order = rng.permutation(n)

    def run(rows):
        cases = Cases(labels[rows], patients[rows], {"site": sites[rows]}, ids[rows])
        return judge(cases, ref[rows], new[rows], POLICY)

    one, other = run(np.arange(n)), run(order)
    assert one.outcome is other.outcome
    # Summed in another order, a figure may round the other way.
    assert [re.sub(r"\d", "", reason) for reason in one.reasons] == [
        re.sub(r"\d", "", reason) for reason in other.reasons
    ]
    assert {flip.case_id for flip in one.flips} == {flip.case_id for flip in other.flips}
    for first, second in zip(one.components, other.components, strict=True):
        assert first.outcome is second.outcome
        assert (first.lower, first.upper) == pytest.approx((second.lower, second.upper), abs=1e-9, nan_ok=True)


@given(st.integers(0, 10**6), st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_another_loss_never_helps(seed, lost):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.ones(100, int), np.zeros(100, int)]
    patients = np.r_[rng.integers(0, 60, 100), 1000 + np.arange(100)]
    ref = 0.2 + 0.6 * labels + 0.1 * rng.random(200)

    def lower(count, units):
        new = ref + 0.001
        new[:count] -= 0.6
        cases = Cases(labels, units, {}, np.arange(200))
        return judge(cases, ref, new, POLICY).component("sensitivity")

    assert lower(lost + 1, np.arange(200)).lower < lower(lost, np.arange(200)).lower
    assert lower(lost, patients).lower <= lower(lost, np.arange(200)).lower + 1e-12


def test_the_gate_loads_no_framework():
    import subprocess
    import sys

    code = "import sys, primum.validation.gate; print([m for m in ('torch', 'onnxruntime') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def rare_finding(found):
    """Two findings of 1,500 patients; of the 4 with the rare one the candidate finds `found`, the original all."""
    generator = np.random.default_rng(5)
    labels = np.stack([np.arange(1500) % 2, np.arange(1500) < 4], axis=1).astype(np.int64)
    reference = np.clip(labels * 0.6 + 0.2 + generator.normal(0, 0.02, labels.shape), 0, 1)
    candidate = reference.copy()
    candidate[found:4, 1] = 0.4
    names = np.array([f"p{i}" for i in range(1500)])
    cases = Cases(labels, names, {}, names, task=Task.MULTILABEL, classes=("common", "rare"))
    return judge(cases, reference, candidate, ClinicalPolicy())


def test_a_rare_class_that_was_lost_is_no_proof_of_none_lost():
    kept, lost = rare_finding(4), rare_finding(0)
    rare = {part.name: part for part in lost.components}["sensitivity[rare]"]
    assert rare.outcome is Outcome.INSUFFICIENT and rare.difference == -1
    assert lost.outcome is Outcome.INCONCLUSIVE and "sensitivity[rare]" in lost.reasons[0]
    assert kept.outcome is Outcome.NON_INFERIOR


@pytest.mark.parametrize("each", [150, 700])
def test_of_several_classes_one_at_least_has_to_show_its_auroc(each):
    """Three classes, two of `each`, one of 40; every third decision of a thousand cases is close and none changes."""
    generator = np.random.default_rng(7)
    labels = np.repeat([0, 1, 2], [each, each, 40])
    reference = 0.1 + 0.7 * np.eye(3)[labels] + generator.uniform(-0.03, 0.03, (labels.size, 3))
    reference[generator.random(labels.size) < 0.03] = [0.32, 0.33, 0.35]  # the original errs too
    reference /= reference.sum(axis=1, keepdims=True)
    candidate = reference + generator.normal(0, 1e-4, reference.shape)
    candidate /= candidate.sum(axis=1, keepdims=True)
    names = np.array([f"p{i}" for i in range(labels.size)])
    cases = Cases(labels, names, {}, names, task=Task.MULTICLASS, classes=("a", "b", "c"))

    def judged(**more):
        rates = Margins(sensitivity=0.05, specificity=0.05, brier=0.05, **more)
        return judge(cases, reference, candidate, ClinicalPolicy(margins=rates))

    found = judged()
    aurocs = {part.outcome for part in found.components if part.name.startswith("auroc")}
    if each == 150:
        assert aurocs == {Outcome.INSUFFICIENT} and found.outcome is Outcome.INCONCLUSIVE
        assert "auroc" in found.reasons[0] and "of no class that the original ranks" in found.reasons[0]
        assert judged(auroc=0.2).outcome is Outcome.NON_INFERIOR
    else:
        assert aurocs == {Outcome.INSUFFICIENT, Outcome.NON_INFERIOR}
        assert found.outcome is Outcome.NON_INFERIOR, "a rare class is named and does not block"


def three_findings(inverted, groups=None):
    """400 patients, three findings that the original ranks well (AUROC 0.95), the third perhaps the wrong way round."""
    generator = np.random.default_rng(2)
    labels = (generator.random((400, 3)) < 0.3).astype(np.int64)
    scores = np.clip(0.35 + 0.3 * labels + generator.normal(0, 0.13, labels.shape), 0, 1)
    if inverted:
        scores[:, 2] = 1 - scores[:, 2]
    names = np.array([f"p{i}" for i in range(400)])
    return Cases(labels, names, groups or {}, names, task=Task.MULTILABEL, classes=("a", "b", "c")), scores


@pytest.mark.parametrize("inverted", [False, True])
def test_a_finding_that_the_original_does_not_rank_shows_no_ranking(inverted):
    cases, scores = three_findings(inverted)
    found = judge(cases, scores, scores, ClinicalPolicy(margins=Margins(sensitivity=0.1, specificity=0.1, brier=0.05)))
    small = [part.outcome is Outcome.INSUFFICIENT for part in found.components if part.name.startswith("auroc")]
    assert small == [True, True, not inverted]
    assert found.outcome is Outcome.INCONCLUSIVE and any(NO_RANKING in reason for reason in found.reasons)


def test_no_waiver_reaches_a_ranking_that_is_shown_of_no_class():
    cases, scores = three_findings(inverted=False)
    margins = Margins(sensitivity=0.1, specificity=0.1, brier=0.05)
    waived = ClinicalPolicy(margins=margins, waived_subgroups=("class=a", "class=b", "class=c"))
    found = judge(cases, scores, scores, waived)
    assert found.outcome is Outcome.INCONCLUSIVE and NO_RANKING in found.reasons[0]
    assert all(part.n_would_decide > 900 for part in found.components if part.name.startswith("auroc"))
    asked = [str(item) for item in recommend(found, waived, (), (), ()) if "auroc" in str(item)]
    assert asked and not any("None" in text or "waive" in text for text in asked)


@pytest.mark.parametrize(("independent", "said"), [(False, True), (True, False)])
def test_that_no_patient_is_named_is_said(make_cases, independent, said):
    labels, blank = np.arange(400) % 2, np.full(400, "")
    scores = 0.2 + 0.6 * labels
    own = np.array([f"{i}" for i in range(400)])
    found = judge(make_cases(labels, blank, contents=own, independent=independent), scores, scores, POLICY)
    assert any("no patient is named" in reason for reason in found.reasons) is said
