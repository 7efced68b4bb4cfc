"""The spec's QuantizationValidator: two models and labelled cases in, the verdict and its scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy, ValidationConfig
from primum.errors import InputError
from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.validation.assessment import Assessment, assess, nothing_assessed
from primum.validation.cases import Cases
from primum.validation.custom_metric import CustomMetric, Metric, compare_metric
from primum.validation.gate import judge
from primum.validation.recommendations import Recommendation
from primum.validation.spec_scores import SpecScore, ValidationMetric, weakest
from primum.validation.verdict import Outcome, Verdict
from primum.workflows.answers import answers, opened
from primum.workflows.impact import Impact, measure_impact

__all__ = ["QuantizationValidator", "ValidationMetric", "ValidationReport"]

CustomMetrics = Sequence[ValidationMetric | str | Callable[..., float]] | Mapping[str, Metric]
_FIELDS = ("inputs", "labels", "patients", "groups", "case_ids")
_NO_DATA = "no data were given: a score without labelled cases would be made up"
_MANY = 20
"""More distinct whole numbers than this are hardly classes."""


@dataclass(frozen=True, slots=True)
class EvidenceStatus:
    """How far the evidence goes; it prints as one line, and never as a claim of law."""

    outcome: Outcome
    scores: tuple[SpecScore, ...]

    def __str__(self) -> str:
        parts = [f"verdict {self.outcome.value}"]
        for score in self.scores:
            value = "" if isnan(score.value) else f" {score.value:.3f} (threshold {score.threshold:g})"
            parts.append(f"{score.name.value}{value}: {score.status.value}")
        return "; ".join(parts)


@dataclass(frozen=True)
class ValidationReport:
    """The result of `validate_quantization`."""

    overall_score: float
    """The smallest of the reported scores (the weakest link); NaN where none could be assessed."""
    medical_compliance: EvidenceStatus
    """Status of the evidence: what was shown, and what was not."""
    scores: tuple[SpecScore, ...]
    """The reported ones, each with value, threshold, status and definition."""
    custom: tuple[CustomMetric, ...]
    impact: Impact
    recommendations: tuple[Recommendation, ...]
    assessment: Assessment
    verdict: Verdict | None
    """None where no data were given."""
    policy: ClinicalPolicy
    notes: tuple[str, ...] = field(default=())

    @property
    def metric_scores(self) -> dict[ValidationMetric, float]:
        """Value of each reported score; NaN where it is not assessed."""
        return {score.name: score.value for score in self.scores}

    @property
    def threshold_comparisons(self) -> dict[ValidationMetric, str]:
        """Each reported score against its threshold, in words."""
        return {score.name: f"{score.status.value}: {score.reason}" for score in self.scores}


class QuantizationValidator:
    """Judges an optimized model against its original.

    `config.accuracy_threshold` is the share of the original's accuracy to be retained;
    `config.medical_compliance_required` lets every subgroup too small to decide block the verdict.
    """

    def __init__(self, config: ValidationConfig | None = None) -> None:
        self.config = (config or ValidationConfig()).model_copy(deep=True)

    def validate_quantization(
        self,
        original_model: Any,
        quantized_model: Any,
        custom_metrics: CustomMetrics | None = None,
        data: Any = None,
        policy: ClinicalPolicy | None = None,
        *,
        task: Task | str | None = None,
        classes: Sequence[str] = (),
        activation: Activation | str | None = None,
        seed: int = 0,
    ) -> ValidationReport:
        """Run both models on the same labelled cases, judge, and assess.

        Models: torch modules, predictors, artifact folders, or functions from a float32 batch (n, *shape) to outputs;
        outputs are raw (logits) or probabilities, which is told from the original's. `data`: (inputs, labels[,
        patients[, groups]]) or a mapping with those names (and `case_ids`); inputs (N, *shape) preprocessed, labels
        (N,) or (N, L), of classes their index (0 and 1 of two), patients (N,), groups {column: (N,)}. Without patients
        each case counts as one.
        `custom_metrics`: which scores to report (default all five), and functions (labels, scores) -> number,
        which are reported for both models. Without `data` every score is NOT_ASSESSED and NaN.
        InputError on data that do not fit the task or the models.
        """
        chosen, own = _chosen(custom_metrics)
        policy = policy or ClinicalPolicy()
        if self.config.medical_compliance_required:
            policy = policy.model_copy(update={"block_on_insufficient": True})
        with ExitStack() as stack:
            pair = _opened(stack, original_model), _opened(stack, quantized_model)
            named = original_model, quantized_model
            if data is None:
                if own:
                    raise InputError("custom metrics need data: give data=(inputs, labels)")
                found = nothing_assessed(_NO_DATA, self.config)
                return _report(found, None, chosen, (), measure_impact(*pair, None, named), policy)
            given = _mapping(data)
            inputs = np.ascontiguousarray(_array(given["inputs"]), dtype=np.float32)
            labels = _array(given["labels"])
            decided = Task(task) if task else infer_task(labels)
            said = answers(*pair, inputs, decided, tuple(classes), Activation(activation) if activation else None)
            impact = measure_impact(*pair, inputs, named)
        cases = _cases(given, labels, said.signature, len(inputs))
        reference = _scores(said.reference, labels, said.signature)
        candidate = _scores(said.candidate, labels, said.signature)
        verdict = judge(cases, reference, candidate, policy)
        found = assess(cases, reference, candidate, policy, verdict, self.config, seed=seed)
        custom = tuple(
            compare_metric(name, metric, cases.labels, (reference, candidate), cases.units, policy.confidence, seed)
            for name, metric in own.items()
        )
        return _report(found, verdict, chosen, custom, impact, policy)


def _opened(stack: ExitStack, model: Any) -> Any:
    """The model; one that was opened here is closed with `stack`."""
    found = opened(model)
    if found is not model:
        stack.enter_context(found)
    return found


def infer_task(labels: NDArray[Any]) -> Task:
    """What labels (N,), (N, L) or (N, *spatial) ask. InputError where that cannot be told."""
    whole = labels.dtype.kind in "biu" or bool(np.isfinite(labels).all() and (labels == np.floor(labels)).all())
    values = np.unique(labels) if whole else np.zeros(0)
    if labels.ndim > 2:
        return Task.SEGMENTATION
    if labels.ndim == 2 and labels.shape[1] > 1:
        return Task.MULTILABEL if whole and np.isin(values, (-1, 0, 1)).all() else Task.REGRESSION
    if not whole:
        return Task.REGRESSION
    if np.isin(values, (0, 1)).all():
        return Task.BINARY
    if values.min() >= 0 and values.size <= _MANY:
        return Task.MULTICLASS
    raise InputError(f"the labels have {values.size} whole numbers: say whether they are classes or values (task=...)")


def _chosen(custom: CustomMetrics | None) -> tuple[tuple[ValidationMetric, ...], dict[str, Metric]]:
    """The scores to report, and the user's own functions by name."""
    if isinstance(custom, Mapping):
        return tuple(ValidationMetric), dict(custom)
    names: list[ValidationMetric] = []
    own: dict[str, Metric] = {}
    for item in custom or ():
        if callable(item) and not isinstance(item, str):
            own[getattr(item, "__name__", f"metric {len(own) + 1}")] = item
        elif item in list(ValidationMetric):
            names.append(ValidationMetric(item))
        else:
            raise InputError(f"{item!r} is no score: choose from {', '.join(ValidationMetric)}, or give a function")
    return tuple(dict.fromkeys(names)) or tuple(ValidationMetric), own


def _report(
    found: Assessment,
    verdict: Verdict | None,
    chosen: tuple[ValidationMetric, ...],
    custom: tuple[CustomMetric, ...],
    impact: Impact,
    policy: ClinicalPolicy,
) -> ValidationReport:
    scores = tuple(found.score(name) for name in chosen)
    low = weakest(scores)
    outcome = verdict.outcome if verdict is not None else Outcome.NOT_ASSESSED
    return ValidationReport(
        overall_score=low.value if low else nan,
        medical_compliance=EvidenceStatus(outcome, scores),
        scores=scores,
        custom=custom,
        impact=impact,
        recommendations=found.recommendations,
        assessment=found,
        verdict=verdict,
        policy=policy,
        notes=found.notes,
    )


def _mapping(data: Any) -> dict[str, Any]:
    if isinstance(data, Mapping):
        unknown = sorted(set(data) - set(_FIELDS))
        if unknown or not {"inputs", "labels"} <= set(data):
            raise InputError(f"data need inputs and labels, and may hold patients, groups and case_ids; not {unknown}")
        return dict(data)
    if not isinstance(data, tuple | list) or not 2 <= len(data) <= 4:
        raise InputError("data must be (inputs, labels[, patients[, groups]]) or a mapping with these names")
    return dict(zip(_FIELDS, data))


def _array(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def _cases(given: Mapping[str, Any], labels: NDArray[Any], signature: Signature, n: int) -> Cases:
    if len(labels) != n:
        raise InputError(f"there are {n} inputs and {len(labels)} labels")
    patients, ids = given.get("patients"), given.get("case_ids")
    if signature.task is Task.BINARY and signature.positive == 0:
        labels = 1 - labels
    if signature.task in (Task.BINARY, Task.MULTICLASS, Task.ORDINAL):
        labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    return Cases(
        labels=labels,
        patients=np.full(n, "") if patients is None else _array(patients),
        groups={name: _array(column) for name, column in (given.get("groups") or {}).items()},
        case_ids=np.array([f"case {i}" for i in range(n)]) if ids is None else _array(ids),
        independent=patients is None,
        task=signature.task,
        classes=signature.classes,
    )


def _scores(values: NDArray[np.float64], labels: NDArray[Any], signature: Signature) -> NDArray[np.float64]:
    if signature.task is Task.BINARY:
        return values[:, signature.positive]
    if signature.task is Task.SEGMENTATION:
        from primum.validation.segmentation import dice_scores

        return dice_scores(values, labels, signature.classes)
    return values
