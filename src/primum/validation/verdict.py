"""What validation says of a candidate against the original: plain frozen data, and every number behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from primum.task import Task


class Outcome(StrEnum):
    """The four verdicts, and INSUFFICIENT, which only a subgroup or one class of several can have."""

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
    """A lossless export: on all judged cases no decision changed and max |Δp| <= 1e-5; for values and Dice
    max |Δ| <= 1e-5 standard deviations of the reference's."""
    IDENTITY = "identity"
    """Identical decisions: kappa cannot differ. Accuracy, judged beside it, says what so many patients can show."""


@dataclass(frozen=True, slots=True)
class Component:
    """One endpoint of a verdict: sensitivity, specificity, auroc, brier, accuracy, kappa, error, agreement or dice;
    of one class, cut, label, output or structure with its name in brackets ("sensitivity[melanoma]").

    `difference`, `lower` and `upper` are oriented so that negative is worse for the candidate: candidate - reference
    for rates, AUROC, kappa and Dice; reference - candidate for the Brier score and the absolute error; for the
    agreement minus the limit of agreement that lies farther from 0. NON_INFERIOR iff lower > -margin (and, of the
    agreement, few enough patients beyond it); INFERIOR iff upper < -margin.
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
    view: str = ""
    """The class, cut, label, output or structure that it is about; empty for an endpoint of all cases."""
    waived: bool = False
    """INSUFFICIENT, but waived by name ("class=melanoma")."""


@dataclass(frozen=True, slots=True)
class SubgroupVerdict:
    """One level of one grouping column, judged on the endpoints of its task that its cases can carry (BINARY: the rate
    of each class that it has)."""

    column: str
    value: str
    n: int
    n_patients: int
    n_positive: int | None
    """BINARY: its positives; None for the other tasks."""
    outcome: Outcome
    components: tuple[Component, ...]
    waived: bool = False
    reason: str = ""
    reported: tuple[Component, ...] = ()
    """Beside the deciding ones, and without a say in the outcome (BINARY: the Brier score)."""
    harm_p_adjusted: float | None = None
    """The smallest one-sided p-value of its components against "no worse than the reference", adjusted for all
    components of all levels (Holm 1979); None where none could be tested. It describes, it decides nothing."""
    harmed: bool = False
    """Whether that p-value is at most (1 - confidence)/2."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One case (of one label, output or structure) that candidate and reference decide differently.

    Scores: P(positive); P(true class) for MULTICLASS and ORDINAL; P(label) for MULTILABEL; values for REGRESSION; Dice
    for SEGMENTATION.
    """

    case_id: str
    label: int | float
    """0 or 1; index of the true class; the true value (REGRESSION); NaN (SEGMENTATION)."""
    reference_score: float
    candidate_score: float
    harmful: bool
    """True: the reference was right and the candidate is wrong; the error grew (REGRESSION); Dice was lost."""
    groups: dict[str, str] = field(default_factory=dict)
    view: str = ""
    """The label, output or structure; empty where a case has one decision."""
    reference_decision: str = ""
    """The class that the reference names (MULTICLASS, ORDINAL)."""
    candidate_decision: str = ""
    """"(none)" where the output was not finite."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How closely the candidate follows the reference, whatever the labels say.

    Over cases; over cases and labels, outputs or structures where a case has several. Flips are changed decisions;
    values moved by more than the tolerance (REGRESSION; 0 without one); Dice losses above 0.05 (SEGMENTATION).
    """

    max_abs_difference: float
    mean_abs_difference: float
    flips: int
    """Harmful, beneficial, and those that change one wrong class for another."""
    harmful: int
    beneficial: int
    churn: float
    """Share of cases decided differently."""
    kappa: float
    """Between the two models' decisions, quadratic-weighted for ORDINAL; NaN where the task decides nothing."""
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
    """On P(positive); MULTILABEL: of the labels without one of their own; NaN where the task has none."""
    confidence: float
    n: int
    n_patients: int
    n_positive: int | None
    """None where the task is not BINARY."""
    n_negative: int | None
    clustered: bool
    """True: some patient has several cases, so the clustered rule was used."""
    unit: str
    """"patient"; where none is named, "distinct case" or "case" and, in brackets, whether that was declared."""
    reasons: tuple[str, ...] = ()
    """Plain sentences, most important first."""
    task: Task = Task.BINARY
    classes: tuple[str, ...] = ()
    """Names of the classes, labels, outputs or structures."""
    class_counts: dict[str, int] = field(default_factory=dict)
    """Cases of each class; positives of each label; empty for REGRESSION and SEGMENTATION."""
    beside: dict[str, float] = field(default_factory=dict)
    """Figures of the whole that decide nothing (stuart_maxwell_p, macro_auroc_lower ...)."""
    copies: int = 0
    """Cases that repeat the input of another, where no patient is named: they add nothing to `n_patients`."""

    def component(self, name: str) -> Component:
        """The component called `name`; KeyError where there is none."""
        for part in self.components:
            if part.name == name:
                return part
        raise KeyError(name)

    @property
    def insufficient(self) -> tuple[str, ...]:
        """Names of what is too small to decide: "class=value" for classes, "column=value" for subgroups."""
        rare = dict.fromkeys(waiver(c.view) for c in self.components if c.outcome is Outcome.INSUFFICIENT)
        small = (f"{s.column}={s.value}" for s in self.subgroups if s.outcome is Outcome.INSUFFICIENT)
        return (*rare, *small)


def waiver(view: str) -> str:
    """The name by which a class, cut or label too rare to be judged is waived: "class=melanoma"."""
    return f"class={view.removeprefix('>= ')}"
