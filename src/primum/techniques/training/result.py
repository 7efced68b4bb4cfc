"""What training gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stopped = Literal["epochs", "patience", "time"]


@dataclass(frozen=True)
class Epoch:
    """One pass over the fitting cases; NaN validation loss where no patient was held out."""

    number: int
    """From 1."""
    train_loss: float
    validation_loss: float
    learning_rate: float
    """At its last step."""
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """Losses by epoch, which weights were kept, why it stopped, and on what it ran."""

    epochs: tuple[Epoch, ...]
    initial_loss: float
    """Validation loss of the weights as they came; NaN where no patient was held out."""
    best_epoch: int
    """0: the weights as they came were the best."""
    stopped: Stopped
    seconds: float
    """Of training, over all its runs where it was resumed."""
    device: str
    precision: str
    """fp32, bf16 or fp16: of the arithmetic of training; weights stay float32."""
    fitting_cases: int
    validation_cases: int
    resumed_after: int
    """Epochs that an earlier, killed run had finished; 0 where there was none."""
    notes: tuple[str, ...]

    @property
    def best_loss(self) -> float:
        """Validation loss of the weights that were kept."""
        return self.epochs[self.best_epoch - 1].validation_loss if self.best_epoch else self.initial_loss

    def __str__(self) -> str:
        """One line for the notes of a recipe."""
        why = {"epochs": "", "patience": ", stopped early", "time": ", stopped by max_minutes"}[self.stopped]
        text = (
            f"trained {len(self.epochs)} epoch(s) on {self.fitting_cases} cases in {self.seconds:.0f} s "
            f"({self.device}, {self.precision}{why})"
        )
        if self.initial_loss != self.initial_loss:
            return text
        kept = f"after epoch {self.best_epoch}" if self.best_epoch else "as they came"
        return f"{text}; weights kept {kept}, validation loss {self.initial_loss:.4g} -> {self.best_loss:.4g}"
