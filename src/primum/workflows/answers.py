"""Any two models as functions from the same inputs to the same kind of answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.predictor import Predictor
from primum.errors import InputError, PrimumError
from primum.models.probe import probe
from primum.models.signature import Activation, Signature, infer_signature
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
    original's outputs, once for both. InputError where outputs and task do not fit, or gaps in the inputs become gaps
    in the original's answers."""
    raws = [run(model, inputs) for model in (original, candidate)]
    _demand_whole(inputs, raws[0])
    known = [model.manifest.signature for model in (original, candidate) if isinstance(model, Predictor)]
    if known:
        signature = known[0]
    else:
        named = classes or default_classes(task, raws[0])
        if task in (Task.MULTICLASS, Task.ORDINAL) and raws[0][0].size == 1:
            raise InputError(
                "the original gives one output, which decides between two classes: say task='binary'; labels are then "
                "0 and 1 (1 is what the output stands for), or names of which classes=... lists the two"
            )
        far = _far(original, inputs, activation)
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
    # A copy of each batch: a model that changes its input in place changes neither the caller's array nor what the
    # other model is asked.
    found = [_answered(one, inputs[start : start + BATCH].copy()) for start in range(0, len(inputs), BATCH)]
    if len({values.shape[1:] for values in found}) > 1:
        raise InputError("a model gives outputs of another shape in each batch: one row of equal shape for each input")
    outputs = np.concatenate(found)
    return np.asarray(outputs.reshape(len(outputs), 1) if outputs.ndim == 1 else outputs)


def _answered(one: Callable[[NDArray[np.float32]], Any], batch: NDArray[np.float32]) -> NDArray[Any]:
    """The outputs for one batch; InputError on what is no real number for each."""
    try:
        outputs = one(batch)
    except PrimumError:
        raise
    # Somebody else's model may raise anything; its message may quote the data, so the kind alone is said.
    except Exception as error:
        raise InputError(
            f"a model raised {type(error).__name__} on inputs of shape {batch.shape}: call it on such a batch, in "
            "float32, to see why"
        ) from error
    if outputs is None:
        raise InputError("a model gives nothing (None): it must return one row of outputs for each input")
    values = np.array(outputs)  # a copy: some models write every answer into one buffer
    if values.dtype.kind not in "biuf":
        raise InputError(f"a model gives values of type {values.dtype}: outputs must be real numbers")
    if not values.ndim:
        raise InputError(f"a model gives a single value for {len(batch)} inputs: it must return one row for each")
    if len(values) != len(batch):
        raise InputError(f"a model gives {len(values)} answers to {len(batch)} inputs")
    return values


def _demand_whole(inputs: NDArray[np.float32], outputs: NDArray[Any]) -> None:
    """InputError where inputs with gaps have answers with gaps: it is not the model that must be mended."""
    gaps = ~np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1)
    broken = ~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
    if (gaps & broken).any():
        raise InputError(
            f"{int(gaps.sum())} of {len(inputs)} inputs hold NaN or infinity, and the original gives no finite outputs "
            f"on {int((gaps & broken).sum())} cases of these: fill them as the model was trained to have them filled, "
            "or leave the cases out"
        )


def _far(model: Any, inputs: NDArray[np.float32], activation: Activation | None) -> NDArray[Any] | None:
    """Outputs on inputs unlike the data; None where they cannot be had, and nothing needs them."""
    found = probe(functools.partial(run, model), inputs)
    if found.outputs is None and activation is None:
        raise InputError(
            f"{found.refused}. These inputs are far outside the usual range, to tell logits from probabilities: say "
            "which the outputs are (activation=...), and they are not needed"
        )
    return found.outputs


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
            raise InputError(
                f"a model does not take these inputs, of shape {batch.shape}: it raised {type(error).__name__}"
            ) from error
        finally:
            module.train(was)

    return call


def _as_array(outputs: Any) -> Any:
    """Outputs as an array; None stays, to be refused."""
    if outputs is None:
        return None
    if isinstance(outputs, tuple | list) and len(outputs) == 1:
        outputs = outputs[0]
    if hasattr(outputs, "detach"):
        outputs = outputs.detach().cpu()
        # Complex numbers stay, to be refused: as floats they would lose a part without a word.
        outputs = (outputs if outputs.is_complex() else outputs.float()).numpy()
    if np.ma.is_masked(outputs):
        raise InputError("a model gives masked values: what a mask hides is no answer; give a number for each")
    if isinstance(outputs, Sequence | dict) and not isinstance(outputs, np.ndarray):
        raise InputError(f"a model gives a {type(outputs).__name__}, not one array of outputs")
    return np.asarray(outputs)
