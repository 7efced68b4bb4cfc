"""What a set of cases can show: planned power before the first trial, and the odds of a confirmation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, nan, prod, sqrt

from scipy.special import ndtr, ndtri

from primum.config import Margins, kind_of
from primum.errors import InputError
from primum.validation.classification import POOLED
from primum.validation.power import power_noninferiority, required_positives, smallest_margin
from primum.validation.sufficiency import is_ranked
from primum.validation.unseen import UnseenLoss
from primum.validation.verdict import Basis, Component, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """What `n` cases of one class can show."""

    name: str
    n: int
    margin: float
    power: float
    """Exact power at the assumed loss and gain; NaN without cases."""
    required: int
    """Cases needed even with no flip."""
    smallest_margin: float
    """The margin that n cases reach with no flip: z²/(n + z²)."""
    margin_80: float | None
    """The smallest margin, in steps of 0.001, with 80 % power; None where there is none below 1."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Planned power of both co-primary endpoints at the assumed loss and gain."""

    sensitivity: EndpointPlan
    specificity: EndpointPlan
    loss: float
    gain: float
    confidence: float


def plan(
    n_positive: int,
    n_negative: int,
    margins: Margins,
    loss: float = 0.005,
    gain: float = 0.005,
    confidence: float = 0.95,
) -> Plan:
    """What n positives and n negatives can show at `margins`, if a share `loss` of decisions is lost and
    `gain` won.

    InputError on negative counts or impossible rates.
    """
    if n_positive < 0 or n_negative < 0:
        raise InputError(f"counts of cases must be >= 0, got {n_positive} and {n_negative}")
    parts = [
        _plan_endpoint(name, n, margins.value(name), loss, gain, (1 - confidence) / 2)
        for name, n in (("sensitivity", n_positive), ("specificity", n_negative))
    ]
    return Plan(parts[0], parts[1], loss, gain, confidence)


def predict_confirmation(verdict: Verdict, n_patients_ratio: float) -> float:
    """The probability that the judged candidate passes on a set with `ratio` times as many patients.

    Rates: exact power at the effective counts seen, with rates shrunk to (x + 0.5)/(n + 1); those of one binary
    question (sensitivity and specificity) multiplied, for they share no case. Other endpoints: normal, with the
    standard error shrunk by the root of the ratio, against the bound that so many patients give. Subgroups of one
    column that will be large enough: multiplied, for they share no case. The smallest of these is returned, for they
    all rest on the same cases. 0 where an endpoint is missing, was not assessed or was INFERIOR, and where of no
    class that the original ranks there will be the patients that its AUROC needs; 1 for a lossless
    candidate, whose confirmation does not rest on numbers.
    InputError unless the ratio is positive.
    """
    if not n_patients_ratio > 0:
        raise InputError(f"the ratio of patients must be positive, got {n_patients_ratio}")
    if verdict.outcome is Outcome.NON_INFERIOR and verdict.basis is Basis.NUMERIC:
        return 1.0
    judged = {part.name for part in verdict.components}
    if not judged or not judged.issuperset(POOLED.get(verdict.task, ())):
        return 0.0
    alpha = (1 - verdict.confidence) / 2
    if _no_ranking(verdict, n_patients_ratio):
        return 0.0
    scores = [_stay_above(part, n_patients_ratio, alpha) for part in verdict.components if part.table is None]
    return float(min([*_decisions_pass(verdict, n_patients_ratio, alpha), *scores]))


def predict_unchanged(verdict: Verdict, n_patients_ratio: float) -> float:
    """What `predict_confirmation` foretells, by decisions, of a candidate that decides these cases as the original
    does: the most that may be asked of any. Endpoints of scores are not counted, so that it is never too low.
    """
    groups = tuple(replace(g, components=tuple(map(_unchanged, g.components))) for g in verdict.subgroups)
    same = replace(verdict, components=tuple(map(_unchanged, verdict.components)), subgroups=groups)
    return float(min([1.0, *_decisions_pass(same, n_patients_ratio, (1 - verdict.confidence) / 2)]))


def _unchanged(part: Component) -> Component:
    if part.table is None:
        return part
    right, gained, lost, wrong = part.table
    outcome = part.outcome if part.outcome is Outcome.INSUFFICIENT else Outcome.INCONCLUSIVE
    return replace(part, table=(right + lost, 0.0, 0.0, wrong + gained), outcome=outcome)


def _decisions_pass(verdict: Verdict, ratio: float, alpha: float) -> list[float]:
    """Of the rates of each view, and of the subgroups of each column, that all pass together."""
    rates: dict[str, float] = {}
    for part in verdict.components:
        if part.table is not None:
            chance = _pass_if_large if part.outcome is Outcome.INSUFFICIENT else _pass_again
            rates[part.view] = rates.get(part.view, 1.0) * chance(part, ratio, alpha)
    columns: dict[str, float] = {}
    for group in verdict.subgroups:
        odds = prod(_pass_if_large(part, ratio, alpha) for part in group.components)
        columns[group.column] = columns.get(group.column, 1.0) * odds
    return [*rates.values(), *columns.values()]


def _stay_above(part: Component, ratio: float, alpha: float) -> float:
    """1 for a class too rare to be judged: it decides nothing."""
    if part.outcome in (Outcome.INFERIOR, Outcome.NOT_ASSESSED):
        return 0.0
    if part.outcome is Outcome.INSUFFICIENT and not _will_suffice(part, ratio, 1 - 2 * alpha):
        return 1.0
    z = float(ndtri(1 - alpha))
    half = (part.difference - part.beside.get("seen_lower", part.lower)) / sqrt(ratio)
    error, unseen = half / z, UnseenLoss.of_part(part, 1 - 2 * alpha)
    if unseen is not None:
        half = max(half, part.difference - unseen.lower(max(2, floor(unseen.patients * ratio))))
    spare = part.margin + part.difference - half
    return float(ndtr(spare / error)) if error > 0 else float(spare > 0)


def _no_ranking(verdict: Verdict, ratio: float) -> bool:
    """Whether the gate will miss a ranking of several classes (`ranking_shown`); of one `_stay_above` says so."""
    confidence = verdict.confidence
    aurocs = [part for part in verdict.components if part.view and kind_of(part.name) == "auroc"]
    enough = [_will_suffice(part, ratio, confidence) for part in aurocs]
    ranked = any(will and is_ranked(part, confidence) for part, will in zip(aurocs, enough))
    return not all(enough) and not ranked


def _will_suffice(part: Component, ratio: float, confidence: float) -> bool:
    """Whether `ratio` times as many patients could exclude a loss that none of them shows, were nothing changed."""
    none = UnseenLoss.nothing_seen(part, confidence)
    return none is None or none.lower(max(2, floor(none.patients * ratio))) > -part.margin


def _pass_if_large(part: Component, ratio: float, alpha: float) -> float:
    """1 for a subgroup that will be too small to be judged, and so cannot fail."""
    if part.table is None or sum(part.table) * ratio < required_positives(part.margin, alpha):
        return 1.0
    return _pass_again(part, ratio, alpha)


def _pass_again(part: Component, ratio: float, alpha: float) -> float:
    if part.table is None or part.outcome is Outcome.INFERIOR:
        return 0.0
    _, gained, lost, _ = part.table
    seen = sum(part.table)
    n = floor(seen * ratio + 1e-9)
    if n < 1:
        return 0.0
    # With one or two cases the shrunk rates can exceed 1 together; nothing passes there anyway.
    loss, gain = (lost + 0.5) / (seen + 1), (gained + 0.5) / (seen + 1)
    return power_noninferiority(n, loss, gain, part.margin, alpha).power if loss + gain <= 1 else 0.0


def _plan_endpoint(name: str, n: int, margin: float, loss: float, gain: float, alpha: float) -> EndpointPlan:
    power = power_noninferiority(n, loss, gain, margin, alpha).power if n else nan
    reachable = _margin_with_power(n, loss, gain, alpha) if n else None
    needed = required_positives(margin, alpha)
    return EndpointPlan(name, n, margin, power, needed, smallest_margin(n, alpha), reachable)


def _margin_with_power(n: int, loss: float, gain: float, alpha: float, goal: float = 0.8) -> float | None:
    """The smallest multiple of 0.001 at which the power reaches `goal`, by bisection: power grows with the
    margin."""

    def enough(thousandths: int) -> bool:
        return power_noninferiority(n, loss, gain, thousandths / 1000, alpha).power >= goal

    low, high = 0, 999
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high / 1000
