"""Too small to decide: INSUFFICIENT in place of a verdict that so few patients could not have reached otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, sqrt

from scipy.special import stdtr

from primum.config import kind_of
from primum.validation.clustered import clustered_critical
from primum.validation.means import t_quantile
from primum.validation.outcomes import smallest_passing
from primum.validation.power import required_positives
from primum.validation.unseen import UnseenLoss
from primum.validation.verdict import Component, Outcome

_FEW = 5
"""With fewer patients of a class an AUROC below another is not harm shown, as with fewer one-way losses of a rate."""
NO_RANKING = "of no class that the original ranks are there the patients that its AUROC needs"
_WEAK = (Outcome.INCONCLUSIVE, Outcome.NOT_ASSESSED)


def mark_rate(part: Component, noun: str, confidence: float) -> Component:
    """INSUFFICIENT where even zero flips could not decide, unless harm shows in spite of the size.

    Harm shows where the whole interval lies beyond the margin *and* the losses are more than chance by the
    exact test on patients (five or more one-way losses at 95 %): one lost case in a level of one is not harm
    shown.
    """
    needed = _without_flip(part, confidence)
    if needed is None or part.n_patients >= needed:
        return part
    if part.outcome is Outcome.INFERIOR and _midp(part) < 1 - confidence:
        return part
    kind = noun if part.n_patients == part.n else f"patients with {noun}"
    have = f"{part.n_patients} {kind} are too few for a margin of {part.margin:.3f}"
    reason = f"{have}: even with no flip {needed} are needed"
    return replace(part, outcome=Outcome.INSUFFICIENT, n_would_decide=needed, reason=reason)


def mark_mean(part: Component, confidence: float) -> Component:
    """INSUFFICIENT where fewer than two patients make it, or where even a difference of zero would not pass, the
    half-width being beyond the margin; unless harm or its absence shows in spite of the size."""
    if part.n_patients < 2:
        reason = "one patient has no variance"
        return replace(part, outcome=Outcome.INSUFFICIENT, n_would_decide=None, reason=reason)
    by_t, seen = part.beside.get("seen_lower", part.lower), UnseenLoss.of_part(part, confidence)
    half, unseen = part.difference - by_t, None if seen is None else replace(seen, mean=0.0)
    # What t alone finds INCONCLUSIVE stays so: a loss that was seen is no lack of patients.
    few = unseen is not None and by_t > -part.margin and unseen.lower() <= -part.margin
    if part.outcome is not Outcome.INCONCLUSIVE or not (few or half > part.margin):
        return part

    def passes(count: int) -> bool:
        scale = t_quantile(confidence, count - 1) / t_quantile(confidence, part.n_patients - 1)
        enough = half * scale * sqrt(part.n_patients / count) < part.margin
        return enough and (unseen is None or unseen.lower(count) > -part.margin)

    needed = smallest_passing(passes, part.n_patients)
    kind = "cases" if part.n_patients == part.n else "patients"
    have = f"{part.n_patients} {kind} are too few for a margin of {part.margin:.3f}"
    reason = have + (f": even with no difference about {needed} are needed" if needed else "")
    return replace(part, outcome=Outcome.INSUFFICIENT, n_would_decide=needed, reason=reason)


def mark_unseen(part: Component, confidence: float) -> Component:
    """INSUFFICIENT where so few patients could not exclude a loss that none of them shows, had nothing changed at all;
    `part` is an AUROC or a Brier score."""
    none = UnseenLoss.nothing_seen(part, confidence)
    if part.outcome is not Outcome.INCONCLUSIVE or none is None or none.lower() > -part.margin:
        return part
    if part.beside["seen_lower"] <= -part.margin:
        return part  # a loss that was seen is no lack of patients
    needed = smallest_passing(lambda count: none.lower(count) > -part.margin, none.patients)
    kind = "patients of the rarer class" if kind_of(part.name) == "auroc" else "patients"
    have = f"{none.patients} {kind} are too few for a margin of {part.margin:.3f}"
    reason = have + (f": even with no change {needed} are needed" if needed else "")
    # Said of an AUROC in all its cases, as where it is INCONCLUSIVE.
    of_all = ceil(needed * part.n_patients / none.patients) if needed else None
    return replace(part, outcome=Outcome.INSUFFICIENT, n_would_decide=of_all, reason=reason)


def mark_rare(part: Component, smaller: int, rate: Component) -> Component:
    """INSUFFICIENT where a class is too rare and its AUROC or Brier score, too, decides nothing; `smaller` is the
    number of patients of the smaller side, `rate` what is INSUFFICIENT of the class."""
    unfounded = part.outcome is Outcome.INFERIOR and smaller < _FEW
    if part.outcome in _WEAK or unfounded:
        why = f"too rare a class, as {rate.name} says: {rate.reason}"
        return replace(part, outcome=Outcome.INSUFFICIENT, reason=why)
    return part


def ranking_shown(components: Sequence[Component], confidence: float) -> bool:
    """Whether the AUROC of one class at least could be judged, of those that the reference is shown to rank.

    Rates that are too few in each class have pooled ones beside them, and the Brier score is pooled; AUROC is not. A
    class that the reference does not rank has little to lose, takes few patients, and says nothing of the others.
    """
    return any(
        part.outcome is not Outcome.INSUFFICIENT and is_ranked(part, confidence)
        for part in components
        if kind_of(part.name) == "auroc"
    )


def is_ranked(part: Component, confidence: float) -> bool:
    """Whether the reference's AUROC is above 1/2, by a variance that none exceeds: A(1 - A) over the patients of the
    rarer class (Birnbaum and Klose 1957, Ann Math Stat 28:933)."""
    held = part.beside.get("effective_patients", part.beside.get("unseen_patients", 0.0))
    if not held or not part.reference > 0.5:
        return False
    reach = t_quantile(confidence, max(held - 1, 1.0)) * sqrt(part.reference * (1 - part.reference) / held)
    return part.reference - reach > 0.5


def harm_p_value(part: Component) -> float | None:
    """One-sided p-value of "no worse than the reference"; None where the component has no test.

    Rates: McNemar's mid-p, where clustered Obuchowski's test; means: t of the patients.
    """
    if "obuchowski_p" in part.beside:
        two_sided, toward = part.beside["obuchowski_p"], part.beside["case_difference"]
    elif "mcnemar_midp" in part.beside and "case_difference" not in part.beside:
        two_sided, toward = part.beside["mcnemar_midp"], part.difference
    elif part.beside.get("standard_error", 0.0) > 0:
        return float(stdtr(part.beside["degrees_of_freedom"], part.difference / part.beside["standard_error"]))
    else:
        return None
    return two_sided / 2 if toward < 0 else 1 - two_sided / 2


def _without_flip(part: Component, confidence: float) -> int | None:
    """Patients that pass with no flip, at z²/(n + z²); those with several cases count as what they are worth."""
    worth = part.beside.get("effective_patients")
    if worth is None:
        return required_positives(part.margin, (1 - confidence) / 2)
    each = worth / part.n_patients

    def passes(count: int) -> bool:
        critical = clustered_critical(confidence, each * count)
        return each * count > critical**2 * (1 - part.margin) / part.margin

    return smallest_passing(passes, part.n_patients)


def _midp(part: Component) -> float:
    return part.beside.get("mcnemar_midp_patients", part.beside["mcnemar_midp"])
