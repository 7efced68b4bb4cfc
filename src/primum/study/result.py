"""What a study found: the one object that every report is rendered from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from primum.benchmark.timing import Timings
from primum.config import ClinicalPolicy, OptimizationLevel
from primum.data.evaluation import Exclusion
from primum.hardware.machine import Machine
from primum.study.claim import Claim, Confirmation, NotDelivered
from primum.study.planner import LeftOut
from primum.study.trial import Trial, trial_to_json, verdict_to_data
from primum.task import Task
from primum.validation.operating import FrozenThreshold
from primum.validation.planning import Plan
from primum.validation.verdict import Verdict


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
    """"patient"; where none is named, "distinct case", and whether that was declared."""
    parts: tuple[PartSummary, ...]
    groups: dict[str, dict[str, int]]
    excluded: tuple[Exclusion, ...]
    notes: tuple[str, ...]
    synthetic: bool = False
    copies: int = 0
    """Cases that repeat the input of another, where no patient is named: each input counts once."""


@dataclass(frozen=True, kw_only=True)
class StudyResult(Claim):
    """Everything that the study found, told from one delivered artifact: the best, or another of `claims`."""

    created: str
    version: str
    machine: Machine
    level: OptimizationLevel
    objective: Literal["latency", "size"] = "latency"
    adjustments: tuple[str, ...]
    policy: ClinicalPolicy
    """As in force: the confidence is that of each claim."""
    model: ModelSummary
    data: DataSummary
    power: dict[str, Plan]
    """By binary question, "" for a binary model; none for regression and segmentation."""
    baseline: Trial
    trials: tuple[Trial, ...]
    left_out: tuple[LeftOut, ...]
    front: frozenset[str]
    final: dict[str, Timings]
    """Key -> timings of the last interleaved run of original and finalists."""
    harmed: tuple[tuple[str, Verdict], ...] = ()
    """(recipe, verdict) of the candidates found INFERIOR."""
    frozen: FrozenThreshold | None = None
    """How the threshold was set on the original, where a rate to hold was asked for."""
    claims: tuple[Claim, ...] = ()
    """One for each delivered artifact."""
    overall: str = ""
    """The runtime of the claim whose artifact is the best of all."""
    not_delivered: tuple[NotDelivered, ...] = ()

    def told_from(self, claim: Claim) -> StudyResult:
        """The same study, told from the artifact of `claim`."""
        return replace(self, **{f.name: getattr(claim, f.name) for f in fields(Claim)})

    @property
    def shared_by(self) -> int:
        """How many claims the allowed error was divided among, those included that came to nothing."""
        return max(len(self.claims) + len(self.not_delivered), 1)

    @property
    def openings(self) -> tuple[Confirmation, ...]:
        """Every opening of the confirmation set, for whichever claim."""
        return tuple(opened for claim in self.claims or (self,) for opened in claim.confirmations)

    @property
    def earlier_openings(self) -> tuple[str, ...]:
        """What the ledger says of openings of these confirmation cases before this study, for whichever claim."""
        return tuple(dict.fromkeys(text for claim in self.claims or (self,) for text in claim.prior_openings))

    @property
    def untold_openings(self) -> tuple[str, ...]:
        """Openings of an older release, which cannot be compared with these cases, for whichever claim."""
        return tuple(dict.fromkeys(text for claim in self.claims or (self,) for text in claim.uncomparable_openings))

    @property
    def earlier_guard_looks(self) -> tuple[str, ...]:
        """What the ledger says of looks at the guard patients before this study; of guarded artifacts alone."""
        guards = [claim.guard for claim in self.claims or (self,) if claim.guard is not None]
        return tuple(dict.fromkeys(text for guard in guards for text in guard.prior))

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
        "objective": result.objective,
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
