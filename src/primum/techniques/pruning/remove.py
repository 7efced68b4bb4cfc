"""Channels physically removed by a plan, and the proof that the right ones went."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from primum.errors import TrialError
from primum.techniques.pruning.plan import ChannelSet, Cut

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LayerChange:
    """Output channels of a set of layers before and after; `rounding` as in `Cut`."""

    layers: tuple[str, ...]
    before: int
    after: int
    rounding: int


@dataclass(frozen=True)
class Unpruned:
    """Layers that kept their channels, and why."""

    layers: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Removal:
    """A pruned network and what was done to it."""

    model: torch.nn.Module
    changes: tuple[LayerChange, ...]
    unpruned: tuple[Unpruned, ...]
    parameters_before: int
    parameters_after: int
    notes: tuple[str, ...]


def parameters(model: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


def remove(
    model: torch.nn.Module, example: torch.Tensor, plan: Mapping[str, Cut]
) -> tuple[torch.nn.Module, dict[str, str]]:
    """A copy of `model` without the channels of `plan` (by name of the set), and the sets left out, each with why.

    The copy is checked against the original (`check.fault`). Where it fails, the faulty sets are found by halves and
    left out. Raises TrialError where what remains fails together.
    """
    pruned, problem = _attempt(model, example, plan)
    if problem is None:
        return pruned, {}
    faults = _faults(model, example, dict(plan), problem)
    rest = {name: one for name, one in plan.items() if name not in faults}
    pruned, problem = _attempt(model, example, rest)
    if problem is not None:
        raise TrialError(f"the pruned network is not what it should be: {problem}")
    return pruned, faults


def _faults(model: torch.nn.Module, example: torch.Tensor, plan: dict[str, Cut], problem: str) -> dict[str, str]:
    """The sets of a plan, known to fail, that fail by themselves."""
    if len(plan) == 1:
        return dict.fromkeys(plan, problem)
    names = list(plan)
    found: dict[str, str] = {}
    for half in (names[: len(names) // 2], names[len(names) // 2 :]):
        part = {name: plan[name] for name in half}
        wrong = _attempt(model, example, part)[1]
        found |= _faults(model, example, part, wrong) if wrong else {}
    return found


def _attempt(
    model: torch.nn.Module, example: torch.Tensor, plan: Mapping[str, Cut]
) -> tuple[torch.nn.Module, str | None]:
    from primum.techniques.pruning.check import Ledger, fault
    from primum.techniques.pruning.graph import FAILURES, Graph

    pruned = copy.deepcopy(model)
    was = {name: module.training for name, module in model.named_modules()}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    graph, ledger = Graph(pruned, example), Ledger()
    try:
        for name, one in plan.items():
            ledger.enter(graph.remove(name, one.idxs))
    except FAILURES as error:
        return pruned, f"its layers cannot be cut together ({(str(error).splitlines() or [''])[0]})"
    for name, module in pruned.named_modules():
        module.training = was[name]
    for name, parameter in pruned.named_parameters():
        parameter.requires_grad_(name not in frozen)
    pruned.zero_grad(set_to_none=True)
    return pruned, fault(model, pruned, ledger, example)


def describe(
    before: torch.nn.Module,
    after: torch.nn.Module,
    sets: Sequence[ChannelSet],
    plan: Mapping[str, Cut],
    faults: Mapping[str, str],
    round_to: int,
    first: Sequence[str] = (),
) -> Removal:
    """The removal as data, with its notes after those of `first`. Raises TrialError where nothing was removed."""
    changes, unpruned = [], []
    for s in sets:
        if s.output:
            continue
        if s.name in plan and s.name not in faults:
            one = plan[s.name]
            changes.append(LayerChange(s.layers, s.channels, s.channels - len(one.idxs), one.rounding))
        elif s.obstacle or s.name in faults:
            unpruned.append(Unpruned(s.layers, s.obstacle or faults[s.name]))
        else:
            unpruned.append(Unpruned(s.layers, "too few channels for this ratio, or all more important than others'"))
    if not changes:
        why = "; ".join(f"{', '.join(u.layers)}: {u.reason}" for u in unpruned) or "only the output layer has channels"
        raise TrialError(f"no channel could be removed ({why})")
    count = parameters(before), parameters(after)
    notes = (*first, _headline(changes, len(changes) + len(unpruned), count), *_rounded(changes, round_to))
    notes += tuple(f"not pruned: {', '.join(u.layers)} ({u.reason})" for u in unpruned)
    return Removal(after, tuple(changes), tuple(unpruned), *count, notes)


def _headline(changes: list[LayerChange], of: int, count: tuple[int, int]) -> str:
    gone = sum(c.before - c.after for c in changes)
    return (
        f"{gone} of {sum(c.before for c in changes)} channels removed in {len(changes)} of {of} sets of layers; "
        f"parameters {count[0]} to {count[1]} ({100 * (1 - count[1] / count[0]):.1f}% fewer)"
    )


def _rounded(changes: list[LayerChange], round_to: int) -> tuple[str, ...]:
    low = [c for c in changes if c.rounding < round_to]
    if not low:
        return ()
    named = ", ".join(f"{c.layers[0]} (to {c.rounding})" for c in low)
    return (f"too narrow for multiples of {round_to} channels, rounded to fewer: {named}",)
