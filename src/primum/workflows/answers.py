"""Any two models as functions from the same inputs to the same kind of answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.predictor import Predictor
from primum.errors import InputError
from primum.models.signature import Activation, Signature, far_inputs, infer_signature
from primum.runtimes.load import load
from primum.task import Task

BATCH = 64


@dataclass(frozen=True)
class Answers:
    """What both models say of N cases: probabilities, values or class probabilities by pixel, as `Signature` says."""

    signature: Signature
    reference: NDArray[np.float64]
    candidate: NDArray[np.float64]


def opened(model: Any) -> Any:
    """The model itself, or the predictor of an artifact folder. InputError where it is nothing that answers."""
    if isinstance(model, str | Path):
        return load(model)
    if not callable(model) and not isinstance(model, Predictor):
        raise InputError(
            f"a {type(model).__name__} is no model: give a torch module, a predictor, an artifact folder, or a "
            "function from a batch to outputs"
        )
    return model


def known_classes(*models: Any) -> tuple[str, ...]:
    """The names of classes that the first predictor among the models has; none where there is no predictor."""
    return next((model.manifest.signature.classes for model in models if isinstance(model, Predictor)), ())


def answers(
    original: Any,
    candidate: Any,
    inputs: NDArray[np.float32],
    task: Task,
    classes: tuple[str, ...] = (),
    activation: Activation | None = None,
) -> Answers:
    """Run both models on `inputs` (N, *shape). An artifact knows its activation; of others it is inferred from the
    original's outputs, once for both. InputError where outputs and task do not fit."""
    raws = [run(model, inputs) for model in (original, candidate)]
    known = [model.manifest.signature for model in (original, candidate) if isinstance(model, Predictor)]
    if known:
        signature = known[0]
    else:
        named = classes or default_classes(task, raws[0])
        far = run(original, far_inputs(inputs))
        signature = infer_signature(raws[0].astype(np.float32), inputs.shape[1:], named, None, activation, far, task)
    if raws[0].shape != raws[1].shape and len(known) != 1:
        raise InputError(f"the models give outputs of shapes {raws[0].shape} and {raws[1].shape}: not one task")
    both = [
        np.asarray(raw, np.float64)
        if isinstance(model, Predictor)
        else signature.probabilities(np.asarray(raw, np.float32))
        for model, raw in zip((original, candidate), raws)
    ]
    if both[0].shape != both[1].shape:
        raise InputError(f"the models answer with shapes {both[0].shape} and {both[1].shape}: not one task")
    return Answers(signature, both[0], both[1])


def run(model: Any, inputs: NDArray[np.float32]) -> NDArray[Any]:
    """Outputs (N, ...) of a predictor (probabilities), a torch module or a function (raw outputs), in batches."""
    one = _caller(model)
    found = [np.asarray(one(inputs[start : start + BATCH])) for start in range(0, len(inputs), BATCH)]
    for batch, start in zip(found, range(0, len(inputs), BATCH)):
        if len(batch) != min(BATCH, len(inputs) - start):
            raise InputError(f"a model gives {len(batch)} answers to {min(BATCH, len(inputs) - start)} inputs")
    outputs = np.concatenate(found)
    return np.asarray(outputs.reshape(len(outputs), 1) if outputs.ndim == 1 else outputs)


def default_classes(task: Task, raw: NDArray[Any]) -> tuple[str, ...]:
    """Names by number; of a segmentation they follow from the channels."""
    if task is Task.BINARY:
        return ("negative", "positive")
    return () if task is Task.SEGMENTATION else tuple(str(k) for k in range(raw.reshape(len(raw), -1).shape[1]))


def _caller(model: Any) -> Callable[[NDArray[np.float32]], Any]:
    if isinstance(model, Predictor):
        return model.predict_tensor
    if hasattr(model, "state_dict") and hasattr(model, "eval"):
        return _torch_caller(model)
    return lambda batch: _as_array(model(batch))


def _torch_caller(module: Any) -> Callable[[NDArray[np.float32]], Any]:
    """A forward pass in evaluation mode, without gradients, on the module's own device; its mode is put back."""
    import torch

    first = next(iter(module.parameters()), None)
    device = first.device if first is not None else torch.device("cpu")
    kind = first.dtype if first is not None and first.is_floating_point() else torch.float32

    def call(batch: NDArray[np.float32]) -> Any:
        was = module.training
        module.eval()
        try:
            with torch.inference_mode():
                return _as_array(module(torch.from_numpy(np.ascontiguousarray(batch)).to(device, kind)))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"a model does not take these inputs: {str(error).splitlines()[0]}") from error
        finally:
            module.train(was)

    return call


def _as_array(outputs: Any) -> NDArray[Any]:
    if isinstance(outputs, tuple | list) and len(outputs) == 1:
        outputs = outputs[0]
    if hasattr(outputs, "detach"):
        outputs = outputs.detach().float().cpu().numpy()
    if isinstance(outputs, Sequence | dict) and not isinstance(outputs, np.ndarray):
        raise InputError(f"a model gives a {type(outputs).__name__}, not one array of outputs")
    return np.asarray(outputs)
