"""Weights from files, without ever running code that is in them."""

from __future__ import annotations

import argparse
import collections
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primum.errors import InputError, MissingExtra, UnsafeInput

if TYPE_CHECKING:
    import torch


class _Inert(dict[str, Any]):
    """Stands in for classes that Lightning stores beside the weights: holds data, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Ignore the state: only the weights are wanted."""


# What Lightning checkpoints hold beside tensors. Nothing from the checkpoint's own modules is imported for them.
_LIGHTNING_INERT = (
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
)


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a .safetensors, .pt, .pth or Lightning .ckpt file.

    Raises UnsafeInput where the file holds anything but data (there is no second, unsafe try), InputError where it is
    not a checkpoint.
    """
    if path.suffix.lower() == ".safetensors":
        return _safetensors(path)
    raw = _restricted(path)
    if isinstance(raw, dict) and isinstance(raw.get("state_dict"), dict):
        raw = raw["state_dict"]
    elif isinstance(raw, dict) and isinstance(raw.get("model_state_dict"), dict):
        raw = raw["model_state_dict"]
    import torch

    if not isinstance(raw, dict) or not raw or not all(isinstance(v, torch.Tensor) for v in raw.values()):
        raise InputError(f"{path}: holds no state dict (names to tensors, at the top or under 'state_dict')")
    return {str(k): v for k, v in raw.items()}


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingExtra("reading .safetensors", "optimize") from error
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a safetensors file that can be read ({error})") from error


def _restricted(path: Path) -> Any:
    import torch

    allowed: list[Any] = [argparse.Namespace, collections.defaultdict, collections.OrderedDict]
    allowed += [(_Inert, name) for name in _LIGHTNING_INERT]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        first = str(error).strip().splitlines()
        raise InputError(f"{path}: not a checkpoint that can be read ({first[0] if first else error})") from error


def _refusal(path: Path, error: pickle.UnpicklingError) -> InputError:
    import torch

    text = str(error)
    if "WeightsUnpickler error" not in text and "Unsupported" not in text and "GLOBAL" not in text:
        return InputError(f"{path}: not a checkpoint that can be read")
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, pickle.UnpicklingError, OSError, ValueError):
        names = []
    listed = f" ({', '.join(sorted(names)[:4])})" if names else ""
    return UnsafeInput(
        f"{path}: refused, it holds more than data and opening it would run code{listed}; nothing was run. Save the "
        "weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
    )
