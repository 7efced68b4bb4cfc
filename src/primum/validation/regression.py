"""Numbers in clinical units: the paired error by a t interval, and Bland-Altman agreement with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.validation.arrays import Bools, Floats, as_codes, as_scores, check_confidence
from primum.validation.cases import Cases
from primum.validation.intervals import Interval
from primum.validation.means import t_quantile
from primum.validation.outcomes import decided, margin_of, named, not_assessed, smallest_passing
from primum.validation.proportions import clopper_pearson_interval
from primum.validation.scores import judge_loss
from primum.validation.sufficiency import mark_mean
from primum.validation.verdict import Component, Outcome

_Z = 1.96
"""The limits are those of 95 % of the differences, whatever the confidence of their bounds; rounded as published."""
BEYOND = 0.05
"""The share of patients that limits of agreement of 95 % leave outside."""
NO_MARGIN = "no margin for the error was given (--error-margin, in units of the label)"
NO_TOLERANCE = "no tolerance was given (the difference, in units of the label, that changes no care)"


@dataclass(frozen=True, slots=True)
class LimitsOfAgreement:
    """Bland-Altman bias and 95 % limits of first - second, each with its confidence interval."""

    bias: Interval
    lower: Interval
    upper: Interval
    standard_deviation: float
    n: int
    n_units: int
    degenerate: bool = False
    """True: one unit; there are no limits."""


def bland_altman(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, clusters: ArrayLike | None = None
) -> LimitsOfAgreement:
    """Bias and 95 % limits of agreement of first - second (N,) (Bland and Altman 1986, Lancet i:307).

    The limits' bounds are limit -/+ t SD sqrt(1/n + z²/(2(n - 1))) (Bland and Altman 1999, SMMR 8:135). With
    `clusters` (N,) the SD is that of one difference of one patient, between patients and within (1999, section 5.3:
    the true value varies), and n is the number of patients, in 1/n their effective number N²/sum(n_g²).
    InputError on lengths that differ, or values that are not finite.
    """
    a = np.asarray(first, dtype=np.float64)
    if a.ndim != 1 or not a.size:
        raise InputError(f"agreement needs non-empty vectors, got shape {a.shape}")
    gaps = as_scores(a, a.size, "first") - as_scores(second, a.size, "second")
    check_confidence(confidence)
    codes, units = as_codes(np.arange(gaps.size) if clusters is None else clusters, gaps.size)
    bias = float(gaps.mean())
    if units < 2:
        none = Interval(nan, nan, nan, confidence)
        return LimitsOfAgreement(Interval(bias, nan, nan, confidence), none, none, nan, gaps.size, units, True)
    sizes = np.bincount(codes)
    spread = sqrt(_variance(gaps, codes, sizes))
    shares = float(np.sum(sizes**2)) / gaps.size**2
    t = t_quantile(confidence, units - 1)
    around = t * spread * sqrt(shares)
    half = t * spread * sqrt(shares + _Z**2 / (2 * (units - 1)))
    low, high = bias - _Z * spread, bias + _Z * spread
    return LimitsOfAgreement(
        Interval(bias, bias - around, bias + around, confidence),
        Interval(low, low - half, low + half, confidence),
        Interval(high, high - half, high + half, confidence),
        spread,
        int(gaps.size),
        units,
    )


@dataclass(frozen=True, eq=False)
class Values:
    """The outputs of both models on the cases of a regression, (N, D), as they are judged."""

    cases: Cases
    reference: Floats
    candidate: Floats
    """Finite: an output that was not is the worst of its column, `worst_values`."""
    broken: Bools
    """(N, D) where the candidate's output was not finite."""

    @classmethod
    def of(cls, cases: Cases, reference: Floats, candidate: Floats) -> Values:
        """From outputs of which the reference's are finite."""
        return cls(cases, reference, worst_values(cases.labels, reference, candidate), ~np.isfinite(candidate))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names that endpoints carry: empty where there is one output."""
        return self.cases.classes if self.reference.shape[1] > 1 else ("",)


def worst_values(labels: Floats, reference: Floats, candidate: Floats) -> Floats:
    """The candidate's outputs (N, D), each that is not finite put as far from label and reference as any seen.

    It lies beyond both, away from them, by the whole range of the column's labels and finite outputs: no case with an
    output has a larger error, and none is dropped.
    """
    finite = np.isfinite(candidate)
    reach = reach_of(labels, reference, np.where(finite, candidate, reference))
    return np.where(finite, candidate, np.maximum(labels, reference) + reach)


def reach_of(*values: Floats) -> Floats:
    """(D,) the range of each column of `values` (N, D) together: no error within it is larger."""
    seen = np.stack(values)
    return np.asarray(seen.max(axis=(0, 1)) - seen.min(axis=(0, 1)))


def moved(values: Values, tolerances: Sequence[float]) -> tuple[Bools, Bools]:
    """(N, D) outputs that moved by more than their tolerances (D,): those whose error grew, and the others.

    An output that is not finite is always one whose error grew; without a tolerance (NaN) no other is.
    """
    far = np.abs(values.candidate - values.reference) > np.asarray(tolerances)
    labels = values.cases.labels
    grew = np.abs(values.candidate - labels) > np.abs(values.reference - labels)
    return np.asarray((far & grew) | values.broken), np.asarray(far & ~grew & ~values.broken)


def judge_values(values: Values, policy: ClinicalPolicy) -> tuple[Component, ...]:
    """For each output its error, then for each its agreement with the reference."""
    everyone = np.ones(len(values.cases), dtype=np.bool_)
    errors = _errors(values, everyone, policy)
    limits = [_agreement(values, d, name, policy) for d, name in enumerate(values.outputs)]
    return (*errors, *limits)


def judge_level(values: Values, member: Bools, policy: ClinicalPolicy) -> tuple[list[Component], tuple[Component, ...]]:
    """(deciding, reported) components of the cases in `member` (N,): the errors."""
    parts = _errors(values, member, policy)
    return [part if isnan(part.margin) else mark_mean(part, policy.confidence) for part in parts], ()


def _errors(values: Values, member: Bools, policy: ClinicalPolicy) -> list[Component]:
    cases = values.cases
    units = cases.units[member]
    parts = []
    for d, output in enumerate(values.outputs):
        name = named("error", output)
        before, after = (np.abs(v[member, d] - cases.labels[member, d]) for v in (values.reference, values.candidate))
        if isnan(margin_of(name, policy)[0]):
            figures: dict[str, Any] = {"n": int(units.size), "n_patients": int(np.unique(units).size)}
            means = {"reference": float(before.mean()), "candidate": float(after.mean())}
            figures["difference"] = means["reference"] - means["candidate"]
            part = not_assessed(name, policy, NO_MARGIN, **means, **figures)
        else:
            part = judge_loss(name, before, after, units, policy, worst=reach_of(cases.labels, values.reference)[d])
        parts.append(replace(part, view=output))
    return parts


def _agreement(values: Values, d: int, output: str, policy: ClinicalPolicy) -> Component:
    """The limits of agreement must lie within the tolerance, with their confidence bounds.

    So must 95 % of the patients, whatever the distribution: Clopper-Pearson's bound of the share of whom some case
    moved by more than the tolerance is at most 5 %, or the endpoint is INCONCLUSIVE.
    """
    name, units = named("agreement", output), values.cases.units
    ref, new = values.reference[:, d], values.candidate[:, d]
    found = bland_altman(new, ref, policy.confidence, units)
    figures: dict[str, Any] = {
        "reference": float(ref.mean()),
        "candidate": float(new.mean()),
        "n": found.n,
        "n_patients": found.n_units,
    }
    tolerance, _ = margin_of(name, policy)
    if isnan(tolerance):
        part = not_assessed(name, policy, NO_TOLERANCE, **figures)
    elif found.degenerate:
        part = not_assessed(name, policy, "one patient has no variance", **figures)
    else:
        moved = np.unique(units[np.abs(new - ref) > tolerance]).size
        part = _decide_limits(name, found, moved, policy, figures)
    return replace(part, view=output)


def _decide_limits(
    name: str, found: LimitsOfAgreement, moved: int, policy: ClinicalPolicy, figures: dict[str, Any]
) -> Component:
    tolerance, _ = margin_of(name, policy)
    farther = max(-found.lower.estimate, found.upper.estimate)
    nearest = -max(-found.lower.upper, found.upper.lower)
    interval = Interval(-farther, -max(-found.lower.lower, found.upper.upper), nearest, policy.confidence)
    share = clopper_pearson_interval(moved, found.n_units, policy.confidence)
    figures["method"] = "Bland-Altman 95 % limits with confidence bounds" + (
        ", patients as units" if found.n_units < found.n else ""
    )
    figures["beside"] = {
        "bias": found.bias.estimate,
        "bias_lower": found.bias.lower,
        "bias_upper": found.bias.upper,
        "standard_deviation": found.standard_deviation,
        "limit_lower": found.lower.estimate,
        "limit_upper": found.upper.estimate,
        "share_moved": share.estimate,
        "share_moved_upper": share.upper,
    }

    def passes(count: int) -> bool:
        scale = t_quantile(policy.confidence, count - 1) / t_quantile(policy.confidence, found.n_units - 1)
        return (
            interval.estimate - (interval.estimate - interval.lower) * scale * sqrt(found.n_units / count) > -tolerance
        )

    noun = "patients" if found.n_units < found.n else "cases"
    part = decided(name, policy, interval, lambda: smallest_passing(passes, found.n_units), noun, figures)
    if part.outcome is Outcome.NON_INFERIOR and share.upper > BEYOND:
        return _too_few_within(part, share, moved, tolerance)
    if part.outcome is not Outcome.INFERIOR:
        return part
    limits = f"{found.lower.estimate:+.3g} to {found.upper.estimate:+.3g}"
    return replace(part, reason=f"the 95 % limits of agreement ({limits}) lie beyond the tolerance of {tolerance:.3g}")


def _too_few_within(part: Component, share: Interval, moved: int, tolerance: float) -> Component:
    """INCONCLUSIVE: the limits would pass, but so few patients do not show that 95 % lie within the tolerance."""

    def passes(count: int) -> bool:
        return clopper_pearson_interval(share.estimate * count, count, share.confidence).upper <= BEYOND

    needed = smallest_passing(passes, part.n_patients) if share.estimate < BEYOND else None
    reason = (
        f"{moved} of {part.n_patients} patients moved by more than the tolerance of {tolerance:.3g}: up to "
        f"{share.upper:.1%} may" + (f"; with the same share about {needed} would show at most 5 %" if needed else "")
    )
    return replace(part, outcome=Outcome.INCONCLUSIVE, n_would_decide=needed, reason=reason)


def _variance(gaps: Floats, codes: NDArray[Any], sizes: NDArray[Any]) -> float:
    """Of one difference of one patient: between patients and within, by one-way analysis of variance."""
    n, units = gaps.size, sizes.size
    if units == n:
        return float(gaps.var(ddof=1))
    means = np.bincount(codes, weights=gaps) / sizes
    within = float(np.sum((gaps - means[codes]) ** 2)) / (n - units)
    between = float(np.sum(sizes * (means - gaps.mean()) ** 2)) / (units - 1)
    mean_size = (n * n - float(np.sum(sizes**2))) / ((units - 1) * n)
    return within + max(0.0, (between - within) / mean_size)
