"""One list of trials among several workers: each takes what nobody has, and waits for what others have."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from primum.config import OptimizationConfig
from primum.study.leases import Leases
from primum.study.merits import Bounds
from primum.study.planner import Proposal
from primum.study.recipe import Recipe
from primum.study.space import Space
from primum.study.store import SHARING, Store
from primum.study.trial import Trial

POLL_S = 0.25
"""Between two looks at what other workers did."""
_SPACE, _BOUNDS = TypeAdapter(Space), TypeAdapter(Bounds)


class Phase(StrEnum):
    """What the leader is at, and so what joiners may take."""

    PLANNED = "planned"
    """Planned trials, shared."""
    ALONE = "alone"
    """Mixed precision and bisection: each trial hangs on the one before."""
    EXPLORING = "exploring"
    """Suggestions, shared."""
    DONE = "done"
    """Nothing left for joiners."""


def share(
    proposals: Sequence[Proposal],
    attempt: Callable[[Proposal], Trial],
    leases: Leases,
    ended: Callable[[int], None] = lambda number: None,
) -> list[Trial]:
    """The trials of all proposals, in their order: run here, or found where another worker ran them.

    `ended` hears how many there are so far. What another worker has is waited for, and taken over where it was killed.
    """
    done: dict[str, Trial] = {}
    while open_ones := [p for p in proposals if p.recipe.key not in done]:
        for proposal in open_ones:
            if leases.take(proposal.recipe.key):
                done[proposal.recipe.key] = attempt(proposal)
                leases.release(proposal.recipe.key)
                ended(len(done))
        if any(p.recipe.key not in done for p in proposals):
            time.sleep(POLL_S)
    return [done[p.recipe.key] for p in proposals]


def asked(config: OptimizationConfig, given: Sequence[Recipe]) -> dict[str, Any]:
    """What leader and joiners must be asked alike, beside the inputs that the study is bound to."""
    return {"reduction": config.reduction.model_dump(mode="json"), "recipes": sorted(r.key for r in given)}


def announce(store: Store, phase: Phase, space: Space | None = None, bounds: Bounds | None = None) -> None:
    """Tell joiners what there is to do."""
    told: dict[str, Any] = {"phase": phase.value}
    if space is not None and bounds is not None:
        told |= {"space": _SPACE.dump_python(space, mode="json"), "bounds": _BOUNDS.dump_python(bounds, mode="json")}
    store.keep(SHARING, told)


def heard(store: Store) -> tuple[Phase | None, Space | None, Bounds | None]:
    """What the leader has told last; None before it told anything."""
    told = store.record(SHARING)
    if told is None:
        return None, None, None
    space, bounds = told.get("space"), told.get("bounds")
    return (
        Phase(told["phase"]),
        _SPACE.validate_python(space) if space else None,
        _BOUNDS.validate_python(bounds) if bounds else None,
    )
