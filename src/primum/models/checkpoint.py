"""Weights from files, without ever running code that is in them."""

from __future__ import annotations

import argparse
import collections
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primum.errors import InputError, MissingExtra, UnsafeInput
from primum.models.torchscript import is_torchscript, open_torchscript

if TYPE_CHECKING:
    import torch


class _Inert:
    """Stands in for classes that are pickled beside the weights: takes anything, keeps nothing, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Ignore the state: only the weights are wanted."""


def _dictionary(*_: Any) -> dict[Any, Any]:
    """Stands in for defaultdict, whose items torch would not set."""
    return {}


# What Lightning checkpoints hold beside tensors. Nothing from these modules is imported: each name gets a stand-in.
_STAND_INS: dict[Any, tuple[str, ...]] = {
    collections.OrderedDict: (
        "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
    ),
    _dictionary: ("collections.defaultdict",),
    _Inert: (
        *(f"{module}.{kind}Path" for module in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")),
        *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
        *(f"omegaconf.nodes.{name}Node" for name in ("Any", "Boolean", "Bytes", "Float", "Integer", "Path", "String")),
        *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "typing.Any"),
        *(f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple")),
    ),
}
_DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError, struct.error),
)
"""What torch raises on damaged files: it checks little before it reads."""


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a .safetensors, .pt, .pth, Lightning .ckpt or TorchScript file.

    Raises UnsafeInput where the file holds anything but data (there is no second, unsafe try), InputError where it is
    not a checkpoint.
    """
    if path.suffix.lower() == ".safetensors":
        return _safetensors(path)
    if is_torchscript(path):
        return _scripted(path)
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


def _scripted(path: Path) -> dict[str, torch.Tensor]:
    state = dict(open_torchscript(path).state_dict())
    if not state:
        raise InputError(f"{path}: a frozen TorchScript file: its weights have no names; give it as --model")
    return state


def _restricted(path: Path) -> Any:
    import torch

    _check_unpacked(path)
    allowed: list[Any] = [argparse.Namespace, collections.OrderedDict]
    allowed += [(stand_in, name) for stand_in, names in _STAND_INS.items() for name in names]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except _DAMAGE as error:
        raise InputError(f"{path}: not a checkpoint that can be read ({_reason(error)})") from error


def _check_unpacked(path: Path) -> None:
    """Refuse a zip bomb. torch stores its records uncompressed, so that they add up to less than the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(i.file_size for i in archive.infolist())
    except (zipfile.BadZipFile, *_DAMAGE):
        # Not a zip file, or a broken one: torch says what is wrong with it.
        return
    if unpacked > path.stat().st_size:
        raise UnsafeInput(f"{path}: unpacks to more than its own size; it was not opened")


def _reason(error: BaseException) -> str:
    """First sentence of torch's message: the next ones advise to load without the safety."""
    text = str(error).strip()
    return re.split(r"[.:]?\s*\n|\. ", text)[0] if isinstance(error, OSError | RuntimeError) and text else "damaged"


def _refusal(path: Path, error: pickle.UnpicklingError) -> InputError:
    import torch

    if not any(word in str(error) for word in ("GLOBAL", "Trying to call", "Can only")):
        return InputError(f"{path}: not a checkpoint that can be read (damaged)")
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, *_DAMAGE):
        names = []
    listed = f" ({', '.join(sorted(names)[:4])})" if names else ""
    return UnsafeInput(
        f"{path}: refused, it holds more than data and opening it would run code{listed}; nothing was run. Save the "
        "weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
    )
