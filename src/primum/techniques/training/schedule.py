"""How many steps there will be, and the learning rate of each."""

from __future__ import annotations

import math

from primum.techniques.training.config import TrainingConfig

FLOOR = 0.01
"""Share of the highest learning rate at which the cosine ends."""
_RESERVE = 0.9
"""Share of the remaining time that steps may use; validation and saving take the rest."""
_SLOWER = 1.05


class Plan:
    """Steps of a training; `total` is less than was asked where `max_minutes` is too short for all."""

    def __init__(self, config: TrainingConfig, steps_per_epoch: int) -> None:
        self.config, self.steps_per_epoch = config, steps_per_epoch
        self.total = config.epochs * steps_per_epoch
        self.limit = math.inf if config.max_minutes is None else 60.0 * config.max_minutes
        """Seconds."""
        self.reserved = 0.0
        """Seconds that the validation after the last step will take, by the one before."""

    @property
    def deadline(self) -> float:
        """Seconds after which no step begins."""
        return self.limit - self.reserved

    @property
    def cut(self) -> bool:
        """Whether time allows fewer steps than were asked."""
        return self.total < self.config.epochs * self.steps_per_epoch

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, from 0: linear warm-up, then a cosine (Loshchilov & Hutter 2017)."""
        warm = self.config.warmup * self.total
        if step < warm:
            return self.config.learning_rate * (step + 1) / (warm + 1)
        share = min((step - warm) / max(self.total - warm, 1.0), 1.0)
        return self.config.learning_rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))

    def fit_time(self, step: int, elapsed: float, seconds_a_step: float) -> None:
        """After `step` steps and `elapsed` seconds, cut `total` to what still fits.

        In the first half of the steps a cut that proves too deep is taken back; later that would raise the rate again.
        """
        asked = self.config.epochs * self.steps_per_epoch
        if self.limit == math.inf or step >= asked:
            return
        left = max(self.deadline - elapsed, 0.0)
        if seconds_a_step * (asked - step) <= _SLOWER * left:
            possible = asked
        else:
            possible = step + max(1, int(_RESERVE * left / seconds_a_step))
        if possible > self.total and 2 * step < self.total:
            self.total = min(possible, asked)
        elif seconds_a_step * (self.total - step) > _SLOWER * left:
            self.total = max(min(possible, self.total), step)
