"""From an interval and a margin to a `Component`: the rules and words that every endpoint shares."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan, nan
from typing import Any

from primum.config import ClinicalPolicy, kind_of
from primum.validation.intervals import Interval
from primum.validation.verdict import Basis, Component, Outcome

_TOO_MANY = 10**8
_MARGIN_OF = {"accuracy": "sensitivity"}
"""Endpoints that have the margin of another kind."""


def named(kind: str, view: str) -> str:
    """ "sensitivity[melanoma]"; the kind itself where there is no view."""
    return f"{kind}[{view}]" if view else kind


def margin_of(name: str, policy: ClinicalPolicy) -> tuple[float, bool]:
    """The margin of an endpoint and whether it was given; NaN where none was and there is no default.

    That of "accuracy" is the sensitivity's; that of "agreement" is the policy's tolerance. An output of a regression
    may have its own.
    """
    kind, output = kind_of(name), name.partition("[")[2].removesuffix("]")
    if kind == "agreement":
        (tolerance,) = policy.tolerances_of((output,))
        return tolerance, not isnan(tolerance)
    if kind == "error" and output in policy.error_margins:
        return policy.error_margins[output], True
    kind = _MARGIN_OF.get(kind, kind)
    return policy.margins.value(kind), policy.margins.given(kind)


def outcome_of(lower: float, upper: float, margin: float) -> Outcome:
    """The three outcomes of an interval against a margin."""
    if lower > -margin:
        return Outcome.NON_INFERIOR
    return Outcome.INFERIOR if upper < -margin else Outcome.INCONCLUSIVE


def decided(
    name: str,
    policy: ClinicalPolicy,
    interval: Interval,
    would: Callable[[], int | None],
    noun: str,
    figures: dict[str, Any],
) -> Component:
    """The component that `interval` decides.

    `would` finds the number of units that would decide and is asked only where needed; `noun` names the
    units, and `figures` holds the remaining fields.
    """
    margin, given = margin_of(name, policy)
    outcome = outcome_of(interval.lower, interval.upper, margin)
    inconclusive = outcome is Outcome.INCONCLUSIVE and interval.estimate > -margin
    needed = would() if inconclusive else None
    return Component(
        name=name,
        outcome=outcome,
        basis=Basis.STATISTICAL,
        difference=interval.estimate,
        lower=interval.lower,
        upper=interval.upper,
        margin=margin,
        margin_given=given,
        n_would_decide=needed,
        reason=_explain(outcome, f"{figures['n_patients']} {noun}", margin, interval, needed),
        **figures,
    )


def not_assessed(name: str, policy: ClinicalPolicy, reason: str, **figures: Any) -> Component:
    """An endpoint that could not be judged, with the reason; `figures` are those known in spite of it.

    The `difference` among them, negative for a loss, is candidate - reference unless it is given: where less is better.
    """
    margin, given = margin_of(name, policy)
    known = {"reference": nan, "candidate": nan, "n": 0, "n_patients": 0} | figures
    known.setdefault("difference", known["candidate"] - known["reference"])
    return Component(
        name=name,
        outcome=Outcome.NOT_ASSESSED,
        basis=Basis.STATISTICAL,
        lower=nan,
        upper=nan,
        margin=margin,
        margin_given=given,
        method="none",
        reason=reason,
        **known,
    )


def identical(name: str, policy: ClinicalPolicy, what: str, **figures: Any) -> Component:
    """An endpoint that cannot differ on these cases; `what` says why."""
    margin, given = margin_of(name, policy)
    return Component(
        name=name,
        outcome=Outcome.NON_INFERIOR,
        basis=Basis.IDENTITY,
        difference=0.0,
        lower=0.0,
        upper=0.0,
        margin=margin,
        margin_given=given,
        method=what,
        **figures,
    )


def smallest_passing(passes: Callable[[int], bool], start: int) -> int | None:
    """The smallest n >= 2 that passes, for a test that more cases make easier; None above 10^8."""
    high = max(2, start)
    while not passes(high):
        high *= 2
        if high > _TOO_MANY:
            return None
    low = 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


def _explain(outcome: Outcome, units: str, margin: float, interval: Interval, needed: int | None) -> str:
    if outcome is Outcome.NON_INFERIOR:
        return ""
    if outcome is Outcome.INFERIOR:
        figures = f"{interval.estimate:+.3f} ({interval.lower:+.3f} to {interval.upper:+.3f})"
        return f"the candidate is worse by more than the margin of {margin:.3f}: {figures}"
    start = f"{units} cannot decide a margin of {margin:.3f}: "
    if needed is None:
        return start + f"the difference seen so far ({interval.estimate:+.3f}) gives no number that would"
    return start + f"with the differences seen so far about {needed} would"
