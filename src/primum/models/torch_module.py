"""A torch module from a reference: factory called and weights fitted, or TorchScript loaded; set to eval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from primum.errors import InputError, MissingExtra
from primum.models.checkpoint import load_state_dict
from primum.models.reference import ModelReference, find_factory
from primum.models.torchscript import load_torchscript

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BuiltModule:
    """The module in eval mode on the CPU, and what had to be done to fit its weights."""

    module: torch.nn.Module
    notes: tuple[str, ...]


def build(reference: ModelReference) -> BuiltModule:
    """Call the factory and load the checkpoint into it.

    Raises InputError where keys or shapes do not fit. A prefix common to all keys of the checkpoint (Lightning's
    "model.") is removed when that alone makes them fit; `notes` says so.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("a torch model", "optimize") from error
    notes: tuple[str, ...] = ()
    module: torch.nn.Module
    if reference.module is not None:
        module = reference.module
    elif reference.torchscript is not None:
        module = load_torchscript(reference.torchscript)
    elif reference.factory is not None:
        module = find_factory(reference.factory)()
        if not isinstance(module, torch.nn.Module):
            raise InputError(f"--model {reference.factory}: returned {type(module).__name__}, not a torch.nn.Module")
        if reference.checkpoint is not None:
            notes = _fit(module, load_state_dict(reference.checkpoint), reference.checkpoint)
    else:
        raise InputError("an .onnx model has no torch module")
    return BuiltModule(module.eval().cpu(), notes)


def _fit(module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> tuple[str, ...]:
    expected = module.state_dict()
    notes: list[str] = []
    if set(state) != set(expected):
        prefix = _common_prefix(list(state))
        stripped = {k[len(prefix) :]: v for k, v in state.items()}
        if prefix and set(stripped) == set(expected):
            state = stripped
            notes.append(f"removed the prefix {prefix!r} from every key of the checkpoint")
    missing, unknown = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or unknown:
        named = (("missing", missing), ("unknown", unknown))
        parts = [f"{len(keys)} {what} (first: {keys[0]})" for what, keys in named if keys]
        raise InputError(f"{path}: keys do not fit the network: {', '.join(parts)}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, the network needs {tuple(expected[name].shape)}"
            )
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path}: the weights do not fit the network ({last})") from error
    return tuple(notes)


def _common_prefix(keys: list[str]) -> str:
    """The longest prefix ending in a dot that all keys share."""
    first, last = min(keys), max(keys)
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return first[: first[:length].rfind(".") + 1]
