"""Structured pruning: whole channels are removed, so that every runtime does less work."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from primum.techniques.pruning.example import example_input
from primum.techniques.pruning.plan import ChannelSet, Cut, cut, shares
from primum.techniques.pruning.remove import Removal, describe, remove
from primum.techniques.registry import Context, Stage, TechniqueConfig, technique

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Importance(StrEnum):
    """What makes a channel matter."""

    MAGNITUDE = "magnitude"
    """Squared weights of all layers that share the channel (Fang et al. 2023)."""
    TAYLOR = "taylor"
    """|weight x gradient of the loss| (Molchanov et al. 2019); needs training data."""
    ACTIVATION = "activation"
    """Mean |activation|; needs calibration inputs."""


def _prune(model: torch.nn.Module, config: PruneChannels, context: Context) -> torch.nn.Module:
    removal = prune_channels(model, config, context)
    for note in removal.notes:
        context.note(note)
    return removal.model


@technique("prune_channels", _prune, Stage.PRUNE, reshapes=True)
class PruneChannels(TechniqueConfig):
    """Remove the least important channels and everything that reads them; the network's outputs stay."""

    ratio: float = Field(0.3, gt=0, lt=1)
    """Share of the channels to remove: of each layer, or of all taken together."""
    importance: Importance = Importance.MAGNITUDE
    scope: Literal["layer", "global"] = "layer"
    """The same share of each layer, or ranked over all layers and never more than `layer_limit` of one."""
    layer_limit: float = Field(0.8, gt=0, lt=1)
    round_to: int = Field(8, ge=1)
    """Channels left are a multiple of this, for vector units; of less, with a note, where a layer is too narrow."""
    ignored: tuple[str, ...] = ()
    """Names of modules whose channels stay, their children included."""


class Pruner:
    """A network, traced and scored once, from which channels are removed at any ratio."""

    def __init__(
        self, model: torch.nn.Module, config: PruneChannels, context: Context, example_inputs: Any = None
    ) -> None:
        """Trace and score `model`, which is not changed.

        Raises InputError (no example input, no data for the importance, an ignored name that is no module),
        MissingExtra (torch_pruning) and TrialError (not traceable).
        """
        import copy

        from primum.techniques.pruning.graph import Graph

        _known(model, config.ignored)
        self.model, self.config = model, config
        self.example, guessed = example_input(model, example_inputs, context)
        self.notes = (guessed,) if guessed else ()
        traced = copy.deepcopy(model).eval()
        graph = Graph(traced, self.example)
        self.sets = graph.sets(config.ignored)
        self._open = tuple(s for s in self.sets if not s.obstacle and not s.output)
        score = _scorer(traced, config.importance, context)
        self._scores: Mapping[str, NDArray[np.float64]] = {s.name: score(graph.members(s.name)) for s in self._open}
        self._faults: dict[str, str] = {}

    def plan(self, ratio: float) -> dict[str, Cut]:
        """Which channels go at `ratio`; sets that turned out not to be prunable are left out."""
        share = shares(self._open, self._scores, ratio, self.config.layer_limit, self.config.scope == "layer")
        cuts = {s.name: self._cut(s, share[s.name]) for s in self._open if s.name not in self._faults}
        return {name: one for name, one in cuts.items() if one is not None}

    def _cut(self, channels: ChannelSet, share: float) -> Cut | None:
        return cut(channels, self._scores[channels.name], share, self.config.round_to) if share > 0 else None

    def removal(self, ratio: float) -> Removal:
        """A pruned copy. Raises TrialError where nothing can be removed or the result is not what it should be."""
        plan = self.plan(ratio)
        pruned, faults = remove(self.model, self.example, plan)
        self._faults |= faults
        return describe(self.model, pruned, self.sets, plan, self._faults, self.config.round_to, self.notes)


def prune_channels(
    model: torch.nn.Module, config: PruneChannels, context: Context | None = None, example_inputs: Any = None
) -> Removal:
    """A copy of `model` with channels physically removed, what changed and what did not.

    `example_inputs` (N, *input_shape) where neither `context.calibration` nor `context.signature` tells the shape.
    Raises InputError, MissingExtra, TrialError as `Pruner`.
    """
    return Pruner(model, config, context or Context(), example_inputs).removal(config.ratio)


def _scorer(model: torch.nn.Module, kind: Importance, context: Context) -> Any:
    from primum.techniques.pruning import importance

    if kind is Importance.MAGNITUDE:
        return importance.magnitude
    if kind is Importance.ACTIVATION:
        return importance.activation(model, context.need_calibration("pruning by activation"))
    from primum.techniques.pruning.gradients import accumulate

    accumulate(model, context)
    return importance.taylor


def _known(model: torch.nn.Module, ignored: tuple[str, ...]) -> None:
    from primum.errors import InputError

    names = {name for name, _ in model.named_modules()}
    for name in ignored:
        if name not in names:
            raise InputError(f"ignored: the model has no module {name!r}")
