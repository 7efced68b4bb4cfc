"""Conformal guard bands: how near its threshold the fast model must be before the original is asked too.

What is bounded, and when. Each guard patient has a score s: the largest lead that the fast model had where its
decision differs from the original's, over the patient's cases (0 where all agree). A case is deferred where its lead
is at most the band, so a patient with s <= band has no undetected flip, and an upper order statistic of s bounds the
share of those who have one:

- on average (delta None): the ceil((n + 1)(1 - epsilon))-th smallest of n gives P(undetected flip of a new patient)
  <= epsilon over draws of the guard patients and the new one, if these n + 1 are exchangeable (split conformal
  prediction: Vovk, Gammerman and Shafer 2005, prop. 2.3; Angelopoulos and Bates 2023, thm. 1);
- with confidence 1 - delta: the smallest rank k with P(Bin(n, epsilon) <= n - k) <= delta. The share of undetected
  flips among patients to come is then <= epsilon in all but a share delta of such draws, if patients are independent
  and alike (Vovk 2012, Conditional validity of inductive conformal predictors, prop. 2; the tolerance limit of Wilks
  1941). Ties only make both bounds safer.

By class the same holds among the patients with a case that the original puts in the class, for those cases. As one
band, the largest, serves every class, all the bounds hold together at 1 - delta: if one fails, so does that of the
class with the highest true quantile, whose own band was too low.

Model, threshold, epsilon, delta and the kind of score must be fixed before the guard patients are looked at, and
patients to come must be like them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, expm1, floor, isnan, log, log1p, nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

from primum.config import GuardPolicy
from primum.errors import InputError
from primum.task import Task
from primum.validation.arrays import Bools, Floats, Ints, as_codes
from primum.validation.decisions import Rule
from primum.validation.leads import defers, flip_columns, flip_margins, lead, paired, strict_columns, strict_margins

__all__ = [
    "OVERALL",
    "Band",
    "ClassBand",
    "Stratum",
    "class_band",
    "defers",
    "fit_band",
    "flip_margins",
    "largest",
    "lead",
    "members",
    "patients_needed",
    "rank",
    "smallest_epsilon",
    "stratify",
    "strict_margins",
]

OVERALL = "all"
"""The name of the band of all patients together."""
_ROUNDING = 1e-9
"""Relative slack, so that a figure that is exact in decimals does not fail by its last bit."""
_LARGEST_EPSILON = 0.49
"""A bound that only says "fewer than half" is none, and no policy may ask for one."""


@dataclass(frozen=True, slots=True)
class ClassBand:
    """The band of one class of the original's decisions, or of all patients together."""

    name: str
    n_patients: int
    """Patients with a case that the original puts in this class."""
    band: float | None
    """None: too few patients for epsilon."""
    rank: int | None
    """Which smallest score of the n the band is."""
    needed: int
    """Patients for whom a rank exists at this epsilon (at 0.49 where epsilon is not known)."""
    flips: int
    """Patients with a changed decision in this class; a fast score that is not finite is none, for it is deferred."""


@dataclass(frozen=True, slots=True)
class Band:
    """A guard band with what it was set from. The guard defers a case where its lead is <= `value`."""

    value: float | None
    """In the units of the score; None: there is none, see `reason`."""
    epsilon: float
    """The bound in force; NaN where none was asked and the patients support none."""
    delta: float | None
    by_class: bool
    strict: bool
    n_patients: int
    classes: tuple[ClassBand, ...]
    """Empty unless `by_class`."""
    overall: ClassBand
    smallest_epsilon: float
    """The smallest that these patients support under this policy; NaN where some class has no patient."""
    not_finite: int
    """Guard cases whose fast score is not finite: such cases are always deferred."""
    reason: str = ""
    """Why there is no band, and how many patients of which class it takes."""
    note: str = ""
    """What must be said of a band that exists: that it is 0 and defers nothing, or that scores were not finite."""

    @property
    def active(self) -> bool:
        """Whether the guard does anything."""
        return self.value is not None and self.value > 0


@dataclass(frozen=True, eq=False)
class Stratum:
    """The patients of one class (or all): their scores, and which of them have a flip."""

    name: str
    scores: Floats
    """(n,) the largest margin over the patient's cases in this class."""
    flips: int


def rank(n: int, epsilon: float, delta: float | None) -> int | None:
    """Which smallest of n scores is the band; None where n are too few. InputError unless n >= 0 and both shares lie
    between 0 and 1."""
    _check(epsilon, delta)
    if n < 0:
        raise InputError(f"a number of patients must be >= 0, got {n}")
    if delta is None:
        # ceil((n + 1)(1 - epsilon)), in the form that loses nothing to 1 - epsilon.
        left_over = floor((n + 1) * epsilon * (1 + _ROUNDING))
        return n + 1 - left_over if n and left_over else None
    allowed = bdtr(np.arange(n, dtype=np.float64), n, epsilon) <= delta * (1 + _ROUNDING)
    return n + 1 - int(np.count_nonzero(allowed)) if allowed.any() else None


def patients_needed(epsilon: float, delta: float | None) -> int:
    """The smallest n for which a rank exists: 598 for (0.005, 0.05), 199 for (0.005, None)."""
    _check(epsilon, delta)
    n = ceil(1 / epsilon) - 1 if delta is None else ceil(log(delta) / log1p(-epsilon))
    n = max(1, n - 1)
    while rank(n, epsilon, delta) is None:
        n += 1
    return n


def smallest_epsilon(n: int, delta: float | None) -> float:
    """The smallest epsilon for which n patients have a rank; NaN for none."""
    if n < 1:
        return nan
    return 1 / (n + 1) if delta is None else -expm1(log(delta) / n)


def fit_band(
    rule: Rule,
    classes: tuple[str, ...],
    fast: ArrayLike,
    reference: ArrayLike,
    units: ArrayLike,
    policy: GuardPolicy,
) -> Band:
    """The band that the guard part sets. Scores as `Rule` takes them; `units` (N,) are patients.

    A patient's score is the largest over their cases. By class the band is the largest of those of each class of the
    reference's decision (MULTILABEL: each label present, and absent) and of all patients. `policy.epsilon` None takes
    the smallest that the numbers of patients support, which no score enters.
    InputError on shapes that do not fit, no cases, or a reference score that is not finite.
    """
    strata = stratify(rule, classes, fast, reference, units, policy)
    supported = [smallest_epsilon(len(stratum.scores), policy.delta) for stratum in strata]
    smallest = nan if any(map(isnan, supported)) else max(supported)
    epsilon = policy.epsilon
    if epsilon is None:
        epsilon = smallest if smallest <= _LARGEST_EPSILON else nan
    bands = tuple(class_band(stratum, epsilon, policy.delta) for stratum in strata)
    reason = _why_none(bands, epsilon, policy.delta)
    value = largest(bands)
    broken = int((lead(rule, fast) == -np.inf).sum())
    return Band(
        value=value,
        epsilon=epsilon,
        delta=policy.delta,
        by_class=policy.by_class,
        strict=policy.strict,
        n_patients=bands[0].n_patients,
        classes=bands[1:],
        overall=bands[0],
        smallest_epsilon=smallest,
        not_finite=broken,
        reason=reason,
        note="" if value is None else _note(value, bands[0], broken),
    )


def stratify(
    rule: Rule,
    classes: tuple[str, ...],
    fast: ArrayLike,
    reference: ArrayLike,
    units: ArrayLike,
    policy: GuardPolicy,
) -> tuple[Stratum, ...]:
    """All patients, then those of each class in turn where the policy asks for it; InputError as `fit_band`."""
    new, ref = paired(rule, fast, reference)
    if not len(new):
        raise InputError("a guard band needs cases: the guard part is empty")
    flipped = flip_columns(rule, new, ref)
    scores = strict_columns(rule, new, ref) if policy.strict else flipped
    codes, n_patients = as_codes(units, len(new))
    found = [_stratum(OVERALL, codes, n_patients, scores.max(axis=1), flipped.max(axis=1))]
    for name, column, rows in members(rule, classes, ref) if policy.by_class else ():
        found.append(_stratum(name, codes[rows], n_patients, scores[rows, column], flipped[rows, column]))
    return tuple(found)


def members(rule: Rule, classes: tuple[str, ...], reference: Floats) -> list[tuple[str, int, Bools]]:
    """Each class of the reference's decision: its name, the column of its margins, and its cases (N,)."""
    called = rule.decisions(reference)
    if rule.task is Task.MULTILABEL:
        _check_classes(classes, called.shape[1])
        return [
            (f"{name} {word}", column, called[:, column] == answer)
            for column, name in enumerate(classes)
            for answer, word in ((0, "absent"), (1, "present"))
        ]
    _check_classes(classes, 2 if rule.task is Task.BINARY else reference.shape[1])
    return [(name, 0, called == k) for k, name in enumerate(classes)]


def class_band(stratum: Stratum, epsilon: float, delta: float | None) -> ClassBand:
    """The band of one stratum; `epsilon` NaN gives none."""
    n = len(stratum.scores)
    known = not isnan(epsilon)
    place = rank(n, epsilon, delta) if known else None
    band = None if place is None else float(np.sort(stratum.scores)[place - 1])
    needed = patients_needed(epsilon if known else _LARGEST_EPSILON, delta)
    return ClassBand(stratum.name, n, band, place, needed, stratum.flips)


def largest(bands: tuple[ClassBand, ...]) -> float | None:
    """The one band that serves every stratum; None where one of them has none."""
    values = [part.band for part in bands if part.band is not None]
    return max(values) if len(values) == len(bands) else None


def _stratum(name: str, codes: Ints, n_patients: int, scores: Floats, flipped: Floats) -> Stratum:
    """The patients among `codes` (n,), each with the largest of their cases."""
    held = np.bincount(codes, minlength=n_patients) > 0
    by_patient, flips = np.zeros(n_patients), np.zeros(n_patients)
    np.maximum.at(by_patient, codes, scores)
    np.maximum.at(flips, codes, flipped)
    return Stratum(name, by_patient[held], int(np.count_nonzero(flips)))


def _why_none(bands: tuple[ClassBand, ...], epsilon: float, delta: float | None) -> str:
    lacking = [part for part in bands if part.band is None]
    if isnan(epsilon):
        lacking = [part for part in bands if part.n_patients < part.needed]
        bound = "no epsilon below 0.5"
    else:
        bound = f"epsilon {epsilon:g}"
    if not lacking:
        return ""
    how = "on average" if delta is None else f"with confidence {1 - delta:g}"
    parts = [
        f"{part.n_patients} of {part.needed} needed" + ("" if part.name == OVERALL else f" in class {part.name}")
        for part in lacking
    ]
    verb = "support" if isnan(epsilon) else "are too few for"
    return f"the guard part's patients {verb} {bound} {how}: " + ", ".join(parts)


def _note(value: float, overall: ClassBand, broken: int) -> str:
    notes = []
    if value == 0:
        notes.append(
            f"the band is 0, so the guard adds nothing: {overall.flips} of {overall.n_patients} guard patients have a "
            "changed decision, no more than epsilon allows"
        )
    if broken:
        notes.append(f"{broken} fast scores were not finite: such cases are always deferred")
    return "; ".join(notes)


def _check(epsilon: float, delta: float | None) -> None:
    for name, share in (("epsilon", epsilon), ("delta", delta)):
        if share is not None and not 0 < share < 1:
            raise InputError(f"{name} must lie between 0 and 1, got {share}")


def _check_classes(classes: tuple[str, ...], wanted: int) -> None:
    if len(classes) != wanted:
        raise InputError(f"the scores have {wanted} classes, but {len(classes)} are named")
