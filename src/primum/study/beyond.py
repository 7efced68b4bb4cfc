"""Smaller networks that removing the same share of each layer's channels does not reach, at AGGRESSIVE alone.

Students of fewer blocks, and the channels that matter least over all layers, to a latency that is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from primum.errors import InputError, TrialError
from primum.models.torch_module import build as build_module
from primum.runtimes.base import Target
from primum.study.original import Original
from primum.study.recipe import Recipe
from primum.study.stages import Workshop
from primum.study.trial import Trial
from primum.techniques.registry import TechniqueConfig, make

_FASTER = 1.15
"""So much faster than the best of equal shares must a network be that is worth another training."""


@dataclass(frozen=True)
class Idea:
    """Techniques, why they are tried, and whether they are judged in FP32 before INT8 is paid for."""

    techniques: tuple[TechniqueConfig, ...]
    why: str
    staged: bool = True


def shallower(original: Original, workshop: Workshop) -> list[tuple[float, float]]:
    """(width, depth) of the students with fewer blocks that can be made of the original, the dearest first.

    Thinner ones of all its blocks are what removing channels gives. Run in a process of its own.
    """
    import numpy as np

    from primum.techniques.context import Context
    from primum.techniques.students import propose_students

    cases = np.load(workshop.inputs, mmap_mode="r")[workshop.calibration[:32]]
    context = Context(signature=original.signature, calibration=np.asarray(cases))
    try:
        found = propose_students(build_module(original.reference).module, original.signature, context)
    except (InputError, TrialError):
        return []
    return [(one.student.width, one.student.depth) for one in found if one.student.depth < 1]


def students(shapes: tuple[tuple[float, float], ...], distill: TechniqueConfig) -> Iterator[Idea]:
    """A student of each shape, taught by the original."""
    for width, depth in shapes:
        of = f"a student of {depth:.0%} of the blocks" + (f" and {width:.0%} of the channels" if width < 1 else "")
        yield Idea((make("student", {"width": width, "depth": depth}), distill), f"{of}, taught by the original")


def to_latency(
    known: Mapping[str, Trial], best: Trial | None, target: Target, most: float, distill: TechniqueConfig
) -> Idea | None:
    """Somewhat faster than the best of equal shares, `best`, if that is what leads on the target; else None."""
    plain = known.get(Recipe(target).key)
    if best is None or plain is None or not plain.ok or plain.speed <= 0:
        return None
    speedup = round(_FASTER * best.speed / plain.speed, 1)
    if speedup <= 1:
        return None
    prune = make("prune_to_latency", {"speedup": speedup, "scope": "global", "max_ratio": most})
    why = (
        f"the least important channels of all layers, {speedup:g} times as fast by measurement, taught by the original"
    )
    return Idea((prune, distill), why, staged=False)
