"""Pruning to a latency that is measured: operations counted do not tell it (Yang et al. 2018, ECCV, NetAdapt)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from primum.errors import TrialError
from primum.techniques.pruning.remove import Removal, parameters
from primum.techniques.pruning.structured import Importance, PruneChannels, Pruner
from primum.techniques.registry import Context, Stage, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Point:
    """One measured network: the ratio asked, milliseconds of a call, number of parameters."""

    ratio: float
    milliseconds: float
    parameters: int


@dataclass(frozen=True)
class LatencySearch:
    """The network chosen, and every one that was measured, by ratio; the first is the network as it came."""

    model: torch.nn.Module
    curve: tuple[Point, ...]
    goal: float
    """Milliseconds that were to be reached."""
    ratio: float
    reached: bool
    notes: tuple[str, ...]


def _prune(model: torch.nn.Module, config: PruneToLatency, context: Context) -> torch.nn.Module:
    search = prune_to_latency(model, config, context)
    for note in search.notes:
        context.note(note)
    return search.model


@technique("prune_to_latency", _prune, Stage.PRUNE, reshapes=True, measures=True)
class PruneToLatency(TechniqueConfig):
    """Remove as few channels as reach a measured latency, given as a speed-up or in milliseconds."""

    speedup: float | None = Field(None, gt=1)
    milliseconds: float | None = Field(None, gt=0)
    max_ratio: float = Field(0.7, gt=0, lt=1)
    steps: int = Field(5, ge=1, le=20)
    """Networks built and measured between the most that may be removed and nothing, at most."""
    importance: Importance = Importance.MAGNITUDE
    scope: Literal["layer", "global"] = "layer"
    round_to: int = Field(8, ge=1)
    ignored: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_goal(self) -> PruneToLatency:
        if (self.speedup is None) == (self.milliseconds is None):
            raise ValueError("give either a speedup or milliseconds")
        return self

    def channels(self) -> PruneChannels:
        """The pruning that is searched over, at its most."""
        return PruneChannels(
            ratio=self.max_ratio,
            importance=self.importance,
            scope=self.scope,
            layer_limit=max(self.max_ratio, 0.8),
            round_to=self.round_to,
            ignored=self.ignored,
        )


def prune_to_latency(
    model: torch.nn.Module, config: PruneToLatency, context: Context, example_inputs: Any = None
) -> LatencySearch:
    """The least pruned network whose measured latency (`context.measure`) reaches the goal.

    Bisects the ratio; ratios that remove the same channels are measured once. Where even `max_ratio` falls short, the
    network at `max_ratio` comes back with `reached` false and a note. Raises InputError without a measure, TrialError
    where nothing can be removed, and what `Pruner` raises.
    """
    measure = _positive(context.need_measure("prune_to_latency"))
    pruner = Pruner(model, config.channels(), context, example_inputs)
    base = Point(0.0, measure(model), parameters(model))
    goal = config.milliseconds if config.milliseconds is not None else base.milliseconds / (config.speedup or 1.0)
    if base.milliseconds <= goal:
        note = f"nothing removed: a call takes {base.milliseconds:.4g} ms, which is within {goal:.4g} ms"
        return LatencySearch(model, (base,), goal, 0.0, True, (note,))
    found = _Search(pruner, measure)
    low, high = 0.0, config.max_ratio
    best = found.at(high)
    if best.milliseconds <= goal:
        for _ in range(config.steps):
            middle = (low + high) / 2
            if pruner.plan(middle) and (point := found.at(middle)).milliseconds <= goal:
                best, high = point, middle
            else:
                low = middle
    return _result(found, base, best, goal)


class _Search:
    """Measured candidates, one for each set of channels removed."""

    def __init__(self, pruner: Pruner, measure: Callable[[torch.nn.Module], float]) -> None:
        self._pruner, self._measure = pruner, measure
        self._known: dict[tuple[Any, ...], Point] = {}
        self.removals: dict[float, Removal] = {}

    def at(self, ratio: float) -> Point:
        key = tuple(sorted((name, one.idxs) for name, one in self._pruner.plan(ratio).items()))
        if key not in self._known:
            removal = self._pruner.removal(ratio)
            self._known[key] = Point(ratio, self._measure(removal.model), removal.parameters_after)
            self.removals[ratio] = removal
        return self._known[key]

    def points(self) -> tuple[Point, ...]:
        return tuple(sorted(self._known.values(), key=lambda p: p.ratio))


def _positive(measure: Callable[[torch.nn.Module], float]) -> Callable[[torch.nn.Module], float]:
    def checked(model: torch.nn.Module) -> float:
        value = float(measure(model))
        if not 0 < value < inf:
            raise TrialError(f"a measured latency of {value} ms cannot be: it must be positive and finite")
        return value

    return checked


def _result(found: _Search, base: Point, best: Point, goal: float) -> LatencySearch:
    removal = found.removals[best.ratio]
    reached = best.milliseconds <= goal
    curve = (base, *found.points())
    notes = [
        f"ratio {p.ratio:.3g}: {p.milliseconds:.4g} ms, {p.parameters} parameters{' (chosen)' if p is best else ''}"
        for p in curve
    ]
    if not reached:
        notes.append(
            f"{goal:.4g} ms was not reached: with {100 * best.ratio:.3g}% of the channels removed, the most allowed, "
            f"a call takes {best.milliseconds:.4g} ms"
        )
    return LatencySearch(removal.model, curve, goal, best.ratio, reached, (*notes, *removal.notes))
