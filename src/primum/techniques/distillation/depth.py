"""A shallower copy of a network: whole blocks are left out where what goes in has the shape of what comes out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from primum.errors import TrialError

if TYPE_CHECKING:
    import torch

FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)
"""What code that meets a network it was not made for raises."""


@dataclass(frozen=True)
class Block:
    """A block that repeats in a container. `influence` is NaN where it cannot be left out."""

    name: str
    container: str
    droppable: bool
    influence: float
    """1 - mean cosine of what goes in and what comes out (Men et al. 2024, arXiv:2403.03853)."""


@dataclass(frozen=True)
class Shortened:
    """A shallower copy, and the names of the blocks that the original has and it has not."""

    model: torch.nn.Module
    dropped: tuple[str, ...]
    blocks: int
    """Repeated blocks in the original."""


def find_blocks(model: torch.nn.Module, inputs: torch.Tensor) -> tuple[Block, ...]:
    """Blocks of one class that stand more than once in an nn.Sequential or nn.ModuleList, with their influence.

    A block can be left out where it runs once and its first input and its output have one shape.
    """
    import torch

    found = list[tuple[str, str, torch.nn.Module]]()
    for container, holder in model.named_modules():
        if isinstance(holder, (torch.nn.Sequential, torch.nn.ModuleList)):
            composite = [(n, m) for n, m in holder.named_children() if _composite(m)]
            kinds = [type(m) for _, m in composite]
            dotted = f"{container}." if container else ""
            # A stage of a network is no block of it: both would be counted.
            plain = [
                (n, m) for n, m in composite if kinds.count(type(m)) > 1 and not isinstance(m, torch.nn.Sequential)
            ]
            found += [(f"{dotted}{n}", container, m) for n, m in plain]
    influence = _influences(model, {name: m for name, _, m in found}, inputs)
    return tuple(Block(n, c, n in influence, influence.get(n, float("nan"))) for n, c, _ in found)


def shorten(model: torch.nn.Module, depth: float, inputs: torch.Tensor) -> Shortened:
    """A copy of `model` with about the share `depth` of its repeated blocks: those with the least influence go.

    `inputs` (N, *input_shape): cases to measure influence on. One block of each container stays. Raises TrialError
    where no block can be left out.
    """
    blocks = find_blocks(model, inputs)
    wanted = round((1 - depth) * len(blocks))
    left = {b.container: sum(o.container == b.container for o in blocks) for b in blocks}
    dropped = list[Block]()
    for block in sorted((b for b in blocks if b.droppable), key=lambda b: b.influence):
        nested = any(_within(block, other) or _within(other, block) for other in dropped)
        if len(dropped) < wanted and left[block.container] > 1 and not nested:
            left[block.container] -= 1
            dropped.append(block)
    if not dropped:
        raise TrialError(
            f"no block can be left out for depth {depth:g}: of {len(blocks)} repeated blocks "
            f"{sum(b.droppable for b in blocks)} have outputs of their input's shape"
        )
    gone = [block for block in blocks if block in dropped]
    short = _without(model, gone)
    _check(model, short, inputs[:1])
    return Shortened(short, tuple(b.name for b in gone), len(blocks))


def _composite(module: torch.nn.Module) -> bool:
    """It has layers of its own, and weights."""
    return next(module.children(), None) is not None and next(module.parameters(), None) is not None


def _influences(model: torch.nn.Module, blocks: dict[str, torch.nn.Module], inputs: torch.Tensor) -> dict[str, float]:
    """Influence of the blocks that can be left out."""
    import torch

    found, calls, hooks = dict[str, float](), dict[str, int](), []

    def watch(name: str) -> Any:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any, gave: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            first = next((x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)), None)
            if isinstance(gave, torch.Tensor) and first is not None and gave.shape == first.shape:
                same = torch.nn.functional.cosine_similarity(first.flatten(1).float(), gave.flatten(1).float(), dim=1)
                found[name] = 1 - float(same.mean())

        return hook

    was = model.training
    try:
        hooks = [m.register_forward_hook(watch(n), with_kwargs=True) for n, m in blocks.items()]
        with torch.no_grad():
            model.eval()(inputs)
    finally:
        model.train(was)
        for hook in hooks:
            hook.remove()
    return {name: value for name, value in found.items() if calls[name] == 1}


def _without(model: torch.nn.Module, dropped: list[Block]) -> torch.nn.Module:
    import torch

    short = copy.deepcopy(model)
    # From the last to the first: deleting renames what follows in a list.
    for block in reversed(dropped):
        holder = short.get_submodule(block.container)
        if isinstance(holder, torch.nn.ModuleList):
            del holder[int(_key(block))]
        else:
            setattr(holder, _key(block), torch.nn.Identity())
    return short


def _within(block: Block, other: Block) -> bool:
    return block.name.startswith(f"{other.name}.")


def _key(block: Block) -> str:
    return block.name.rpartition(".")[2]


def _check(model: torch.nn.Module, short: torch.nn.Module, example: torch.Tensor) -> None:
    import torch

    try:
        with torch.no_grad():
            before, after = (m.eval()(example) for m in (copy.deepcopy(model), short))
    except FAILURES as error:
        raise TrialError(f"the shallower network does not run: {(str(error).splitlines() or [''])[0]}") from error
    if before.shape != after.shape or not bool(torch.isfinite(after).all()):
        raise TrialError(f"the shallower network gives {tuple(after.shape)}, not finite {tuple(before.shape)}")
