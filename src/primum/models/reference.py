"""Naming a model: `module:factory` with a checkpoint, an .onnx or TorchScript file, or a live torch module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from primum.errors import InputError, UnsafeInput
from primum.models.torchscript import FIXED, SUFFIXES, is_torchscript

if TYPE_CHECKING:
    import torch

_UNSAFE = {
    ".pt2": "torch's own loader falls back to unsafe unpickling for it",
    ".pkl": "a pickle runs code when opened",
}


@dataclass(frozen=True)
class ModelReference:
    """One of `factory` ("module:callable") with an optional `checkpoint`, `onnx`, `torchscript`, a live `module`."""

    factory: str | None = None
    checkpoint: Path | None = None
    onnx: Path | None = None
    module: torch.nn.Module | None = None
    torchscript: Path | None = None

    @property
    def fixed(self) -> str | None:
        """Why techniques cannot change the model, or None."""
        if self.onnx is not None:
            return "techniques change a torch module, and the model came as .onnx"
        return FIXED if self.torchscript is not None else None

    def __str__(self) -> str:
        """How messages and reports call the model."""
        if self.onnx is not None:
            return self.onnx.name
        if self.torchscript is not None:
            return self.torchscript.name
        if self.factory is not None:
            return self.factory + (f" with {self.checkpoint.name}" if self.checkpoint else "")
        return type(self.module).__name__


def parse_model(reference: Any, checkpoint: str | Path | None = None) -> ModelReference:
    """Understand what the user named: a torch module, "module:factory[@checkpoint]" or a path.

    Raises InputError (UnsafeInput for formats that run code) saying what is accepted.
    """
    if isinstance(reference, ModelReference):
        return reference
    if hasattr(reference, "state_dict") and callable(reference) and not isinstance(reference, type):
        return ModelReference(module=reference)
    text = str(reference)
    path = Path(text)
    if path.suffix.lower() in _UNSAFE:
        raise UnsafeInput(f"{text}: refused, {_UNSAFE[path.suffix.lower()]}. Give module:factory with --checkpoint")
    if path.suffix.lower() == ".onnx":
        return ModelReference(onnx=existing(path))
    named = path.suffix.lower() in SUFFIXES and (path.exists() or ":" not in text)
    if named or (path.is_file() and is_torchscript(path)):
        return ModelReference(torchscript=_scripted(existing(path), checkpoint))
    if "@" in text and checkpoint is None and not path.exists():
        text, checkpoint = text.split("@", 1)
    name, colon, attribute = text.partition(":")
    if colon and name and attribute and not path.exists():
        return ModelReference(factory=text, checkpoint=existing(Path(checkpoint)) if checkpoint else None)
    if text and path.exists():
        raise InputError(
            f"{text}: no TorchScript file; if it holds weights but no architecture, name the function that builds the "
            f"network: --model module:factory --checkpoint {text}"
        )
    raise InputError(
        f"{text}: not a model; give module:factory (with --checkpoint FILE), FILE.onnx or FILE.torchscript"
    )


def _scripted(path: Path, checkpoint: str | Path | None) -> Path:
    if not is_torchscript(path):
        raise InputError(f"{path}: not a TorchScript file that can be read (damaged, or of another kind)")
    if checkpoint is not None:
        raise InputError(f"{path}: a TorchScript file holds its weights: leave out --checkpoint")
    return path


def existing(path: Path) -> Path:
    """`path` itself; InputError where there is no such file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return path


def find_factory(name: str) -> Callable[[], torch.nn.Module]:
    """Import `module:callable`; the current folder is importable, as it is for `python -m`.

    Raises InputError naming the part that is missing.
    """
    module_name, _, attribute = name.partition(":")
    factory = getattr(import_own(module_name, f"--model {name}"), attribute, None)
    if not callable(factory):
        raise InputError(f"--model {name}: the module {module_name} has no callable {attribute!r}")
    return factory  # type: ignore[no-any-return]


def import_own(name: str, asked: str) -> ModuleType:
    """The user's own module `name`, whose code runs; the current folder is importable. `asked` begins each message.

    Raises InputError naming the part that is missing, or what the module raised.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"{asked}: no module can be called {name!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{asked}: no module {error.name!r} can be imported from here (run from the folder that holds it, "
            "or install it)"
        ) from error
    # A user's own module raises whatever it raises.
    except Exception as error:
        raise InputError(f"{asked}: {name} cannot be imported ({error})") from error
