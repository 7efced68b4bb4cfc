"""A claim: one delivered artifact, the sequence that its candidate was declared in, and what the openings said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.benchmark.timing import Timings
from primum.study.layers import LayerReport
from primum.study.trial import Trial
from primum.validation.assessment import Assessment
from primum.validation.conformal import Band
from primum.validation.flip_causes import FlipCauses
from primum.validation.guard_curve import CurvePoint, GuardOutcome
from primum.validation.verdict import Outcome, Verdict


@dataclass(frozen=True)
class Confirmation:
    """One opening of the confirmation set."""

    key: str
    recipe: str
    verdict: Verdict
    opened: str = ""
    """When the ledger recorded the opening, before the cases were looked at."""
    frozen: str = ""
    """Digest of what was frozen (original, recipe, preprocessing, policy, labels, groups, patients), as the ledger
    names it."""
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
    bands: int = 1
    """Candidates of the study that had a band set on these guard patients."""
    claims: int = 1
    """Claims that may each have one, fixed before the guard part was opened; what is more was chosen from."""
    prior: tuple[str, ...] = ()
    """Earlier looks at these guard patients that were not this study's own, as sentences."""

    @property
    def chosen_among(self) -> bool:
        """Whether the bound does not cover how the candidate was chosen."""
        return self.bands > self.claims


@dataclass(frozen=True)
class Why:
    """What the changed decisions of one candidate, unguarded, come from."""

    recipe: str
    part: str
    layers: LayerReport
    cases: FlipCauses


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One delivered artifact, with what shows that it may be delivered.

    A study has one, or one for each runtime that an artifact was asked for; each has a sequence of its own, and all
    are declared before the confirmation set is opened for any.
    """

    runtime: str = ""
    """The runtime that it was asked for; "" where any would do."""
    declared: tuple[str, ...]
    declared_reason: str
    declared_at: str = ""
    """When sequence and policy were fixed on disk, before the confirmation set was opened."""
    confirmations: tuple[Confirmation, ...]
    prior_openings: tuple[str, ...]
    """Earlier openings of these confirmation cases for other candidates, as sentences."""
    uncomparable_openings: tuple[str, ...] = ()
    """Openings of an older release, of which nobody can tell whether they were of these cases, as sentences."""
    winner: Trial
    accepted: bool
    """A candidate was chosen and proven; False: the lossless original stands in because none was."""
    unproven: bool
    verdict: Verdict
    """The verdict that decided: of the winner, or of the best candidate that was not accepted."""
    verdict_recipe: str
    reasons: tuple[str, ...]
    stages: dict[str, dict[str, dict[str, Any]]]
    """"original" and "delivered" -> stage -> statistics in ms."""
    judged: Judged
    guard: GuardResult | None = None
    """None: the delivered artifact is not guarded."""
    assessment: Assessment | None = None
    """Of the delivered artifact: calibration, operating points, actions, groups, the five scores."""
    why: Why | None = None
    """None: no decision changed that a reader would ask about."""

    @property
    def outcome(self) -> Outcome:
        """Outcome of the deciding verdict."""
        return self.verdict.outcome

    @property
    def own_verdict(self) -> Verdict | None:
        """What is known of the artifact that is delivered: the deciding verdict where it is its own."""
        return self.verdict if self.verdict_recipe == self.winner.recipe else self.winner.verdict

    @property
    def place(self) -> str:
        """Where the artifact lies below the output folder."""
        return f"artifacts/{self.runtime}" if self.runtime else "artifact"


@dataclass(frozen=True)
class NotDelivered:
    """A runtime that an artifact was asked for and for which there is none, and why."""

    runtime: str
    reason: str
