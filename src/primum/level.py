"""How far the search may go; apart, so that the command line can name the choices without loading anything else."""

from __future__ import annotations

from enum import StrEnum


class OptimizationLevel(StrEnum):
    """How far the search may go.

    MINIMAL: lossless runtimes only. BALANCED: 16-bit and INT8 too. AGGRESSIVE: pruning, distillation and 4-bit too.
    MEDICAL_CRITICAL: INT8 at most, every gate mandatory, margins must be given.
    """

    MINIMAL = "minimal"
    BALANCED = "balanced"
    AGGRESSIVE = "aggressive"
    MEDICAL_CRITICAL = "medical_critical"
