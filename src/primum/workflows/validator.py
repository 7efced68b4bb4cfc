"""The spec's QuantizationValidator: two models and labelled cases in, the verdict and its scores out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from primum.validation.fit import demand_fit, fit_of
from primum.validation.gate import judge
from primum.validation.mask_fit import fit_masks
from primum.validation.recommendations import Recommendation
from primum.validation.spec_scores import SpecScore, ValidationMetric, weakest
from primum.validation.verdict import Outcome, Verdict
from primum.validation.waivers import demand_waivers
from primum.workflows.answers import Answers, answers, known_classes, opened
from primum.workflows.given import Given, as_numbers, choice, class_names, infer_task, read_given
from primum.workflows.impact import Impact, measure_impact

__all__ = ["QuantizationValidator", "ValidationMetric", "ValidationReport"]

CustomMetrics = (
    Sequence[ValidationMetric | str | Callable[..., float]] | Mapping[str, Metric] | Callable[..., float] | str
)
_NO_DATA = "no data were given: a score without labelled cases would be made up"
_NO_LEDGER = "this look at the cases is in no ledger: cases that a model was chosen by do not confirm it"


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
    `config.medical_compliance_required` lets every subgroup too small to decide block the verdict. Looks at the cases
    are not recorded, as those of studies and of `primum validate` are; the report's notes say so.
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
        (N,) or (N, L), of classes their index (0 and 1 of two) or, where `classes` names them in the order of the
        outputs, their name; masks (N, *spatial), of which some hold a structure; patients (N,), groups {column: (N,)}.
        Without patients each distinct input counts as one.
        `custom_metrics`: which scores to report (default all five), and functions (labels, scores) -> number, which are
        reported for both models; one alone needs no list, and a mapping {name: function} names them. Without `data`
        every score is NOT_ASSESSED and NaN.
        InputError on data that are empty, incomplete, of unequal length, or do not fit the task or the models: also
        on labels of other classes than the outputs, as far as the cases can tell; and where the policy waives a
        subgroup or class that they do not have.
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
            given = read_given(data)
            names = class_names(classes, known_classes(*pair))
            decided = choice(Task, task, "task") if task else infer_task(given.labels, names)
            last = choice(Activation, activation, "activation") if activation else None
            labels = as_numbers(given.labels, decided, names)
            said = answers(*pair, given.inputs, decided, names, last)
            impact = measure_impact(*pair, given.inputs, named)
        cases = _cases(given, labels, said.signature)
        demand_waivers(policy, cases.groups, cases.task, said.signature.classes, "data")
        reference = _scores(said.reference, labels, said.signature)
        candidate = _scores(said.candidate, labels, said.signature)
        odd = _demand_fit(cases, reference, said, labels)
        verdict = judge(cases, reference, candidate, policy)
        found = assess(cases, reference, candidate, policy, verdict, self.config, seed=seed)
        custom = tuple(
            compare_metric(
                name, _on_copies(metric), cases.labels, (reference, candidate), cases.units, policy.confidence, seed
            )
            for name, metric in own.items()
        )
        return _report(found, verdict, chosen, custom, impact, policy, odd)


def _opened(stack: ExitStack, model: Any) -> Any:
    """The model; one that was opened here is closed with `stack`."""
    found = opened(model)
    if found is not model:
        stack.enter_context(found)
    return found


def _chosen(custom: CustomMetrics | None) -> tuple[tuple[ValidationMetric, ...], dict[str, Metric]]:
    """The scores to report, and the user's own functions by name."""
    if isinstance(custom, Mapping):
        return tuple(ValidationMetric), dict(custom)
    names: list[ValidationMetric] = []
    own: dict[str, Metric] = {}
    # A string is a sequence too, of letters: one name, like one function, needs no list.
    items: list[Any] = [] if custom is None else [custom]
    if isinstance(custom, Iterable) and not isinstance(custom, str | bytes):
        items = list(custom)
    for item in items:
        if callable(item) and not isinstance(item, str):
            name = getattr(item, "__name__", f"metric {len(own) + 1}")
            if own.setdefault(name, item) is not item:
                raise InputError(
                    f"two custom metrics are called {name!r}: give each a name, custom_metrics={{name: function, ...}}"
                )
        elif item in list(ValidationMetric):
            names.append(ValidationMetric(item))
        else:
            raise InputError(f"{item!r} is no score: choose from {', '.join(ValidationMetric)}, or give a function")
    return tuple(dict.fromkeys(names)) or tuple(ValidationMetric), own


def _on_copies(metric: Metric) -> Metric:
    """`metric`, which may sort or change what it is given: nobody else sees that."""
    return lambda labels, scores: metric(labels.copy(), scores.copy())


def _report(
    found: Assessment,
    verdict: Verdict | None,
    chosen: tuple[ValidationMetric, ...],
    custom: tuple[CustomMetric, ...],
    impact: Impact,
    policy: ClinicalPolicy,
    odd: tuple[str, ...] = (),
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
        notes=found.notes if verdict is None else (*odd, *found.notes, _NO_LEDGER),
    )


def _cases(given: Given, labels: NDArray[Any], signature: Signature) -> Cases:
    n = len(labels)
    if signature.task is Task.BINARY and signature.positive == 0:
        labels = 1 - labels
    if signature.task in (Task.BINARY, Task.MULTICLASS, Task.ORDINAL):
        labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    return Cases(
        labels=labels,
        patients=np.full(n, "") if given.patients is None else given.patients,
        groups=given.groups,
        case_ids=np.array([f"case {i}" for i in range(n)]) if given.case_ids is None else given.case_ids,
        contents=np.array([hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in given.inputs]),
        task=signature.task,
        classes=signature.label_names,
    )


def _demand_fit(cases: Cases, reference: NDArray[np.float64], said: Answers, labels: NDArray[Any]) -> tuple[str, ...]:
    """What is odd about how the original's answers fit the labels; InputError where they do not."""
    signature = said.signature
    stand = f"the outputs stand for {', '.join(signature.classes)}"
    if signature.task is Task.SEGMENTATION:
        known = np.flatnonzero(np.isfinite(reference).all(axis=1))
        called = np.array([said.reference[i].argmax(axis=0) for i in known], np.int64)
        fit = fit_masks(called, labels[known], signature.classes, cases.units[known])
        return demand_fit(fit, f"Mend the masks: {stand}, and each pixel holds the place of its channel, from 0 on")
    remedy = "each label is the place of its output, from 0 on, or its name in classes=..."
    if signature.task is Task.BINARY:
        remedy = "a single output is of the second, which label 1 means"
    if signature.task is Task.MULTILABEL:
        remedy = "each label stands at the place of its output, and 1 means that it is there"
    fit = fit_of(cases, reference)
    return demand_fit(fit, f"Mend the labels, or the order of classes=...: {stand}, and {remedy}")


def _scores(values: NDArray[np.float64], labels: NDArray[Any], signature: Signature) -> NDArray[np.float64]:
    if signature.task is Task.BINARY:
        return values[:, signature.positive]
    if signature.task is Task.SEGMENTATION:
        from primum.validation.segmentation import dice_scores

        return dice_scores(values, labels, signature.classes)
    return values
