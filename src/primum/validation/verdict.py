"""What validation says of a candidate against the original: plain frozen data, and every number behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """The four verdicts, and INSUFFICIENT, which only a subgroup can have."""

    NON_INFERIOR = "NON_INFERIOR"
    INFERIOR = "INFERIOR"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_ASSESSED = "NOT_ASSESSED"
    INSUFFICIENT = "INSUFFICIENT"


class Basis(StrEnum):
    """Why an outcome holds."""

    STATISTICAL = "statistical"
    """A confidence bound against a margin."""
    NUMERIC = "numeric"
    """A lossless export: max |Δp| <= 1e-5 on all judged cases and no decision changed."""
    IDENTITY = "identity"
    """Identical rankings: the AUROC cannot differ."""


@dataclass(frozen=True, slots=True)
class Component:
    """One endpoint (sensitivity, specificity, auroc, brier) of a verdict.

    `difference`, `lower` and `upper` are oriented so that negative is worse for the candidate:
    candidate - reference for sensitivity, specificity and AUROC; reference - candidate for the Brier score.
    NON_INFERIOR iff lower > -margin; INFERIOR iff upper < -margin.
    """

    name: str
    outcome: Outcome
    basis: Basis
    reference: float
    candidate: float
    difference: float
    lower: float
    upper: float
    margin: float
    margin_given: bool
    """False: a default that no clinician has confirmed."""
    method: str
    n: int
    """Cases this endpoint rests on (positives for sensitivity, and so on)."""
    n_patients: int
    design_effect: float = 1.0
    table: tuple[float, float, float, float] | None = None
    """(both correct, candidate only, reference only, neither): what the interval was computed from."""
    beside: dict[str, float] = field(default_factory=dict)
    """Figures reported beside the deciding interval (newcombe_lower, mcnemar_midp, delong_p ...)."""
    n_would_decide: int | None = None
    """Smallest number of such cases (patients where clustered) at which the same rates would be NON_INFERIOR;
    None where decided, or where no number would do."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SubgroupVerdict:
    """One level of one grouping column, judged on sensitivity and specificity (on the one class it has)."""

    column: str
    value: str
    n: int
    n_patients: int
    n_positive: int
    outcome: Outcome
    components: tuple[Component, ...]
    waived: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Flip:
    """One case that candidate and reference decide differently."""

    case_id: str
    label: int
    reference_score: float
    candidate_score: float
    harmful: bool
    """True: the reference was right and the candidate is wrong."""
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How closely the candidate follows the reference, whatever the labels say."""

    max_abs_difference: float
    mean_abs_difference: float
    flips: int
    harmful: int
    beneficial: int
    churn: float
    """Share of cases decided differently."""
    kappa: float
    not_finite: int
    """Candidate outputs that were NaN or infinite: each counts as wrong."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole judgement of one candidate on one set of cases."""

    outcome: Outcome
    basis: Basis
    components: tuple[Component, ...]
    subgroups: tuple[SubgroupVerdict, ...]
    agreement: Agreement
    flips: tuple[Flip, ...]
    threshold: float
    confidence: float
    n: int
    n_patients: int
    n_positive: int
    n_negative: int
    clustered: bool
    """True: some patient has several cases, so the clustered rule was used."""
    unit: str
    """"patient", or "case (declared independent)" where no patient column was given."""
    reasons: tuple[str, ...] = ()
    """Plain sentences, most important first."""

    def component(self, name: str) -> Component:
        """The component called `name`; KeyError where there is none."""
        for part in self.components:
            if part.name == name:
                return part
        raise KeyError(name)

    @property
    def insufficient(self) -> tuple[str, ...]:
        """Names ("column=value") of the subgroups too small to decide."""
        return tuple(f"{s.column}={s.value}" for s in self.subgroups if s.outcome is Outcome.INSUFFICIENT)
