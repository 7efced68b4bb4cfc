"""Whether an artifact that answers decides otherwise than a more trusted network too often: tested after every case."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import log

from pydantic import BaseModel, ConfigDict, Field

from primum.validation.intervals import Interval
from primum.validation.sequential import confidence_sequence, log_e_value


class FlipRecord(BaseModel):
    """What is known of an artifact's flips, as it is kept over restarts. No case is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: str
    """Of the artifact's manifest."""
    recipe: str
    against: str
    """SHA-256 of the manifest of the artifact whose network was asked too."""
    most_flips: float
    """The rate that was tested."""
    cases: int = Field(ge=0)
    flips: int = Field(ge=0)
    barred: str | None = None
    """When the artifact was found to flip more often than `most_flips`; None: it was not."""


@dataclass
class FlipTest:
    """Flips among sampled cases, against H0: at most `most_flips` of all cases. Answers for one artifact."""

    sha256: str
    recipe: str
    against: str
    most_flips: float
    alpha: float
    """Of this test: the chance that it ever bars an artifact which flips no more than that."""
    cases: int = 0
    flips: int = 0
    barred: str | None = None

    @property
    def log_e(self) -> float:
        """Evidence against H0; from log(1/alpha) on it is rejected."""
        return log_e_value(self.flips, self.cases, self.most_flips)

    @property
    def bounds(self) -> Interval:
        """Of the rate, holding at all times at once with a chance of 1 - alpha; NaN estimate before the first case."""
        return confidence_sequence(self.flips, self.cases, self.alpha)

    def add(self, flipped: bool) -> bool:
        """A case was compared; whether this is where the artifact must be barred."""
        self.cases, self.flips = self.cases + 1, self.flips + flipped
        # Evidence rises on a flip alone.
        if self.barred is not None or not flipped or self.log_e < log(1 / self.alpha):
            return False
        self.barred = datetime.now(UTC).isoformat(timespec="seconds")
        return True

    def resume(self, record: FlipRecord) -> None:
        """Go on from an earlier run: a bar stands; counts go on where the same was asked of the same."""
        self.barred = record.barred
        if (record.against, record.most_flips) == (self.against, self.most_flips) or record.barred is not None:
            self.cases, self.flips = record.cases, record.flips

    def record(self) -> FlipRecord:
        """What to keep."""
        return FlipRecord(
            sha256=self.sha256,
            recipe=self.recipe,
            against=self.against,
            most_flips=self.most_flips,
            cases=self.cases,
            flips=self.flips,
            barred=self.barred,
        )
