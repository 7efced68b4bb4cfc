"""Running statistics of batch norms, estimated anew after weights have changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from primum.errors import InputError, TrialError
from primum.techniques.registry import Context, Stage, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Reestimated:
    """A network with new running statistics; `layers` are the batch norms that have them."""

    model: torch.nn.Module
    layers: tuple[str, ...]
    cases: int
    notes: tuple[str, ...]


def _apply(model: torch.nn.Module, config: ReestimateBatchNorm, context: Context) -> torch.nn.Module:
    result = reestimate_batch_norm(model, config, context)
    for note in result.notes:
        context.note(note)
    return result.model


@technique("reestimate_batch_norm", _apply, Stage.DISTIL)
class ReestimateBatchNorm(TechniqueConfig):
    """Estimate the running mean and variance of batch norms over calibration inputs (else training inputs)."""

    batches: int | None = Field(None, ge=1)
    """None: all inputs."""
    batch_size: int = Field(32, ge=2)


def reestimate_batch_norm(model: torch.nn.Module, config: ReestimateBatchNorm, context: Context) -> Reestimated:
    """A copy of `model` whose running statistics are those of the inputs, over all batches together.

    Mean and unbiased variance are pooled over batches (Chan et al. 1979), so that they do not depend on the batch size
    where a layer's inputs do not; batch norms normalise by the batch meanwhile, as in training, everything else
    predicts. Layers without running statistics, or with one value a channel in all, stay. Raises InputError without
    inputs and TrialError where a statistic is not finite.
    """
    inputs = _inputs(context)
    fresh = copy.deepcopy(model)
    layers = {name: m for name, m in fresh.named_modules() if _has_statistics(m)}
    if not layers:
        return Reestimated(fresh, (), 0, ("the network has no batch norm with running statistics: nothing changed",))
    pools = {name: _Pool() for name in layers}
    hooks = [layer.register_forward_pre_hook(pools[name].add) for name, layer in layers.items()]
    training = {m: m.training for m in fresh.modules()}
    kept = {name: _statistics(layer) for name, layer in layers.items()}
    cases = 0
    try:
        fresh.eval()
        for layer in layers.values():
            layer.train()
        for batch in _batches(inputs, config, fresh):
            _forward(fresh, batch)
            cases += len(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module, was in training.items():
            module.training = was
    done = tuple(name for name, layer in layers.items() if _store(name, layer, pools[name], kept[name]))
    notes = [f"running statistics of {len(done)} batch norms estimated over {cases} cases"]
    if len(done) < len(layers):
        notes.append(
            f"not estimated (not reached, or one value a channel): {', '.join(n for n in layers if n not in done)}"
        )
    return Reestimated(fresh, done, cases, tuple(notes))


class _Pool:
    """Count, mean and sum of squared deviations of every channel, in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, layer: torch.nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0].detach().double()
        x = x.movedim(1, -1).flatten(0, -2)
        mean, count = x.mean(0), len(x)
        gap, total = mean - self.mean, self.count + count
        self.squares = self.squares + ((x - mean) ** 2).sum(0) + gap**2 * self.count * count / total
        self.mean = self.mean + gap * count / total
        self.count = total


def _inputs(context: Context) -> NDArray[np.float32]:
    if context.calibration is not None and len(context.calibration):
        return context.calibration
    if context.train is not None and len(context.train):
        return context.train.inputs
    return context.need_calibration("reestimate_batch_norm")


def _batches(
    inputs: NDArray[np.float32], config: ReestimateBatchNorm, model: torch.nn.Module
) -> Iterator[torch.Tensor]:
    import torch

    where = next(model.parameters())
    stop = len(inputs) if config.batches is None else min(len(inputs), config.batches * config.batch_size)
    if stop < 2:
        raise InputError("batch norm statistics need at least two cases")
    start = 0
    while start < stop:
        end = min(start + config.batch_size, stop)
        # A batch of one cannot be normalised by itself: the last case joins the batch before it.
        end = stop if stop - end == 1 else end
        yield torch.as_tensor(np.asarray(inputs[start:end])).to(where.device, where.dtype)
        start = end


def _forward(model: torch.nn.Module, batch: torch.Tensor) -> None:
    import torch

    with torch.no_grad():
        model(batch)


def _has_statistics(module: torch.nn.Module) -> bool:
    from torch import nn

    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None


def _statistics(layer: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    count = layer.num_batches_tracked
    return layer.running_mean.clone(), layer.running_var.clone(), None if count is None else count.clone()


def _store(name: str, layer: Any, pool: _Pool, kept: tuple[Any, Any, Any]) -> bool:
    """Write the pooled statistics; those that were there where the layer saw too little. Whether they are new."""
    import torch

    mean, variance, tracked = kept
    enough = pool.count > 1
    if enough:
        mean, variance = pool.mean, pool.squares / (pool.count - 1)
        if not bool(torch.isfinite(mean).all() and torch.isfinite(variance).all()):
            raise TrialError(f"the statistics of batch norm {name} are not finite")
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
    if tracked is not None:
        layer.num_batches_tracked.copy_(tracked)
    return enough
