"""The loop: warm-up and cosine, held-out patients, early stop, time limit, and going on after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError, TrialError
from primum.techniques.context import Context, TrainingData
from primum.techniques.training.checkpoint import EVERY_SECONDS, checkpoint_path, read, save
from primum.techniques.training.config import TrainingConfig
from primum.techniques.training.objective import LossFunction, Objective, Supervised, Targets
from primum.techniques.training.parts import hold_out
from primum.techniques.training.precision import Precision, choose_device, choose_precision
from primum.techniques.training.result import Epoch, TrainingResult
from primum.techniques.training.run import Run, snapshot

if TYPE_CHECKING:
    import torch

Augment = Callable[["torch.Tensor", "torch.Tensor", "torch.Generator"], tuple["torch.Tensor", "torch.Tensor"]]
"""(inputs, labels, generator) to another view of them."""

_SEED_SPACE = 2**63 - 1
_TIMED = 5
"""Steps after which the time of a step is known well enough to plan by."""


def train(
    model: torch.nn.Module,
    loss: LossFunction | Objective,
    data: TrainingData,
    config: TrainingConfig,
    context: Context,
    augment: Augment | None = None,
    name: str = "training",
) -> TrainingResult:
    """Train `model` in place, end with its best weights in eval mode, and note in `context` what was done.

    `loss` is a function of (outputs, labels) or an Objective; `augment` applies to fitting alone. Patients, not cases,
    are held out. The same seed gives the same weights on the same machine, also where a killed run is taken up again
    from `context.work`; only `max_minutes`, where it cuts, depends on the clock.
    Raises InputError for data that cannot be trained on, TrialError where the loss is not finite.
    """
    import torch

    if len(data) < 2 or not (len(data) == len(data.labels) == len(data.units)):
        raise InputError(
            f"training data: {len(data)} inputs, {len(data.labels)} labels, {len(data.units)} units; "
            "two cases or more are needed, with a label and a unit each"
        )
    objective = loss if isinstance(loss, Objective) else Supervised(loss)
    task = context.signature.task if context.signature else None
    precision = choose_precision(config.precision, choose_device(config.device), model, task)
    path = context.work and checkpoint_path(context.work, name, objective.key, model, data, config, context.seed)
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    devices = [torch.cuda.current_device()] if precision.device == "cuda" else []
    model.to(precision.device)
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(context.seed)
            run, notes = _prepare(model, objective, data, config, precision, path)
            _loop(run, context.seed, augment, path)
    except (RuntimeError, ValueError) as error:
        raise TrialError(f"training failed: {str(error).strip().splitlines()[0]}") from error
    finally:
        objective.finish()
        model.to(home)
    model.load_state_dict(run.best)
    model.to(memory_format=torch.contiguous_format).eval().zero_grad(set_to_none=True)
    result = _result(run, notes)
    for note in (*result.notes, f"{name}: {result}"):
        context.note(note)
    return result


def _prepare(
    model: torch.nn.Module,
    objective: Objective,
    data: TrainingData,
    config: TrainingConfig,
    precision: Precision,
    path: Path | None,
) -> tuple[Run, list[str]]:
    fit, held = hold_out(data, config.validation)
    if len(fit) < 2:
        fit, held = np.arange(len(data)), np.zeros(0, np.int64)
    notes = [precision.note] if precision.note else []
    if not len(held):
        notes.append("no training patient was held out: the last weights are kept, whatever they do to unseen patients")
    device = precision.device
    first = np.asarray(data.inputs[fit[:2]], dtype=np.float32)
    objective.start(model, _tensor(first, device))
    if objective.helper is not None:
        objective.helper.to(device)
    run = Run(model, objective, data, config, precision, (fit, held))
    model.to(memory_format=run.layout)
    run.best = snapshot(model)
    state, note = read(path, device) if path else (None, None)
    notes += [note] if note else []
    if state is not None:
        run.take_up(state)
        notes.append(f"taken up again after epoch {run.resumed_after}")
    elif len(held):
        run.initial_loss = _validate(run)
        if config.keep_initial and math.isfinite(run.initial_loss):
            run.best_loss = run.initial_loss
    return run, notes


def _tensor(values: NDArray[np.float32], device: str) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def _loop(run: Run, seed: int, augment: Augment | None, path: Path | None) -> None:
    saved = time.monotonic()
    while run.stopped is None:
        began, number = time.monotonic(), len(run.history) + 1
        train_loss, rate = _fit_epoch(run, number, seed, augment)
        loss = _validate(run) if len(run.held) else math.nan
        run.history.append(Epoch(number, train_loss, loss, rate, time.monotonic() - began))
        run.offer(number, loss)
        run.plan.fit_time(run.step, run.elapsed, run.elapsed / run.step)
        if run.step >= run.plan.total or run.elapsed >= run.plan.deadline:
            run.stopped = "time" if run.plan.cut or run.step < run.plan.total else "epochs"
        elif run.config.patience is not None and number - run.best_epoch >= run.config.patience:
            run.stopped = "patience"
        if path and (run.stopped or time.monotonic() - saved >= EVERY_SECONDS):
            save(path, run.state())
            saved = time.monotonic()


def _fit_epoch(run: Run, number: int, seed: int, augment: Augment | None) -> tuple[float, float]:
    """Mean training loss, and the learning rate of the last step."""
    import torch

    # Everything random in an epoch follows from seed and number alone, so that a killed run goes on alike.
    source = np.random.default_rng([seed % _SEED_SPACE, number])
    torch.manual_seed(int(source.integers(_SEED_SPACE)))
    generator = torch.Generator().manual_seed(int(source.integers(_SEED_SPACE)))
    order = source.permutation(run.fit)
    size = min(run.config.batch, len(order))
    total, done, rate, began = 0.0, 0, 0.0, 0.0
    run.model.train()
    for start in range(0, size * run.plan.steps_per_epoch, size):
        if run.step >= run.plan.total or (run.elapsed >= run.plan.deadline and done):
            break
        rate = run.plan.rate(run.step)
        total += _step(run, np.sort(order[start : start + size]), rate, source, generator, augment, number)
        done += 1
        if done == 1:
            began = run.elapsed
        elif done == _TIMED and number == 1:
            run.plan.fit_time(run.step, run.elapsed, (run.elapsed - began) / (done - 1))
    return total / max(done, 1), rate


def _step(
    run: Run,
    rows: NDArray[np.int64],
    rate: float,
    source: np.random.Generator,
    generator: torch.Generator,
    augment: Augment | None,
    number: int,
) -> float:
    import torch

    inputs, labels = run.batch(rows)
    if augment is not None:
        inputs, labels = augment(inputs, labels, generator)
    inputs, targets = _mix(inputs, labels, run.config.mixup, source)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.zero_grad(set_to_none=True)
    with run.precision.autocast():
        loss = run.objective.loss(run.model, run.place(inputs), targets)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrialError(
            f"training: the loss is {value} in epoch {number}, step {run.step + 1}: lower the learning rate, give "
            "precision fp32, or look for NaN among the inputs"
        )
    run.scaler.scale(loss).backward()
    if run.config.clip is not None:
        run.scaler.unscale_(run.optimizer)
        torch.nn.utils.clip_grad_norm_([p for g in run.optimizer.param_groups for p in g["params"]], run.config.clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.step += 1
    if run.average is not None:
        run.average.update(run.model.state_dict())
    return value


def _mix(
    inputs: torch.Tensor, labels: torch.Tensor, alpha: float, source: np.random.Generator
) -> tuple[torch.Tensor, Targets]:
    if not alpha:
        return inputs, ((labels, 1.0),)
    import torch

    share = float(source.beta(alpha, alpha))
    other = torch.from_numpy(source.permutation(len(inputs))).to(inputs.device)
    return share * inputs + (1 - share) * inputs[other], ((labels, share), (labels[other], 1 - share))


def _validate(run: Run) -> float:
    """Mean loss over the held-out cases, in float32, of the weights or of their average."""
    import torch

    present = None
    if run.average is not None:
        present = snapshot(run.model)
        run.model.load_state_dict(run.average.state)
    run.model.eval()
    total, began = 0.0, run.elapsed
    with torch.no_grad():
        for rows in np.array_split(run.held, math.ceil(len(run.held) / (2 * run.config.batch))):
            inputs, labels = run.batch(rows)
            total += len(rows) * float(run.objective.loss(run.model, inputs, ((labels, 1.0),)))
    if present is not None:
        run.model.load_state_dict(present)
    run.plan.reserved = run.elapsed - began
    return total / len(run.held)


def _result(run: Run, notes: list[str]) -> TrainingResult:
    asked = run.config.epochs * run.plan.steps_per_epoch
    if run.stopped == "time":
        notes.append(f"max_minutes={run.config.max_minutes:g} allowed {run.step} of {asked} training steps")
    if not run.best_epoch:
        notes.append("no epoch lowered the loss on the held-out training patients: the weights are as they came")
    assert run.stopped is not None
    return TrainingResult(
        epochs=tuple(run.history),
        initial_loss=run.initial_loss,
        best_epoch=run.best_epoch,
        stopped=run.stopped,
        seconds=run.elapsed,
        device=run.precision.device,
        precision=run.precision.name,
        fitting_cases=len(run.fit),
        validation_cases=len(run.held),
        resumed_after=run.resumed_after,
        notes=tuple(notes),
    )
