"""Mixed precision of an original: proposals and a ranking of its layers, worked out in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import TrialError
from primum.models.torch_module import build as build_module
from primum.runtimes.base import Target
from primum.study.mixed import MixedProposal, mixed_targets
from primum.study.original import Original
from primum.study.sensitivity import layer_scores
from primum.study.stages import Workshop

CASES = 64
"""Calibration cases that layers are scored and graphs profiled on."""


@dataclass(frozen=True)
class Mixing:
    """What mixed precision could be, fastest first, and the layers by their harm, worst first."""

    proposals: tuple[MixedProposal, ...]
    ranked: tuple[str, ...]


def propose_mixing(original: Original, target: Target, workshop: Workshop, labels: NDArray[Any] | None) -> Mixing:
    """Proposals for `target` (INT8) and the ranking, from calibration cases alone; `labels` belong to these.

    Raises TrialError where the original has no export, or its layers cannot be told apart.
    """
    if original.onnx is None:
        raise TrialError("the original has no ONNX export whose layers could be kept in FP32")
    module = build_module(original.reference).module
    cases = np.asarray(np.load(workshop.inputs, mmap_mode="r")[workshop.calibration[:CASES]])
    known = None if labels is None else labels[:CASES]
    proposals = mixed_targets(module, original.onnx, original.signature, cases, known, target)
    scores = layer_scores(module, original.signature, cases, known)
    return Mixing(proposals, tuple(s.name for s in sorted(scores, key=lambda s: -s.score)))
