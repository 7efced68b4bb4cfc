"""What a study found: the one object that every report is rendered from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.benchmark.timing import Timings
from primum.config import ClinicalPolicy, OptimizationLevel
from primum.data.evaluation import Exclusion
from primum.hardware.machine import Machine
from primum.study.layers import LayerReport
from primum.study.planner import LeftOut
from primum.study.trial import Trial, trial_to_json, verdict_to_data
from primum.task import Task
from primum.validation.assessment import Assessment
from primum.validation.conformal import Band
from primum.validation.flip_causes import FlipCauses
from primum.validation.guard_curve import CurvePoint, GuardOutcome
from primum.validation.operating import FrozenThreshold
from primum.validation.planning import Plan
from primum.validation.verdict import Outcome, Verdict


@dataclass(frozen=True)
class ModelSummary:
    """The original."""

    name: str
    digest: str
    parameters: int
    weight_bytes: int
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    positive: str
    """"" but for a binary model."""
    notes: tuple[str, ...]
    task: Task = Task.BINARY


@dataclass(frozen=True)
class PartSummary:
    """One part of the judging data."""

    name: str
    cases: int
    patients: int
    counts: dict[str, int]
    """Cases by class; of several labels those that have each; empty where there are no classes."""


@dataclass(frozen=True)
class DataSummary:
    """The judging data."""

    name: str
    cases: int
    patients: int
    unit: str
    """"patient", or why each case is taken as one."""
    parts: tuple[PartSummary, ...]
    groups: dict[str, dict[str, int]]
    excluded: tuple[Exclusion, ...]
    notes: tuple[str, ...]
    synthetic: bool = False


@dataclass(frozen=True)
class Confirmation:
    """One opening of the confirmation set."""

    key: str
    recipe: str
    verdict: Verdict
    opened: str = ""
    """When the ledger recorded the opening, before the cases were looked at."""
    frozen: str = ""
    """Digest of what was frozen (original, recipe, preprocessing, policy), as the ledger names it."""
    entry: str = ""
    """Hash of the ledger's record of this opening: kept here, it shows later that the ledger was not written anew."""


@dataclass(frozen=True)
class Judged:
    """Labels and scores of original and delivered artifact on one part, as the gate takes them for the task."""

    part: str
    labels: NDArray[Any]
    reference: NDArray[np.float64]
    candidate: NDArray[np.float64]


@dataclass(frozen=True)
class GuardPoint:
    """One epsilon: its band, what it defers and leaves on fresh cases, and the speed that is left.

    `speed` is the speed-up over the baseline if that share of cases pays for both models; NaN without a band.
    """

    point: CurvePoint
    speed: float


@dataclass(frozen=True)
class GuardResult:
    """The guard of the delivered artifact, on cases that the band was not set on."""

    part: str
    band: Band
    outcome: GuardOutcome
    curve: tuple[GuardPoint, ...]
    fast: Timings
    """Of the fast model alone."""
    reference: Timings
    """Of the original in the runtime that the guard asks."""


@dataclass(frozen=True)
class Why:
    """What the changed decisions of one candidate, unguarded, come from."""

    recipe: str
    part: str
    layers: LayerReport
    cases: FlipCauses


@dataclass(frozen=True)
class StudyResult:
    """Everything that the study found. `stages`: "original" and "delivered" -> stage -> statistics in ms."""

    created: str
    version: str
    machine: Machine
    level: OptimizationLevel
    adjustments: tuple[str, ...]
    policy: ClinicalPolicy
    model: ModelSummary
    data: DataSummary
    power: dict[str, Plan]
    """By binary question, "" for a binary model; none for regression and segmentation."""
    baseline: Trial
    trials: tuple[Trial, ...]
    left_out: tuple[LeftOut, ...]
    front: frozenset[str]
    declared: tuple[str, ...]
    declared_reason: str
    confirmations: tuple[Confirmation, ...]
    prior_openings: tuple[str, ...]
    """Earlier openings of these confirmation cases for other candidates, as sentences."""
    winner: Trial
    accepted: bool
    """A candidate was chosen and proven; False: the lossless original stands in because none was."""
    unproven: bool
    verdict: Verdict
    """The verdict that decided: of the winner, or of the best candidate that was not accepted."""
    verdict_recipe: str
    reasons: tuple[str, ...]
    final: dict[str, Timings]
    """Key -> timings of the last interleaved run of original and finalists."""
    stages: dict[str, dict[str, dict[str, Any]]]
    judged: Judged
    harmed: tuple[tuple[str, Verdict], ...] = ()
    """(recipe, verdict) of the candidates found INFERIOR."""
    frozen: FrozenThreshold | None = None
    """How the threshold was set on the original, where a rate to hold was asked for."""
    guard: GuardResult | None = None
    """None: the delivered artifact is not guarded."""
    assessment: Assessment | None = None
    """Of the delivered artifact: calibration, operating points, actions, groups, the five scores."""
    why: Why | None = None
    """None: no decision changed that a reader would ask about."""
    declared_at: str = ""
    """When sequence and policy were fixed on disk, before the confirmation set was opened."""

    @property
    def outcome(self) -> Outcome:
        """Outcome of the deciding verdict."""
        return self.verdict.outcome

    @property
    def speedup(self) -> float:
        """Original's median / delivered artifact's, batch 1, last interleaved run; of a guarded artifact the ratio of
        mean latencies, for its deferred cases pay for both models."""
        timings = self.final[self.winner.key]
        return timings.effective if self.winner.guard else timings.ratio

    @property
    def speedup_interval(self) -> tuple[float, float]:
        """Bootstrap interval of `speedup`."""
        timings = self.final[self.winner.key]
        guarded = (timings.effective_lower, timings.effective_upper)
        return guarded if self.winner.guard else (timings.ratio_lower, timings.ratio_upper)

    @property
    def size_ratio(self) -> float:
        """Bytes of the original's weights / bytes of the delivered model files."""
        return self.baseline.size_bytes / max(self.winner.size_bytes, 1)

    @property
    def size_ratio_with_reference(self) -> float:
        """The same with the original that a guarded artifact carries."""
        held = self.winner.guard.reference_bytes if self.winner.guard else 0
        return self.baseline.size_bytes / max(self.winner.size_bytes + held, 1)


def summary(result: StudyResult, artifact: Path, report: Path) -> dict[str, Any]:
    """The object that `primum optimize --json` prints."""
    import json

    return {
        "accepted": result.accepted,
        "artifact": str(artifact),
        "report": str(report),
        "verdict": result.outcome.value,
        "verdict_of": result.verdict_recipe,
        "unproven": result.unproven,
        "delivered": {
            "recipe": result.winner.recipe,
            "verdict": result.winner.outcome.value,
            "basis": result.winner.verdict.basis.value if result.winner.verdict else None,
        },
        "speedup": result.speedup,
        "speedup_interval": list(result.speedup_interval),
        "size_ratio": result.size_ratio,
        "size_ratio_with_reference": result.size_ratio_with_reference,
        "reasons": list(result.reasons),
        "declared": list(result.declared),
        "verdict_detail": verdict_to_data(result.verdict),
        "confirmations": [{"recipe": c.recipe, "verdict": verdict_to_data(c.verdict)} for c in result.confirmations],
        "baseline": json.loads(trial_to_json(result.baseline)),
        "trials": [json.loads(trial_to_json(t)) for t in result.trials],
        "left_out": [{"what": item.what, "why": item.why} for item in result.left_out],
    }
