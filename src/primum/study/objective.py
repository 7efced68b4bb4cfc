"""What candidates are ranked by: the merit by which one is better than another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from primum.study.trial import Trial


@dataclass(frozen=True)
class Objective:
    """A merit of trials, on a ratio scale: twice the merit is twice as good."""

    name: Literal["latency", "size"]
    better: str
    """What one with more merit is called."""
    merit: Callable[[Trial], float]
    alike: float
    """Merits within this factor are as good as the same; then speed decides."""
    least_speed: float
    """Speed-up over the original below which nothing is delivered while there is something else."""

    def fast_enough(self, trial: Trial) -> bool:
        """Whether it is fast enough to be delivered."""
        return trial.speed >= self.least_speed

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """The fastest of those that are as good as the best; None of none."""
        most = max((self.merit(t) for t in trials), default=0.0)
        alike = [t for t in trials if self.merit(t) * self.alike >= most]
        return max(alike, key=lambda t: (t.speed, self.merit(t)), default=None)


def _smallness(trial: Trial) -> float:
    return 1.0 / max(trial.all_bytes, 1)


LATENCY = Objective("latency", "faster", lambda trial: trial.speed, alike=1.0, least_speed=0.0)
SIZE = Objective("size", "smaller", _smallness, alike=1.02, least_speed=1.0)


def objective_of(name: Literal["latency", "size"]) -> Objective:
    """The objective of that name."""
    return {LATENCY.name: LATENCY, SIZE.name: SIZE}[name]
