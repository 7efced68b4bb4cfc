"""Opening a TorchScript file that a stranger made.

torch's own interpreter runs its code, not Python's; but two of its operators reach files (one writes a tensor to any
path), and code may run while the file loads. Both are looked for in the code before anything is opened.
"""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primum.errors import InputError, MissingExtra, UnsafeInput

if TYPE_CHECKING:
    import torch

SUFFIXES = (".ts", ".torchscript")
"""Files that can be nothing else. A .pt or .pth may be one too: its content tells."""
FIXED = "a TorchScript file has no layers that can be changed; give the Python module"
"""Why techniques leave it alone."""
_REACHES_FILES = re.compile(r"\b(save|from_file)\b")
_OCTAL = re.compile(r"\\([0-7]{1,3})")
_JOINED = re.compile(r"""["'](?:\s|\\\n|\#[^\n]*\n)*["']""")
"""Literals side by side are one literal."""
_GROWTH, _CODE_BYTES = 4, 64_000_000
"""Code is stored compressed, weights are not: what unpacks to more than this is no model."""
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError)
_TRAIN_FLAG = {"aten::dropout": 2, "aten::feature_dropout": 2, "aten::alpha_dropout": 2, "aten::batch_norm": 5}
"""Where operators that work otherwise in training are told so."""
_STATISTICS = 3
"""Place of the running mean among what batch norm takes."""


def is_torchscript(path: Path) -> bool:
    """Whether `path` holds a TorchScript archive, told from its table of contents alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _BROKEN:
        return False
    roots = {name.split("/", 1)[0] for name in names if name.endswith("/constants.pkl")}
    return any(name.startswith(f"{root}/code/") for root in roots for name in names)


def check_code(path: Path) -> None:
    """UnsafeInput where the file's code names an operator that reaches files, or it unpacks to far more than it is.

    Raises InputError where it is no archive that can be read. Nothing of it is run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(e.file_size for e in entries) > _GROWTH * path.stat().st_size + _CODE_BYTES:
                raise UnsafeInput(f"{path}: unpacks to far more than its own size; it was not opened")
            # torch's reader may see another table of contents in front of a comment.
            if archive.comment:
                raise UnsafeInput(f"{path}: an archive with a comment was not written by torch; it was not opened")
            code = [archive.read(e).decode("utf-8", "replace") for e in entries if e.filename.lower().endswith(".py")]
    except _BROKEN as error:
        raise InputError(f"{path}: not a TorchScript file that can be read (damaged, or of another kind)") from error
    for text in code:
        found = _REACHES_FILES.search(text) or _REACHES_FILES.search(_plain(text))
        if found:
            raise UnsafeInput(
                f"{path}: refused, its code names {found[0]!r}, an operator that reads or writes files where it likes; "
                "nothing was run. Give the Python module (module:factory) instead"
            )


def load_torchscript(path: Path) -> torch.jit.ScriptModule:
    """A model: the module on the CPU in evaluation mode, one tensor in, one tensor out.

    Raises as `open_torchscript`; InputError where the module takes or gives something else, or always works as in
    training.
    """
    module = open_torchscript(path)
    _check_forward(module, path)
    return module


def open_torchscript(path: Path) -> torch.jit.ScriptModule:
    """Any module, on the CPU in evaluation mode. Raises UnsafeInput as `check_code`, InputError where it is damaged."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("a TorchScript model", "optimize") from error
    check_code(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "damaged")
        raise InputError(f"{path}: not a TorchScript file that can be read ({first})") from error
    return module


def constants(module: torch.jit.ScriptModule) -> list[torch.Tensor]:
    """Tensors that are part of the code: the weights of a frozen module."""
    import torch

    graph = module.inlined_graph
    values = [node.output().toIValue() for node in graph.findAllNodes("prim::Constant")]
    return [v for v in values if isinstance(v, torch.Tensor)]


def input_channels(module: torch.jit.ScriptModule) -> int | None:
    """Channels that the first 2-D convolution takes; None where there is none, or it cannot be told."""
    for child in module.modules():
        if getattr(child, "original_name", "") == "Conv2d":
            weight = getattr(child, "weight", None)
            return None if weight is None else int(weight.shape[1]) * int(getattr(child, "groups", 1))
    graph = module.inlined_graph
    node = graph.findNode("aten::_convolution") or graph.findNode("aten::conv2d")
    weight = None if node is None else list(node.inputs())[1].toIValue()
    return int(weight.shape[1]) if weight is not None and weight.ndim == 4 else None


def _plain(text: str) -> str:
    """Code with what could hide a name taken out: octal escapes, broken lines, literals in parts."""
    decoded = _OCTAL.sub(lambda m: chr(int(m[1], 8) & 0xFF), text)
    return _JOINED.sub("", decoded).replace("\\\n", "")


def _check_forward(module: torch.jit.ScriptModule, path: Path) -> None:
    forward = getattr(module, "forward", None)
    if forward is None or not hasattr(forward, "schema"):
        raise InputError(f"{path}: the module has no forward")
    taken = [(a.name, str(a.type)) for a in forward.schema.arguments[1:] if not a.has_default_value()]
    if [kind for _, kind in taken] != ["Tensor"]:
        listed = ", ".join(f"{name}: {kind}" for name, kind in taken) or "nothing"
        raise InputError(f"{path}: the module takes {listed}; a model takes one tensor, a batch of cases")
    given = [str(r.type) for r in forward.schema.returns]
    if given != ["Tensor"]:
        raise InputError(f"{path}: the module gives {', '.join(given)}; wrap it so that it gives its logits alone")
    graph = module.inlined_graph
    for kind, place in _TRAIN_FLAG.items():
        if any(_trains(list(node.inputs()), place) for node in graph.findAllNodes(kind)):
            raise InputError(
                f"{path}: its {kind.removeprefix('aten::')} always works as in training: answers hang on chance or on "
                "the batch; trace it anew after model.eval()"
            )


def _trains(inputs: list[Any], place: int) -> bool:
    """Whether a flag is set for good. Batch norm that keeps no statistics has no other way to work."""
    without = len(inputs) > _STATISTICS and inputs[_STATISTICS].node().mustBeNone()
    return inputs[place].toIValue() is True and not without
