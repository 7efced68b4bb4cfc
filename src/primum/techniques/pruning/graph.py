"""Which channels of a network go together: Torch-Pruning's DepGraph (Fang et al. 2023, arXiv:2301.12900).

Torch is imported here: this module is imported where a network is pruned, never with the package.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import lcm
from typing import Any

import torch
from torch import nn

from primum.errors import InputError, MissingExtra, TrialError
from primum.techniques.pruning.layers import FixedPruner, customized_pruners, grouped_alone
from primum.techniques.pruning.plan import ChannelSet
from primum.techniques.pruning.simplified import Joins, one_slope, simplified, tensors

CONV = nn.modules.conv._ConvNd
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError, ArithmeticError)
"""What code that meets a network it was not made for raises."""


class _Input(nn.Module):  # type: ignore[misc]
    """The network's input as a layer: without it, channels behind a concatenation with it are misplaced."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A copy, so that the input is the result of an operation."""
        return x.clone()


class _Entered(nn.Module):  # type: ignore[misc]
    def __init__(self, model: nn.Module, channels: int, whole: bool) -> None:
        super().__init__()
        self.input = _Input(channels)
        self.model, self.whole = model, whole

    def forward(self, x: torch.Tensor) -> Any:
        entered = self.input(x)
        # Whole numbers (token ids) have no gradient: the trace begins at the table that they are looked up in.
        return self.model(entered.detach().long() if self.whole else entered)


@dataclass(frozen=True)
class Member:
    """One layer of a channel set: which of its channels they are, and to which channel of the set each belongs."""

    module: Any
    name: str
    idxs: tuple[int, ...]
    roots: tuple[int, ...]
    outward: bool
    """They are output channels of the layer."""
    inward: bool
    """They are input channels of the layer; both where a layer has one kind (norms, depthwise convolutions)."""


class Graph:
    """A traced network. `model` is changed by `remove`, never before."""

    def __init__(self, model: nn.Module, example: torch.Tensor) -> None:
        """Trace `model` with one case. InputError where it cannot be pruned, TrialError where it cannot be traced."""
        try:
            import torch_pruning
        except ImportError as error:
            raise MissingExtra("removing channels", "prune") from error
        if isinstance(model, torch.jit.ScriptModule):
            raise InputError("a TorchScript model cannot be pruned: give the torch module that it was made from")
        self.model = model
        self._names: dict[Any, str] = {module: name for name, module in model.named_modules()}
        pruners, stay = customized_pruners(model)
        self._stay = (*stay, _Input)
        self._lost: dict[str, str] = {}
        self._ops = torch_pruning.ops
        joins = Joins()
        self._graph = _graph_knowing(joins)
        with warnings.catch_warnings(), simplified(model, stay), torch.enable_grad():
            warnings.simplefilter("ignore")
            try:
                self._graph.build_dependency(
                    _Entered(model, example.shape[1], not example.is_floating_point()),
                    (example.detach().to(_float_of(example)).clone().requires_grad_(True),),
                    forward_fn=partial(_watched, joins),
                    output_transform=_marked,
                    customized_pruners={**pruners, _Input: FixedPruner()},
                    ignored_layers=one_slope(model),
                    verbose=False,
                )
                self._spread_singles()
            except FAILURES as error:
                raise TrialError(f"the channels of this model cannot be traced: {_first_line(error)}") from error

    def sets(self, ignored: Sequence[str] = ()) -> tuple[ChannelSet, ...]:
        """Every set of channels, with what stands in its way; names in `ignored` (or above) keep their channels."""
        return tuple(self._describe(name, ignored) for name in self._groups)

    def members(self, name: str) -> tuple[Member, ...]:
        """The layers of the set `name`, with all of its channels."""
        return self._groups[name]

    def remove(self, name: str, idxs: Sequence[int]) -> tuple[Member, ...]:
        """Remove channels of a set from the model; returns the layers with what they lost. Raises as torch does."""
        root = self.model.get_submodule(name)
        group = self._group(root, list(idxs))
        if not self._graph.check_pruning_group(group):
            raise ValueError("a layer would be left without channels")
        members = self._members(group)
        group.prune(record_history=False)
        return members

    def _group(self, root: nn.Module, idxs: list[int]) -> Any:
        pruner = self._graph.get_pruner_of_module(root)
        return self._graph.get_pruning_group(root, pruner.prune_out_channels, idxs)

    def _spread_singles(self) -> None:
        """Part layers of one channel from others: theirs is spread over all channels (attention gates), never one."""
        for node in self._graph.module2node.values():
            node.dependencies = [d for d in node.dependencies if not self._single(d)]

    def _single(self, dependency: Any) -> bool:
        target = dependency.target.module
        if not isinstance(target, nn.Module) or target not in self._names:
            return False
        outward = self._graph.is_out_channel_pruning_fn(dependency.handler)
        count = self._graph.get_out_channels if outward else self._graph.get_in_channels
        return bool(count(dependency.target) == 1)

    @cached_property
    def _groups(self) -> dict[str, tuple[Member, ...]]:
        """Every set in full, by the layer that gives its channels; as the network was when first asked."""
        seen: set[int] = set()
        groups: dict[str, tuple[Member, ...]] = {}
        for root in list(self._graph.module2node):
            if not isinstance(root, (CONV, nn.Linear)) or id(root) in seen or root not in self._names:
                continue
            name, width = self._names[root], self._graph.get_out_channels(root)
            try:
                members = self._members(self._group(root, list(range(width))))
            except FAILURES as error:
                every = tuple(range(width))
                members = (Member(root, name, every, every, True, False),)
                self._lost[name] = f"what shares its channels is not known ({_first_line(error)})"
            if width == 1:
                members = (members[0], *(m for m in members[1:] if isinstance(m.module, self._ops._OutputOp)))
            seen |= {id(m.module) for m in members if m.outward}
            groups[name] = members
        return groups

    def _members(self, group: Any) -> tuple[Member, ...]:
        found = []
        for item in group.items:
            module, handler = item.dep.target.module, item.dep.handler
            found.append(
                Member(
                    module,
                    self._names.get(module, type(module).__name__) if isinstance(module, nn.Module) else "",
                    tuple(item.idxs),
                    tuple(item.root_idxs),
                    self._graph.is_out_channel_pruning_fn(handler),
                    self._graph.is_in_channel_pruning_fn(handler),
                )
            )
        return tuple(found)

    def _describe(self, name: str, ignored: Sequence[str]) -> ChannelSet:
        members = self._groups[name]
        channels = len(members[0].idxs)
        layers = tuple(dict.fromkeys(m.name for m in members if m.outward and m.module in self._names))
        output = any(isinstance(m.module, self._ops._OutputOp) for m in members)
        blocks, obstacle = 1, self._lost.get(name)
        for member in members:
            count, problem = self._limits(member, channels)
            blocks = lcm(blocks, count)
            obstacle = obstacle or problem
        if any(_within(layer, ignored) for layer in layers):
            obstacle = "left out as asked"
        elif obstacle is None and channels % blocks:
            obstacle = f"{channels} channels in {blocks} blocks"
        elif obstacle is None and channels == blocks:
            obstacle = "one channel a group" if blocks > 1 else "a single channel"
        return ChannelSet(name, layers, channels, 1 if obstacle else blocks, obstacle, output)

    def _has(self, member: Member) -> int:
        """Channels of a layer, on the side on which it is a member."""
        count = self._graph.get_out_channels if member.outward else self._graph.get_in_channels
        return int(count(member.module))

    def _limits(self, member: Member, channels: int) -> tuple[int, str | None]:
        """Into how many equal blocks a layer divides the channels, and why they cannot go."""
        module = member.module
        if isinstance(module, self._stay):
            what = "the network's input" if isinstance(module, _Input) else f"{type(module).__name__} {member.name}"
            return 1, f"joined to {what}"
        if not isinstance(module, nn.Module) or isinstance(module, self._ops._OutputOp):
            return 1, None
        if parametrized(module):
            return 1, f"the weight of {member.name} is made anew from other parameters (weight_norm, spectral_norm)"
        if isinstance(module, (CONV, nn.Linear)) and max(member.idxs, default=-1) >= self._has(member):
            return 1, f"they are rearranged before {member.name}, as by a pixel shuffle"
        groups = 1
        if isinstance(module, CONV) and module.groups > 1:
            if module.groups == module.out_channels == module.in_channels:
                return 1, None
            if module.groups == module.out_channels:
                return 1, f"{member.name}: fewer outputs than inputs, one a group"
            if module.transposed and not grouped_alone(self.model, type(module)):
                return 1, f"{member.name} is transposed and in groups, beside depthwise ones of its kind"
            groups = module.groups
        elif isinstance(module, nn.GroupNorm) and 1 < module.num_groups < module.num_channels:
            groups = module.num_groups
        if groups > 1:
            width = module.num_channels if isinstance(module, nn.GroupNorm) else _width(module, member.outward)
            if member.idxs != tuple(range(width)) or member.roots != member.idxs:
                return 1, f"{member.name} has {groups} groups over more channels than these"
        return groups, None


def _width(module: Any, outward: bool) -> int:
    return int(module.out_channels if outward else module.in_channels)


def _float_of(example: torch.Tensor) -> torch.dtype:
    return example.dtype if example.is_floating_point() else torch.float32


def parametrized(module: nn.Module) -> bool:
    """Whether a convolution's or linear layer's weight is no parameter of its own."""
    return isinstance(module, (CONV, nn.Linear)) and "weight" not in module._parameters


def _within(layer: str, ignored: Sequence[str]) -> bool:
    return any(layer == name or layer.startswith(f"{name}.") for name in ignored)


def _graph_knowing(joins: Joins) -> Any:
    """A dependency graph that takes the widths of concatenated tensors from `joins`, not from a guess.

    Torch-Pruning takes the width of the last operand of an operation for that of its result, which is wrong behind a
    gate of one channel and unknown behind a constant.
    """
    import torch_pruning

    class Known(torch_pruning.DependencyGraph):  # type: ignore[misc]
        def _build_dependency(self, module2node: Any) -> None:
            super()._build_dependency(module2node)
            for node in module2node.values():
                if node.grad_fn in joins.widths and hasattr(node.module, "concat_sizes"):
                    node.module.concat_sizes = list(joins.widths[node.grad_fn])

    return Known()


def _watched(joins: Joins, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
    with joins:
        return model(*inputs)


def _marked(outputs: Any) -> list[torch.Tensor]:
    """Every output through an operation of its own, which the graph then knows as an output."""
    return [tensor * 1 for tensor in tensors(outputs)]


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
