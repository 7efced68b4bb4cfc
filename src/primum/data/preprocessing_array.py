"""Declarative preprocessing of arrays: signals, volumes, maps of features."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from primum.data.preprocessing import Numbers
from primum.data.synthetic import smooth_fields
from primum.errors import InputError

_EXACT = 2**24
"""The largest whole number up to which float32 holds every one."""


class ArrayPreprocessing(BaseModel):
    """How a raw array becomes the network's input: (x * scale - mean) / std, float32.

    `mean` and `std` are one number, or one for each index of the first axis of the result (its channels).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: Literal["array"] = "array"
    shape: tuple[int, ...] | None = None
    """Shape of one raw array; others are refused. None: whatever the network takes."""
    add_channel: bool = False
    """Put a channel axis of length one in front: (280,) becomes (1, 280)."""
    scale: float = Field(1.0, gt=0)
    mean: Numbers = (0.0,)
    std: Numbers = (1.0,)

    @model_validator(mode="after")
    def _check(self) -> ArrayPreprocessing:
        if any(s <= 0 for s in self.std):
            raise ValueError("std must be positive")
        for name in ("mean", "std"):
            if not getattr(self, name):
                raise ValueError(f"{name} needs a number")
        if self.shape is not None and not all(side > 0 for side in self.shape):
            raise ValueError("shape must be positive")
        return self

    def __call__(self, array: Any) -> NDArray[np.float32]:
        """One raw array of numbers to float32 of the same shape, with a channel in front where `add_channel`.

        InputError where it holds anything but finite numbers, is ragged, or has another shape.
        """
        try:
            values = np.asarray(array)
        except ValueError as error:
            raise InputError("an array's rows must all have one length") from error
        if values.dtype.kind not in "biuf":
            raise InputError(f"an array must hold numbers, not values of type {values.dtype}")
        if self.shape is not None and values.shape != self.shape:
            raise InputError(f"an array has the shape {values.shape}, the preprocessing says {self.shape}")
        if not np.isfinite(values).all():
            raise InputError("an array holds NaN or infinite numbers")
        self._demand_exact(values)
        values = values[None] if self.add_channel else values
        scaled = values.astype(np.float32) * np.float32(self.scale)
        result = (scaled - self._by_channel("mean", values)) / self._by_channel("std", values)
        return np.ascontiguousarray(result, dtype=np.float32)

    def synthetic(self, count: int, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
        """Network inputs that are no patient's, float32 (count, *shape): three standard deviations to each side."""
        return smooth_fields(count, shape, -3.0, 3.0, seed)

    def _demand_exact(self, values: NDArray[Any]) -> None:
        """Whole numbers that nothing scales may be indices: they reach the network as they are, or not at all."""
        as_they_are = self.scale == 1 and set(self.mean) == {0.0} and set(self.std) == {1.0}
        if not as_they_are or values.dtype.kind not in "iu":
            return
        beyond = (values > _EXACT) | (values < -_EXACT)
        if beyond.any():
            first = int(values[beyond].flat[0])
            raise InputError(
                f"an array holds the whole number {first:,}, which float32 rounds (beyond {_EXACT:,}): give scale, or "
                "smaller numbers"
            )

    def _by_channel(self, name: str, values: NDArray[Any]) -> NDArray[np.float32]:
        numbers = np.asarray(getattr(self, name), np.float32)
        if len(numbers) == 1:
            return numbers
        if not values.ndim or len(numbers) != len(values):
            raise InputError(f"{name} has {len(numbers)} numbers, an array of shape {values.shape} has other channels")
        return numbers.reshape(-1, *([1] * (values.ndim - 1)))
