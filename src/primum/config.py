"""What the user asks for: the level, and the clinical policy by which a candidate is judged."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from math import nan
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from primum.errors import InputError
from primum.level import OptimizationLevel
from primum.task import Task

__all__ = [
    "Action",
    "ClinicalPolicy",
    "GuardPolicy",
    "Margins",
    "OperatingPoint",
    "OptimizationConfig",
    "OptimizationLevel",
    "ResolvedConfig",
]


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
    error: float | None = Field(None, gt=0)
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
    """Names "column=value"; "class=value" for a class or label too rare to be judged."""
    thresholds: dict[str, float] = {}
    """Multi-label: thresholds of single labels; `threshold` holds for the others."""
    tolerance: float | None = Field(None, gt=0)
    """Regression: the difference between candidate and original, in units of the label, that changes no care."""
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


class QuantizationType(StrEnum):
    """Lowest precision that the search may use."""

    INT8 = "int8"
    INT4 = "int4"


class QuantizationScheme(StrEnum):
    """How layers of a torch module are quantized."""

    DYNAMIC = "dynamic"
    """INT8 weights; activation ranges taken anew from each input."""
    STATIC = "static"
    """INT8 weights and activations; ranges from calibration data."""
    QAT = "qat"
    """INT8 weights and activations, trained with the rounding in place."""
    WEIGHT_ONLY = "weight_only"
    """Weights alone, of Linear layers, in 8 or 4 bits."""


class QuantizationConfig(BaseModel):
    """What may be done to weights and activations; mutable until a quantizer uses it, then frozen.

    `quantization_type` is the lowest precision that the search may use, or names the scheme outright. Raises pydantic's
    ValidationError where two fields contradict each other, InputError on a change after use.
    """

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    quantization_type: QuantizationType | QuantizationScheme = QuantizationType.INT8
    load_in_8bit: bool = False
    """INT8 weights of Linear layers, the rest FP32 (bitsandbytes' name for it)."""
    load_in_4bit: bool = False
    """4-bit weights of Linear layers, the rest FP32."""
    dtype: str | None = None
    """Name of the integer type of the weights, "qint8"; a torch.dtype is taken by its name."""
    bits: Literal[4, 8] | None = None
    """Bits of the weights; None: 4 for INT4 and `load_in_4bit`, else 8."""
    quantize_weights: bool = True
    quantize_activations: bool | None = None
    """None: as the scheme has it."""
    _in_use: bool = PrivateAttr(False)

    @field_validator("dtype", mode="before")
    @classmethod
    def _name_of_dtype(cls, value: Any) -> Any:
        name = None if value is None else str(value).removeprefix("torch.")
        if name not in (None, "qint8", "int8"):
            raise ValueError(f"weights are quantized to qint8, not to {name}")
        return name

    @model_validator(mode="after")
    def _agree(self) -> QuantizationConfig:
        fours = self.quantization_type is QuantizationType.INT4 or self.load_in_4bit
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("load_in_4bit and load_in_8bit exclude each other")
        if fours and (self.bits == 8 or self.load_in_8bit):
            raise ValueError("4 bits are asked for (INT4 or load_in_4bit) and 8 bits too: leave one out")
        if self.bits == 4 and self.load_in_8bit:
            raise ValueError("bits=4 and load_in_8bit exclude each other")
        if not self.quantize_weights:
            raise ValueError("every scheme quantizes the weights: quantize_weights cannot be False")
        if self.quantization_type is QuantizationScheme.DYNAMIC and self.quantize_activations:
            raise ValueError("dynamic quantization stores activations in floating point: quantize_activations=False")
        return self

    @property
    def weight_bits(self) -> int:
        """Bits of the weights that all fields together ask for: 4 or 8."""
        return self.bits or (4 if self.quantization_type is QuantizationType.INT4 or self.load_in_4bit else 8)

    def in_use(self) -> QuantizationConfig:
        """Freeze this configuration and return it."""
        self._in_use = True
        return self

    def in_eight_bits(self) -> QuantizationConfig:
        """A copy that asks for 8 bits where this asks for 4."""
        kind = QuantizationType.INT8 if self.quantization_type is QuantizationType.INT4 else self.quantization_type
        values = self.model_dump() | {"quantization_type": kind, "load_in_4bit": False, "bits": None}
        return QuantizationConfig.model_validate(values)

    def __eq__(self, other: object) -> bool:
        """Equal settings, in use or not."""
        return isinstance(other, QuantizationConfig) and self.model_dump() == other.model_dump()

    def __setattr__(self, name: str, value: Any) -> None:
        """InputError on a change after use."""
        if name in type(self).model_fields and self._in_use:
            raise InputError(f"this QuantizationConfig is in use, {name} cannot change: make a new one")
        super().__setattr__(name, value)


_ACCURACY = 0.95
MEDICAL_ACCURACY = 0.98


class ValidationConfig(BaseModel):
    """What the spec's scores are held against; a study always validates, and its margins decide."""

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    accuracy_threshold: float = Field(_ACCURACY, gt=0, le=1)
    """Share of the original's accuracy to be retained, for the medical-accuracy score. Unless one is given: 0.95, and
    0.98 where medical compliance is required."""
    medical_compliance_required: bool = False
    """QuantizationValidator: a subgroup too small to decide blocks (in a study the level decides that)."""

    @model_validator(mode="after")
    def _medical_threshold(self) -> ValidationConfig:
        if "accuracy_threshold" not in self.model_fields_set:
            # Past validate_assignment, which would call this again and take the threshold as given.
            self.__dict__["accuracy_threshold"] = MEDICAL_ACCURACY if self.medical_compliance_required else _ACCURACY
        return self


class PruningMethod(StrEnum):
    """How a network is pruned."""

    MAGNITUDE = "magnitude"
    """The smallest weights become zero."""
    STRUCTURED = "structured"
    """Whole channels are removed, the smallest first."""
    GRADUAL = "gradual"
    """The smallest weights become zero, in steps."""
    ACTIVATION = "activation"
    """Whole channels are removed, those that carry least on calibration data first."""


class ReductionConfig(BaseModel):
    """How much may be removed from the network, and how."""

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    prune_ratio: float = Field(0.3, ge=0, lt=1)
    """What ModelReducer removes unless it is told otherwise."""
    largest_ratio: float | None = Field(None, gt=0, lt=1)
    """The largest share of channels that a study's search may remove; None: by level, at most 0.2 where critical."""
    prune_method: PruningMethod = PruningMethod.MAGNITUDE
    """Of ModelReducer."""
    training_minutes: float = Field(10.0, gt=0)
    """Of one training in a study's search."""


MEDICAL_PRUNE_RATIO = 0.2


class OptimizationConfig(BaseModel):
    """Everything `primum.optimize` is asked; mutable until `resolve()`, which applies the medical adjustments.

    Raises pydantic's ValidationError on a value outside its range; `from_file` turns that into InputError.
    """

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    level: OptimizationLevel = OptimizationLevel.BALANCED
    preserve_medical_accuracy: bool = True
    auto_adjust_for_medical: bool = True
    policy: ClinicalPolicy = ClinicalPolicy()
    quantization: QuantizationConfig = Field(default_factory=QuantizationConfig)
    validation: ValidationConfig = Field(default_factory=ValidationConfig)
    reduction: ReductionConfig = Field(default_factory=ReductionConfig)
    guard: GuardPolicy | Literal["off"] | None = None
    """Guarded prediction; None: off, but on at MEDICAL_CRITICAL where the task decides, with the smallest epsilon that
    the data support."""
    accept_inconclusive: bool = False
    budget_minutes: float | None = Field(None, gt=0)
    threads: int | None = Field(None, ge=1)
    runtimes: tuple[str, ...] = ()
    """Names of the runtimes to try; empty: all that are installed."""
    seed: int = 0

    def resolve(self, task: Task = Task.BINARY) -> ResolvedConfig:
        """A frozen copy after the medical adjustments, with each adjustment as a sentence.

        Raises InputError where MEDICAL_CRITICAL lacks a margin or is combined with `accept_inconclusive`.
        """
        config = self.model_copy(deep=True)
        notes: list[str] = []
        critical = config.level is OptimizationLevel.MEDICAL_CRITICAL
        if critical:
            _demand_explicit(config, task)
            config.policy = config.policy.model_copy(update={"block_on_insufficient": True})
            if config.guard is None and task not in (Task.REGRESSION, Task.SEGMENTATION):
                config.guard = GuardPolicy()
                notes.append("guarded prediction is on, with the smallest epsilon that the guard part supports")
        if critical or (config.preserve_medical_accuracy and config.auto_adjust_for_medical):
            _adjust(config, notes)
        return ResolvedConfig(config=config, adjustments=tuple(notes))

    @classmethod
    def from_file(cls, path: Path) -> OptimizationConfig:
        """Read a YAML or TOML file. Raises InputError naming the offending key."""
        try:
            return cls.model_validate(read_mapping(path))
        except OSError as error:
            raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
        except ValidationError as error:
            raise InputError(f"{path}: {explain(error)}") from error

    def to_yaml(self) -> str:
        """The configuration as YAML that `from_file` reads back to an equal value."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class ResolvedConfig(BaseModel):
    """A configuration as it is in force."""

    model_config = ConfigDict(frozen=True)
    config: OptimizationConfig
    adjustments: tuple[str, ...]

    @property
    def guard(self) -> GuardPolicy | None:
        """The guard in force; None where predictions are not guarded."""
        return self.config.guard if isinstance(self.config.guard, GuardPolicy) else None


def read_mapping(path: Path) -> Any:
    """What a YAML or TOML file holds; an empty file is an empty mapping. Raises InputError where it is neither."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    # Besides YAMLError, PyYAML lets the ValueError of a date or number through, and the RecursionError of deep nesting.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid: {' '.join(str(error).split())}") from error
    return {} if raw is None else raw


def explain(error: ValidationError) -> str:
    """A pydantic error as one line: where, what."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "value"
    return f"{where}: {first['msg']}"


def _demand_explicit(config: OptimizationConfig, task: Task) -> None:
    missing = [name for name in MARGINS_OF[task] if not config.policy.margins.given(name)]
    if missing:
        flags = {"sensitivity": "--margin", "specificity": "--margin"}
        named = sorted({flags.get(name, f"--{name}-margin") for name in missing})
        raise InputError(
            f"MEDICAL_CRITICAL needs margins that a clinician has stated; missing: {', '.join(missing)} "
            f"(give {', '.join(named)})"
        )
    if config.accept_inconclusive:
        raise InputError("MEDICAL_CRITICAL never accepts an unproven candidate: leave out --accept-inconclusive")


def _adjust(config: OptimizationConfig, notes: list[str]) -> None:
    if config.quantization.weight_bits == 4:
        config.quantization = config.quantization.in_eight_bits()
        notes.append("quantization: INT8 in place of INT4 (medical model)")
    if config.validation.accuracy_threshold < MEDICAL_ACCURACY:
        was = config.validation.accuracy_threshold
        config.validation.accuracy_threshold = MEDICAL_ACCURACY
        notes.append(f"accuracy threshold: {_percent(MEDICAL_ACCURACY)} in place of {_percent(was)} (medical model)")
    if not config.validation.medical_compliance_required:
        config.validation.medical_compliance_required = True
        notes.append("validation is mandatory (medical model)")
    # At AGGRESSIVE the search judges every share of channels before it goes further: a cap would prove nothing.
    if config.reduction.prune_ratio > MEDICAL_PRUNE_RATIO and config.level is not OptimizationLevel.AGGRESSIVE:
        was = config.reduction.prune_ratio
        config.reduction.prune_ratio = MEDICAL_PRUNE_RATIO
        limit = _percent(MEDICAL_PRUNE_RATIO)
        notes.append(f"pruning ratio: at most {limit} in place of {_percent(was)} (medical model)")


def _percent(share: float) -> str:
    return f"{100 * share:.12g}%"
