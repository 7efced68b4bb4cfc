"""How to train."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from primum.techniques.registry import TechniqueConfig


class TrainingConfig(TechniqueConfig):
    """Settings of one training; technique configs that train inherit them."""

    epochs: int = Field(10, ge=1)
    batch: int = Field(32, ge=1)
    """Cases a step. The last, short batch of an epoch is left out: its batch statistics would be noise."""
    learning_rate: float = Field(1e-3, gt=0)
    """The highest, reached after the warm-up; a cosine then falls to a hundredth of it."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = Field(0.01, ge=0)
    """On weights with two axes or more; biases and normalisation are not decayed."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of SGD (Nesterov where it is not 0)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of all steps."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of the moving average of weights that is then validated and kept; None: the weights themselves."""
    clip: float | None = Field(1.0, gt=0)
    """Greatest norm of the gradient."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: 16 bits where the device computes them and neither a small net nor regression forbids; reported."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is one. The model comes back to the device it was on."""
    validation: float = Field(0.15, ge=0, le=0.5)
    """Share of the patients held out of fitting: the epoch with the lowest loss on them is kept."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many epochs without a lower validation loss; None: never before the learning rate is annealed."""
    mixup: float = Field(0.0, ge=0)
    """Parameter of the Beta distribution of mixup (Zhang et al. 2018, arXiv:1710.09412); 0: none."""
    max_minutes: float | None = Field(None, gt=0)
    """The steps are cut to what fits, and the learning rate is annealed over those."""
    keep_initial: bool = True
    """Keep the weights as they came where no epoch has a lower validation loss: training must not harm."""
