"""About the band that a guard part would set, told from other cases: for choosing what is guarded beforehand."""

from __future__ import annotations

from dataclasses import replace

from numpy.typing import ArrayLike

from primum.config import GuardPolicy
from primum.validation.conformal import Band, class_band, fit_band, largest, smallest_epsilon, stratify
from primum.validation.decisions import Rule


def forecast_band(
    rule: Rule,
    classes: tuple[str, ...],
    fast: ArrayLike,
    reference: ArrayLike,
    units: ArrayLike,
    policy: GuardPolicy,
) -> Band:
    """A band that bounds nothing: these cases may be fewer than epsilon asks for, and may choose among candidates.

    A class with too few patients for epsilon gives its largest score, one without patients gives nothing.
    Arguments and InputError as `fit_band`.
    """
    held = [s for s in stratify(rule, classes, fast, reference, units, policy) if len(s.scores)]
    least = [smallest_epsilon(len(stratum.scores), policy.delta) for stratum in held]
    asked = max(least) if policy.epsilon is None else policy.epsilon
    bands = tuple(class_band(s, max(asked, own), policy.delta) for s, own in zip(held, least))
    return replace(fit_band(rule, classes, fast, reference, units, policy), value=largest(bands), reason="", note="")
