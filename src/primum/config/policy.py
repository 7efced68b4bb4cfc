"""The clinical policy by which a candidate is judged: margins, thresholds, actions, the guard."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from primum.task import Task

_Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
DEFAULT_MARGINS = {"sensitivity": 0.02, "specificity": 0.02, "auroc": 0.01, "brier": 0.01, "kappa": 0.02, "dice": 0.01}


_RATES_AND_SCORES = ("sensitivity", "specificity", "auroc", "brier")
MARGINS_OF = {
    Task.BINARY: _RATES_AND_SCORES,
    Task.MULTICLASS: _RATES_AND_SCORES,
    Task.MULTILABEL: _RATES_AND_SCORES,
    Task.ORDINAL: (*_RATES_AND_SCORES, "kappa"),
    Task.REGRESSION: ("error",),
    Task.SEGMENTATION: ("dice",),
}
"""The margins that each task is judged by."""


class Margins(BaseModel):
    """Non-inferiority margins, absolute; None means the default, marked as not confirmed by a clinician.

    An endpoint of one class or label ("sensitivity[melanoma]") has the margin of its kind, accuracy that of the
    sensitivity. `error` (regression, in the units of the label) has no default: nobody but a clinician can name it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    sensitivity: float | None = Field(None, gt=0, lt=1)
    specificity: float | None = Field(None, gt=0, lt=1)
    auroc: float | None = Field(None, gt=0, lt=1)
    brier: float | None = Field(None, gt=0, lt=1)
    kappa: float | None = Field(None, gt=0, lt=2)
    """Quadratic-weighted kappa with the labels (ordinal)."""
    dice: float | None = Field(None, gt=0, lt=1)
    """Mean Dice a structure (segmentation)."""
    error: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Mean absolute error (regression), in the units of the label."""

    def value(self, name: str) -> float:
        """The margin in force for `name`; NaN where none was given and there is no default."""
        kind = kind_of(name)
        given = getattr(self, kind)
        return float(given) if given is not None else DEFAULT_MARGINS.get(kind, nan)

    def given(self, name: str) -> bool:
        """Whether somebody stated this margin."""
        return getattr(self, kind_of(name)) is not None


def kind_of(endpoint: str) -> str:
    """ "sensitivity" of "sensitivity[melanoma]"."""
    return endpoint.partition("[")[0]


class GuardPolicy(BaseModel):
    """Guarded prediction: the original answers in place of the fast model near the decision threshold.

    The bound is P(a patient has a decision that changed undetected) <= epsilon.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    epsilon: float | None = Field(None, gt=0, lt=0.5)
    """None: the smallest that the guard part supports, by its number of patients (in each class, where by class)."""
    delta: float | None = Field(0.05, gt=0, lt=0.5)
    """The bound holds for this draw of guard patients with confidence 1 - delta; None: on average over draws."""
    by_class: bool = True
    """Hold the bound within each class that the original calls, so that a rare disease does not carry the flips."""
    strict: bool = False
    """Bound the change of the score itself, not of the decision; defers more."""


class OperatingPoint(BaseModel):
    """How the decision threshold is frozen on the original's scores: exactly one rate to hold.

    On the selection part of a study; `primum validate` has only the cases that it judges, and says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    specificity: float | None = Field(None, gt=0, lt=1)
    sensitivity: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _exactly_one(self) -> OperatingPoint:
        if (self.specificity is None) == (self.sensitivity is None):
            raise ValueError("give either a specificity or a sensitivity to hold")
        return self


class Action(BaseModel):
    """One clinical action, taken from this score of P(positive) upwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    at: float = Field(ge=0, lt=1)


class ClinicalPolicy(BaseModel):
    """How candidates are judged. `threshold` is on P(positive) and frozen on the original."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    threshold: float = Field(0.5, gt=0, lt=1)
    margins: Margins = Margins()
    confidence: float = Field(0.95, gt=0.5, lt=1)
    block_on_insufficient: bool = False
    """MEDICAL_CRITICAL: a subgroup too small to decide blocks unless waived by name."""
    waived_subgroups: tuple[str, ...] = ()
    """Names "column=value"; "class=value" for a class or label too rare to be judged. Where data are read, a name of
    nothing that they have, or of two things, is refused."""
    thresholds: dict[str, float] = {}
    """Multi-label: thresholds of single labels; `threshold` holds for the others."""
    tolerance: float | None = Field(None, gt=0)
    """Regression: the difference between candidate and original, in units of the label, that changes no care."""
    error_margins: dict[str, _Amount] = {}
    """Regression of several outputs: the margin of `error` of single ones, in their own units; that of `margins` holds
    for the others."""
    tolerances: dict[str, _Amount] = {}
    """Likewise the tolerance; `tolerance` is that of the others."""
    operating_point: OperatingPoint | None = None
    """None: `threshold` itself."""
    actions: tuple[Action, ...] = ()
    """The action map (triage tiers), from the mildest action at 0 upwards; empty: the two sides of the threshold."""

    @model_validator(mode="after")
    def _actions_rise(self) -> ClinicalPolicy:
        starts = [action.at for action in self.actions]
        if starts and (starts[0] != 0 or starts != sorted(set(starts))):
            raise ValueError("actions must start at 0 and rise")
        return self

    def tolerances_of(self, outputs: Sequence[str]) -> tuple[float, ...]:
        """The tolerance of each output of a regression; NaN where none was given."""
        return tuple(self.tolerances.get(name, nan if self.tolerance is None else self.tolerance) for name in outputs)

    def list_tolerances(self, outputs: Sequence[str]) -> str:
        """ "2", or "age 2, weight 5"; empty where none was given."""
        held = dict(zip(outputs, self.tolerances_of(outputs)))
        told = {name: value for name, value in held.items() if not isnan(value)}
        if told and len(told) == len(held) and len(set(told.values())) == 1:
            return f"{next(iter(told.values())):g}"
        return ", ".join(f"{name} {value:g}" for name, value in told.items())

    def say_tolerances(self, outputs: Sequence[str]) -> str:
        """ "tolerance of 2", or "tolerances (age 2, weight 5)"; empty where none was given."""
        told = self.list_tolerances(outputs)
        if " " in told:
            return f"tolerances ({told})"
        return f"tolerance of {told}" if told else ""
