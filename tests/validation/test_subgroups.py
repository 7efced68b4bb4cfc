import numpy as np
import pytest

from primum.config import ClinicalPolicy, Margins
from primum.validation.gate import judge
from primum.validation.verdict import Outcome

WIDE = Margins(sensitivity=0.05, specificity=0.05, auroc=0.02)  # needs 73 of a class, and 190 for the AUROC


def grouped(scored, make_cases, sizes, **changes):
    """One block of cases a level: sizes[level] = (positives, negatives, lost)."""
    parts = [scored(p, n, lost=lost, seed=i) for i, (p, n, lost) in enumerate(sizes.values())]
    labels, ref, new = (np.concatenate(column) for column in zip(*parts, strict=True))
    levels = np.repeat(list(sizes), [p + n for p, n, _ in sizes.values()])
    return judge(make_cases(labels, groups={"site": levels}), ref, new, ClinicalPolicy(margins=WIDE, **changes))


def level(verdict, value):
    return next(s for s in verdict.subgroups if s.value == value)


def test_every_level_passes(scored, make_cases):
    verdict = grouped(scored, make_cases, {"A": (150, 150, 0), "B": (150, 150, 1)})
    assert verdict.outcome is Outcome.NON_INFERIOR
    assert [s.outcome for s in verdict.subgroups] == [Outcome.NON_INFERIOR] * 2
    assert (level(verdict, "B").n, level(verdict, "B").n_positive) == (300, 150)


def test_one_harmed_level_fails_a_candidate_that_passes_overall(scored, make_cases):
    verdict = grouped(scored, make_cases, {"A": (900, 300, 0), "B": (100, 300, 18)})
    assert verdict.component("sensitivity").outcome is Outcome.NON_INFERIOR
    assert level(verdict, "B").outcome is Outcome.INFERIOR
    assert verdict.outcome is Outcome.INFERIOR
    assert "site=B" in verdict.reasons[0]


def test_an_assessable_inconclusive_level_is_inconclusive_overall(scored, make_cases):
    verdict = grouped(scored, make_cases, {"A": (900, 300, 0), "B": (80, 300, 1)})
    assert level(verdict, "B").outcome is Outcome.INCONCLUSIVE
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert level(verdict, "B").components[0].n_would_decide > 80


def test_small_level_is_insufficient_never_a_pass(scored, make_cases):
    sizes = {"A": (300, 300, 0), "B": (20, 30, 0)}
    verdict = grouped(scored, make_cases, sizes)
    small = level(verdict, "B")
    assert small.outcome is Outcome.INSUFFICIENT
    assert [part.n_would_decide for part in small.components] == [73, 73]
    assert verdict.insufficient == ("site=B",)
    assert verdict.outcome is Outcome.NON_INFERIOR
    assert any("site=B" in reason and "73" in reason for reason in verdict.reasons)
    blocked = grouped(scored, make_cases, sizes, block_on_insufficient=True)
    assert blocked.outcome is Outcome.INCONCLUSIVE
    assert "site=B" in blocked.reasons[0]
    waived = grouped(scored, make_cases, sizes, block_on_insufficient=True, waived_subgroups=("site=B",))
    assert waived.outcome is Outcome.NON_INFERIOR
    assert level(waived, "B").waived
    assert any("waived" in reason for reason in waived.reasons)


def test_a_level_with_one_class_is_judged_on_it(scored, make_cases):
    verdict = grouped(scored, make_cases, {"A": (300, 300, 0), "B": (200, 1, 0)})
    labels_only = level(verdict, "B")
    assert [part.outcome for part in labels_only.components] == [Outcome.NON_INFERIOR, Outcome.INSUFFICIENT]
    assert labels_only.outcome is Outcome.INSUFFICIENT
    assert labels_only.reason.startswith("specificity")
    labels, ref, new = scored(200, 200)
    verdict = judge(
        make_cases(labels, groups={"class": np.where(labels == 1, "ill", "well")}), ref, new,
        ClinicalPolicy(margins=WIDE),
    )  # fmt: skip
    assert [len(s.components) for s in verdict.subgroups] == [1, 1]
    assert [s.components[0].name for s in verdict.subgroups] == ["sensitivity", "specificity"]
    assert [s.outcome for s in verdict.subgroups] == [Outcome.NON_INFERIOR] * 2


def test_one_class_sufficient_and_harmed_is_inferior(scored, make_cases):
    verdict = grouped(scored, make_cases, {"A": (900, 300, 0), "B": (100, 10, 18)})
    assert level(verdict, "B").outcome is Outcome.INFERIOR


def test_the_sufficient_class_counts_beside_an_insufficient_one(scored, make_cases):
    verdict = grouped(scored, make_cases, {"A": (900, 300, 0), "B": (80, 10, 1)})
    assert level(verdict, "B").outcome is Outcome.INSUFFICIENT
    assert verdict.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("lost", "outcome"), [(1, Outcome.INSUFFICIENT), (4, Outcome.INSUFFICIENT), (9, Outcome.INFERIOR)]
)
def test_harm_shows_in_spite_of_the_size(scored, make_cases, lost, outcome):
    verdict = grouped(scored, make_cases, {"A": (1500, 300, 0), "B": (20, 30, lost)})
    assert level(verdict, "B").outcome is outcome
    assert (verdict.outcome is Outcome.INFERIOR) == (outcome is Outcome.INFERIOR)


def test_one_lost_case_in_a_level_of_one_is_not_harm_shown(scored, make_cases):
    verdict = grouped(scored, make_cases, {"A": (900, 300, 0), "B": (2, 30, 1)})
    assert level(verdict, "B").outcome is Outcome.INSUFFICIENT


def test_missing_levels_are_reported_last(scored, make_cases):
    verdict = grouped(scored, make_cases, {"": (10, 10, 0), "Z": (200, 200, 0)})
    assert [s.value for s in verdict.subgroups] == ["Z", "(missing)"]
    assert verdict.insufficient == ("site=(missing)",)


def test_patients_not_cases_make_a_level_sufficient(scored, make_cases):
    labels, ref, new = scored(300, 300)
    patients = np.array([f"p{i % 30}" for i in range(600)])
    cases = make_cases(labels, patients, {"site": np.full(600, "A")})
    verdict = judge(cases, ref, new, ClinicalPolicy(margins=WIDE))
    assert verdict.subgroups[0].outcome is Outcome.INSUFFICIENT
    assert "30 patients with positives" in verdict.subgroups[0].reason


def test_brier_is_reported_and_decides_nothing(scored, make_cases):
    labels, ref, _ = scored(300, 300)
    # Every decision stands, every probability of site B drifts towards the threshold.
    sites = np.tile(["A", "B"], 300)
    new = np.where(sites == "B", 0.5 + 0.6 * (ref - 0.5), ref)
    verdict = judge(make_cases(labels, groups={"site": sites}), ref, new, ClinicalPolicy(margins=WIDE))
    (brier,) = level(verdict, "B").reported
    assert (brier.name, brier.outcome) == ("brier", Outcome.INFERIOR)
    inside = sites == "B"
    losses = [((s - labels) ** 2)[inside].mean() for s in (ref, new)]
    assert (brier.reference, brier.candidate) == pytest.approx(losses)
    assert level(verdict, "A").reported[0].difference == 0.0
    assert [s.outcome for s in verdict.subgroups] == [Outcome.NON_INFERIOR] * 2


def test_harm_is_flagged_with_the_number_of_tests_in_mind(scored, make_cases):
    verdict = grouped(scored, make_cases, {"A": (300, 300, 7), "B": (300, 300, 0), "C": (300, 300, 0)})
    a, b, c = verdict.subgroups
    # Seven one-way losses: mid-p 2^-7 two-sided, half of it one-sided, the first of six tests.
    assert a.harm_p_adjusted == pytest.approx(6 * 0.5**8)
    assert (a.harmed, b.harmed, c.harmed) == (True, False, False)
    assert a.outcome is Outcome.NON_INFERIOR  # worse for sure, and for sure not by the margin
    single = grouped(scored, make_cases, {"A": (300, 300, 5), "B": (300, 300, 0), "C": (300, 300, 0)})
    assert 0.5**6 < 0.025 < single.subgroups[0].harm_p_adjusted
    assert not single.subgroups[0].harmed


def test_harm_in_clusters_is_obuchowskis(scored, make_cases):
    labels, ref, new = scored(300, 300, lost=12)
    cases = make_cases(labels, np.arange(600) // 12, {"site": np.full(600, "A")})
    (only,) = judge(cases, ref, new, ClinicalPolicy(margins=WIDE)).subgroups
    # All twelve losses are one patient's: that is one piece of evidence.
    assert only.components[0].beside["discordant_patients"] == 1
    assert only.harm_p_adjusted > 0.1 and not only.harmed
