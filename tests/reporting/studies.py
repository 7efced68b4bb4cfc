"""Studies of every task that never ran: labels and scores are drawn, verdicts and assessments are the real ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from primum.config import Action, ClinicalPolicy, Margins, OperatingPoint
from primum.study.claim import Confirmation, Judged
from primum.study.result import ModelSummary, PartSummary, StudyResult
from primum.task import Task
from primum.validation.assessment import assess
from primum.validation.cases import Cases
from primum.validation.checklist import Record
from primum.validation.gate import judge
from primum.validation.operating import freeze_threshold
from primum.validation.planning import plan

PARTS = ("calibration", "selection", "guard", "confirmation")
STATED = Margins(sensitivity=0.05, specificity=0.02, auroc=0.02, brier=0.01, kappa=0.03)
BEATS = ("normal", "supraventricular", "ventricular", "fusion")
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Oedema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
)  # fmt: skip
GRADES = ("none", "mild", "moderate", "severe", "proliferative")
RECORDS = {Record.TIMINGS: "evidence/benchmark.json", Record.HASHES: "manifest.json"}


def cases_of(task: Task, labels: np.ndarray, classes: tuple[str, ...], each: int = 1, seed: int = 3) -> Cases:
    """Cases of patients who have `each`, with two grouping columns."""
    n = len(labels)
    generator = np.random.default_rng(seed)
    patients = np.array([f"p{i // each:05d}" for i in range(n)])
    groups = {
        "sex": generator.choice(["F", "M"], n),
        "site": generator.choice(["north", "south", "east"], n, p=[0.55, 0.42, 0.03]),
    }
    ids = np.array([f"case-{i:05d}" for i in range(n)])
    return Cases(labels, patients, groups, ids, task=task, classes=classes)


def told(base: StudyResult, cases: Cases, pair: tuple[np.ndarray, np.ndarray], policy: ClinicalPolicy) -> StudyResult:
    """`base` as if it had judged this pair of scores on these cases, with the candidate delivered if it passed."""
    reference, candidate = pair
    same = bool(np.array_equal(reference, candidate))
    verdict = judge(cases, reference, candidate, policy, exported=same)
    frozen = None
    if policy.operating_point is not None:
        frozen = freeze_threshold(cases.labels, reference, policy.operating_point, cases.units)
    assessment = assess(cases, reference, candidate, policy, verdict, None, RECORDS, frozen)
    trials = tuple(dataclasses.replace(t, verdict=verdict if t.verdict else None) for t in base.trials)
    winner = dataclasses.replace(base.winner, verdict=verdict)
    counts = verdict.class_counts
    parts = tuple(PartSummary(p, len(cases), verdict.n_patients, counts) for p in PARTS)
    positive = cases.classes[1] if cases.task is Task.BINARY else ""
    model = ModelSummary(
        "a-network", "9f2c51d07ab3", 11_177_538, 44_710_152, (3, 224, 224), cases.classes, positive, (), cases.task
    )
    accepted = verdict.outcome == "NON_INFERIOR"
    changes: dict[str, Any] = {
        "policy": policy,
        "model": model,
        "data": dataclasses.replace(base.data, parts=parts, groups={k: levels_of(v) for k, v in cases.groups.items()}),
        "power": power_of(cases, policy),
        "baseline": dataclasses.replace(base.baseline, verdict=verdict),
        "trials": trials,
        "winner": winner,
        "accepted": accepted,
        "unproven": not accepted,
        "verdict": verdict,
        "reasons": verdict.reasons,
        "confirmations": (Confirmation(winner.key, winner.recipe, verdict),),
        "judged": Judged("confirmation", cases.labels, reference, candidate),
        "harmed": (),
        "frozen": frozen,
        "assessment": assessment,
    }
    return dataclasses.replace(base, **changes)


def levels_of(values: np.ndarray) -> dict[str, int]:
    """How many cases each level has."""
    names, sizes = np.unique(values, return_counts=True)
    return dict(zip(names.tolist(), sizes.tolist()))


def power_of(cases: Cases, policy: ClinicalPolicy) -> dict[str, Any]:
    """Planned power of each class, as a study has it."""
    if cases.task in (Task.REGRESSION, Task.SEGMENTATION):
        return {}
    if cases.task is Task.BINARY:
        return {"": plan(int(cases.labels.sum()), int((cases.labels == 0).sum()), policy.margins)}
    hits = [cases.labels[:, k] == 1 if cases.labels.ndim == 2 else cases.labels == k for k in range(len(cases.classes))]
    return {c: plan(int(h.sum()), int((~h).sum()), policy.margins) for c, h in zip(cases.classes, hits)}


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def make_assessed(base: StudyResult) -> StudyResult:
    """A binary model that ranks nearly all right, at a frozen threshold, with three actions."""
    generator = np.random.default_rng(5)
    labels = (generator.random(1600) < 0.4).astype(np.int64)
    logits = generator.normal(0, 1.0, 1600) + np.where(labels == 1, 2.2, -2.2)
    reference = 1 / (1 + np.exp(-logits))
    candidate = 1 / (1 + np.exp(-1.08 * logits - generator.normal(0, 0.02, 1600)))
    cases = cases_of(Task.BINARY, labels, ("normal", "pneumonia"))
    point = OperatingPoint(specificity=0.95)
    actions = (Action(name="go home", at=0), Action(name="next day", at=0.2), Action(name="now", at=0.7))
    at = freeze_threshold(labels, reference, point).threshold
    policy = ClinicalPolicy(threshold=at, margins=STATED, operating_point=point, actions=actions)
    return told(base, cases, (reference, candidate), policy)


def several(k: int, n: int, share: list[float], spread: float, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and logits (n, k) of classes of unequal size."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(k, n, p=share)
    return labels, generator.normal(0, 1, (n, k)) + spread * np.eye(k)[labels]


def make_multiclass(base: StudyResult) -> StudyResult:
    """Beats, five of a patient, one class rare; some of the candidate's outputs are not numbers."""
    labels, logits = several(4, 2000, [0.7, 0.12, 0.16, 0.02], 4.5)
    noise = np.random.default_rng(9).normal(0, 0.08, logits.shape)
    candidate = softmax(logits + noise)
    candidate[[3, 700]] = np.nan
    cases = cases_of(Task.MULTICLASS, labels, BEATS, each=5)
    return told(base, cases, (softmax(logits), candidate), ClinicalPolicy(margins=STATED))


def make_crowded(base: StudyResult) -> StudyResult:
    """Fifteen classes with long names: no matrix has room."""
    k = 15
    labels, logits = several(k, 1500, [1 / k] * k, 3.5)
    noise = np.random.default_rng(9).normal(0, 0.4, logits.shape)
    names = tuple(f"tissue of the kind number {i}, long" for i in range(k))
    cases = cases_of(Task.MULTICLASS, labels, names)
    return told(base, cases, (softmax(logits), softmax(logits + noise)), ClinicalPolicy(margins=STATED))


def make_ordinal(base: StudyResult) -> StudyResult:
    """Grades, each nearest to its neighbours; margins are defaults."""
    generator = np.random.default_rng(4)
    labels = generator.choice(5, 1200, p=[0.5, 0.15, 0.2, 0.1, 0.05])
    near = labels + generator.normal(0, 0.45, 1200)
    logits = -2.5 * (near[:, None] - np.arange(5)) ** 2
    noise = generator.normal(0, 0.15, logits.shape)
    cases = cases_of(Task.ORDINAL, labels, GRADES, each=2)
    return told(base, cases, (softmax(logits), softmax(logits + noise)), ClinicalPolicy())


def make_multilabel(base: StudyResult) -> StudyResult:
    """Thirteen findings, one in ten labels unknown, two with thresholds of their own."""
    generator = np.random.default_rng(6)
    n, k = 900, len(FINDINGS)
    truth = (generator.random((n, k)) < np.linspace(0.06, 0.5, k)).astype(np.int64)
    logits = generator.normal(0, 1.2, (n, k)) + np.where(truth == 1, 2.4, -2.4)
    reference = 1 / (1 + np.exp(-logits))
    candidate = 1 / (1 + np.exp(-logits - generator.normal(0, 0.05, (n, k))))
    labels = np.where(generator.random((n, k)) < 0.1, -1, truth)
    # So few positives of a finding as are enough for its sensitivity are for its AUROC only at the same margin.
    margins = Margins(sensitivity=0.05, specificity=0.02, auroc=0.05, brier=0.01)
    policy = ClinicalPolicy(margins=margins, thresholds={"Hernia": 0.3, "Mass": 0.6})
    return told(base, cases_of(Task.MULTILABEL, labels, FINDINGS), (reference, candidate), policy)


def make_regression(base: StudyResult) -> StudyResult:
    """Bone age in months, with a margin and a tolerance; 3000 cases of 1500 patients."""
    generator = np.random.default_rng(8)
    labels = generator.uniform(12, 216, (3000, 1))
    reference = labels + generator.normal(0.4, 7, (3000, 1))
    candidate = reference + generator.normal(0.2, 0.8, (3000, 1))
    candidate[:6] += 6.5
    policy = ClinicalPolicy(margins=Margins(error=1.2), tolerance=4)
    return told(base, cases_of(Task.REGRESSION, labels, ("bone age, months",), each=2), (reference, candidate), policy)


def make_unstated(base: StudyResult) -> StudyResult:
    """Two outputs, neither margin nor tolerance: nothing can be shown."""
    generator = np.random.default_rng(8)
    labels = np.stack([generator.normal(60, 9, 400), generator.normal(4, 0.5, 400)], axis=1)
    reference = labels + generator.normal(0, [4, 0.1], (400, 2))
    candidate = reference + generator.normal(0, [0.4, 0.02], (400, 2))
    outputs = ("ejection fraction", "wall, cm")
    return told(base, cases_of(Task.REGRESSION, labels, outputs), (reference, candidate), ClinicalPolicy())


def make_segmentation(base: StudyResult) -> StudyResult:
    """Three structures and a background; two masks lose much, one is not finite."""
    generator = np.random.default_rng(8)
    reference = 1 - generator.beta(2, [40, 25, 9], (260, 3))
    candidate = np.clip(reference + generator.normal(0, 0.004, (260, 3)), 0, 1)
    candidate[5, 2], candidate[9, 1] = reference[5, 2] - 0.2, reference[9, 1] - 0.11
    candidate[20] = np.nan
    cases = cases_of(Task.SEGMENTATION, np.zeros((260, 0)), ("background", "liver", "spleen", "tumour"))
    return told(base, cases, (reference, candidate), ClinicalPolicy(margins=Margins(dice=0.01)))
