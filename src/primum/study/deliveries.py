"""The delivered artifacts of a study side by side, one row a runtime."""

from __future__ import annotations

from dataclasses import dataclass

from primum.study.result import StudyResult
from primum.validation.verdict import Basis, Outcome


@dataclass(frozen=True)
class DeliveredRow:
    """One delivered artifact, in figures. `speedup` and `speedup_interval` are of the last run of all finalists."""

    runtime: str
    recipe: str
    artifact: str
    """Below the output folder."""
    overall: bool
    """It is the best of them, which lies in artifact/ too."""
    accepted: bool
    unproven: bool
    lossless: bool
    outcome: Outcome
    """Of this very artifact."""
    basis: Basis | None
    part: str
    """Part of the data that the outcome rests on."""
    speedup: float
    speedup_interval: tuple[float, float]
    size_bytes: int
    """With the original that a guarded artifact carries."""
    size_ratio: float
    flips: int
    """Decisions that differ from the original's on `part`."""
    cases: int
    """Judged cases of `part`."""
    reasons: tuple[str, ...]
    """Of its claim: where the lossless original stands in, why."""


def delivered_rows(result: StudyResult) -> tuple[DeliveredRow, ...]:
    """One row for each claim of a study that has them, in the order asked for."""
    return tuple(_row(result.told_from(claim)) for claim in result.claims)


def _row(told: StudyResult) -> DeliveredRow:
    winner, verdict = told.winner, told.own_verdict
    return DeliveredRow(
        runtime=told.runtime,
        recipe=winner.recipe,
        artifact=told.place,
        overall=told.runtime == told.overall,
        accepted=told.accepted,
        unproven=told.unproven,
        lossless=winner.lossless,
        outcome=verdict.outcome if verdict is not None else Outcome.NOT_ASSESSED,
        basis=verdict.basis if verdict is not None else None,
        part=told.judged.part,
        speedup=told.speedup,
        speedup_interval=told.speedup_interval,
        size_bytes=winner.all_bytes,
        size_ratio=told.size_ratio_with_reference,
        flips=verdict.agreement.flips if verdict is not None else 0,
        cases=verdict.n if verdict is not None else 0,
        reasons=told.reasons,
    )
