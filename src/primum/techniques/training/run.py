"""One training under way: everything that changes from step to step, and how it is saved and taken up again."""

from __future__ import annotations

import math
import time
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.techniques.context import TrainingData
from primum.techniques.training.averaging import Average
from primum.techniques.training.checkpoint import VERSION
from primum.techniques.training.config import TrainingConfig
from primum.techniques.training.objective import Objective
from primum.techniques.training.precision import Precision
from primum.techniques.training.result import Epoch, Stopped
from primum.techniques.training.schedule import Plan

if TYPE_CHECKING:
    import torch


class Run:
    """Model, optimizer and history of one training; the weights to keep are in `best`."""

    def __init__(
        self,
        model: torch.nn.Module,
        objective: Objective,
        data: TrainingData,
        config: TrainingConfig,
        precision: Precision,
        rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> None:
        import torch

        self.model, self.objective, self.data, self.config, self.precision = model, objective, data, config, precision
        self.fit, self.held = rows
        self.layout = _layout(model, data)
        self.optimizer = _optimizer(model, objective, config)
        self.scaler = torch.amp.GradScaler(precision.device, enabled=precision.scaled)
        self.average = Average(model.state_dict(), config.ema) if config.ema else None
        self.plan = Plan(config, max(1, len(self.fit) // config.batch))
        self.step, self.history = 0, list[Epoch]()
        self.initial_loss, self.best_loss, self.best_epoch = math.nan, math.inf, 0
        self.best = snapshot(model)
        self.stopped: Stopped | None = None
        self.resumed_after = 0
        self._before, self._began = 0.0, time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds of training, those of earlier runs included."""
        return self._before + time.monotonic() - self._began

    def batch(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs float32 and labels of `rows`, on the device."""
        import torch

        inputs = torch.from_numpy(np.ascontiguousarray(self.data.inputs[rows], dtype=np.float32))
        labels = np.asarray(self.data.labels[rows])
        kind = np.int64 if labels.dtype.kind in "iub" else np.float32
        return self.place(inputs), torch.from_numpy(labels.astype(kind)).to(self.precision.device)

    def place(self, inputs: torch.Tensor) -> torch.Tensor:
        """`inputs` on the device, in the layout that its convolutions want."""
        return inputs.to(self.precision.device, memory_format=self.layout)

    def offer(self, epoch: int, loss: float) -> None:
        """Keep the present weights (or their average) where `loss` is the lowest so far, or no patient was held out."""
        if loss < self.best_loss or not len(self.held):
            self.best_epoch, self.best_loss = epoch, loss
            self.best = snapshot(self.model) if self.average is None else dict(self.average.state)

    def state(self) -> dict[str, Any]:
        """All of it, as tensors and plain values; a finished training keeps no more than its result."""
        helper = self.objective.helper
        going = self.stopped is None
        return {
            "version": VERSION,
            "step": self.step,
            "total": self.plan.total,
            "elapsed": self.elapsed,
            "model": self.model.state_dict() if going else None,
            "helper": helper.state_dict() if helper is not None and going else None,
            "optimizer": self.optimizer.state_dict() if going else None,
            "scaler": self.scaler.state_dict() if going else None,
            "average": (self.average.state, self.average.updates) if self.average and going else None,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "initial_loss": self.initial_loss,
            "history": [astuple(epoch) for epoch in self.history],
            "stopped": self.stopped,
        }

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.step, self.plan.total, self._before = state["step"], state["total"], state["elapsed"]
        self.best, self.best_epoch, self.best_loss = state["best"], state["best_epoch"], state["best_loss"]
        self.initial_loss, self.stopped = state["initial_loss"], state["stopped"]
        self.history = [Epoch(*values) for values in state["history"]]
        self.resumed_after = len(self.history)
        if self.stopped is not None:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.objective.helper is not None:
            self.objective.helper.load_state_dict(state["helper"])
        if self.average is not None:
            self.average.state, self.average.updates = state["average"]


def snapshot(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a model's state."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _layout(model: torch.nn.Module, data: TrainingData) -> torch.memory_format:
    import torch

    flat = data.inputs.ndim == 4 and any(isinstance(m, torch.nn.Conv2d) for m in model.modules())
    return torch.channels_last if flat else torch.preserve_format


def _optimizer(model: torch.nn.Module, objective: Objective, config: TrainingConfig) -> torch.optim.Optimizer:
    import torch

    helper = [] if objective.helper is None else list(objective.helper.parameters())
    free = [p for p in model.parameters() if p.requires_grad]
    if not free:
        raise InputError("no parameter of the model can be trained: all have requires_grad=False")
    groups = [
        {"params": [p for p in free + helper if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in free + helper if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, config.learning_rate, config.momentum, nesterov=config.momentum > 0)
    return torch.optim.AdamW(groups, config.learning_rate)
