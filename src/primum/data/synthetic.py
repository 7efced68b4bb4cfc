"""Inputs that are no patient's: what golden vectors are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def smooth_fields(count: int, shape: tuple[int, ...], low: float, high: float, seed: int = 0) -> NDArray[np.float32]:
    """Smooth random fields and noise between `low` and `high`, float32 (count, *shape)."""
    generator = np.random.default_rng(seed)
    noise = generator.random((count, *shape), dtype=np.float32)
    ramps = np.linspace(0.0, 1.0, shape[-1], dtype=np.float32)
    waves = 0.5 + 0.5 * np.sin(ramps * generator.uniform(1, 12, (count, *([1] * len(shape)))).astype(np.float32))
    share = np.linspace(0.1, 0.9, count, dtype=np.float32).reshape(-1, *([1] * len(shape)))
    return np.asarray(low + (high - low) * (share * noise + (1 - share) * waves), dtype=np.float32)
