"""What the user asks of a study: level, policy, budget; with the medical adjustments."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from primum.config.policy import MARGINS_OF, ClinicalPolicy, GuardPolicy
from primum.config.reading import explain, read_mapping
from primum.config.techniques import (
    MEDICAL_ACCURACY,
    MEDICAL_PRUNE_RATIO,
    QuantizationConfig,
    ReductionConfig,
    ValidationConfig,
)
from primum.errors import InputError
from primum.level import OptimizationLevel
from primum.task import Task


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
    """For the trials of one run; a run that goes on with a study has as many minutes more."""
    threads: int | None = Field(None, ge=1)
    objective: Literal["latency", "size"] = "latency"
    """What candidates are ranked by: calls that take less time, or artifacts of fewer bytes."""
    runtimes: tuple[str, ...] = ()
    """Names of the runtimes to try; empty: those of `deliver`, or all that are installed."""
    deliver: tuple[str, ...] = ()
    """Names of the runtimes that each get a proven artifact of their own; empty: one artifact, of any runtime."""
    seed: int = 0

    @property
    def claims(self) -> tuple[str, ...]:
        """The runtimes that artifacts are delivered for; one empty name where any runtime will do."""
        return self.deliver or ("",)

    def resolve(self, task: Task = Task.BINARY) -> ResolvedConfig:
        """A frozen copy after the medical adjustments, with each adjustment as a sentence.

        Raises InputError where MEDICAL_CRITICAL lacks a margin or is combined with `accept_inconclusive`, and where
        `deliver` names a runtime twice or one that is not among `runtimes`.
        """
        config = self.model_copy(deep=True)
        notes: list[str] = []
        _check_deliver(config)
        if config.deliver and not config.runtimes:
            config.runtimes = config.deliver
            notes.append(f"only runtimes that an artifact is delivered for are tried: {', '.join(config.deliver)}")
        critical = config.level is OptimizationLevel.MEDICAL_CRITICAL
        if critical:
            _demand_explicit(config, task)
            config.policy = config.policy.model_copy(update={"block_on_insufficient": True})
            if config.guard is None and task.guardable:
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
        """The guard in force; None where predictions are not guarded. Several claims share delta as they share the
        error of the verdicts, so that all their bands hold together; a bound on average has none to share."""
        asked = self.config.guard
        if not isinstance(asked, GuardPolicy) or asked.delta is None:
            return asked if isinstance(asked, GuardPolicy) else None
        return asked.model_copy(update={"delta": asked.delta / len(self.config.claims)})

    @property
    def policy(self) -> ClinicalPolicy:
        """The policy in force: several claims share the error allowed to one (Bonferroni), so that the chance that any
        harmful candidate is called proven stays what the policy allows.
        """
        policy = self.config.policy
        return policy.model_copy(update={"confidence": shared(policy.confidence, len(self.config.claims))})


def shared(confidence: float, claims: int) -> float:
    """The two-sided confidence of each of `claims` whose one-sided errors add up to that of `confidence`."""
    return 1 - (1 - confidence) / claims if claims > 1 else confidence


def _check_deliver(config: OptimizationConfig) -> None:
    twice = sorted({name for name in config.deliver if config.deliver.count(name) > 1})
    if twice:
        raise InputError(f"deliver names {', '.join(twice)} more than once: name each runtime once")
    missing = [name for name in config.deliver if config.runtimes and name not in config.runtimes]
    if missing:
        raise InputError(
            f"deliver asks for {', '.join(missing)}, which is not among the runtimes to try "
            f"({', '.join(config.runtimes)}): add it there (--target), or leave the runtimes out"
        )


def _demand_explicit(config: OptimizationConfig, task: Task) -> None:
    # Of outputs that have margins of their own, the verdict says which lack one.
    own = {"error"} if config.policy.error_margins else set()
    missing = [name for name in MARGINS_OF[task] if name not in own and not config.policy.margins.given(name)]
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
        was, given = config.reduction.prune_ratio, "prune_ratio" in config.reduction.model_fields_set
        config.reduction.prune_ratio = MEDICAL_PRUNE_RATIO
        searched = config.level is OptimizationLevel.MEDICAL_CRITICAL
        # A default that nobody gave, at a level that removes no channels, would be told of nothing.
        if given or searched:
            limit = f"at most {_percent(MEDICAL_PRUNE_RATIO)} in place of {_percent(was)}"
            where = (
                "" if searched else f"; it is ModelReducer's: a study at level {config.level.value} removes no channels"
            )
            notes.append(f"pruning ratio: {limit} (medical model){where}")


def _percent(share: float) -> str:
    return f"{100 * share:.12g}%"
