"""The network that a recipe's techniques make of the original: applied in order, exported, kept by content.

Every prefix of the techniques has a folder of its own, in which training keeps its checkpoints: a recipe that shares
its first stages with another, or was killed, finds them done. The export of the whole serves every runtime.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import TrialError
from primum.files import folder, write_json
from primum.models.signature import Signature
from primum.models.torch_module import build as build_module
from primum.runtimes.export import export_onnx
from primum.study.original import Original
from primum.study.recipe import Recipe
from primum.techniques.context import TrainingData
from primum.techniques.network import torch_alone
from primum.techniques.registry import Context, apply_one, name_of, own_code, technique_of

if TYPE_CHECKING:
    import torch

CHECKED = 16
"""Cases on which the export of a changed network is compared with the changed network itself."""
_EXPORT, _EXPECTED, _RECORD = "model.onnx", "expected.npy", "stage.json"


@dataclass(frozen=True)
class TrainingFiles:
    """Preprocessed training cases on disk (.npy): inputs (N, *shape), labels as of TrainingData, units (N,) str."""

    inputs: Path
    labels: Path
    units: Path
    digest: str
    """Of content and labels: what a trained stage depends on."""

    def read(self) -> TrainingData:
        """The data, inputs memory-mapped."""
        labels, units = (np.load(path, allow_pickle=False) for path in (self.labels, self.units))
        return TrainingData(np.load(self.inputs, mmap_mode="r"), labels, units)


@dataclass(frozen=True)
class Workshop:
    """Where and with what techniques work: the study's folder of stages, the inputs, the training cases."""

    stages: Path
    inputs: Path
    """Preprocessed judged inputs (.npy), of which only calibration rows are touched."""
    calibration: NDArray[np.int64]
    training: TrainingFiles | None = None


@dataclass(frozen=True)
class Staged:
    """A changed network. `module` is None where only the kept export was needed."""

    onnx: Path | None
    module: torch.nn.Module | None
    expected: NDArray[np.float32]
    """Raw outputs (n, outputs) of the changed torch module on the first calibration cases."""
    notes: tuple[str, ...]
    seconds: float = 0.0
    """What making it took, when it was made."""


def stage(original: Original, recipe: Recipe, workshop: Workshop, needs_onnx: bool) -> Staged:
    """The network after all techniques of `recipe`: read back where it was kept, else made and (`needs_onnx`) kept.

    Raises what techniques and the exporter raise (TrialError, InputError).
    """
    place = workshop.stages / stage_key(original, recipe, len(recipe.techniques), workshop)
    products = recipe.target.fused_attention
    if products:
        place = place.with_name(f"{place.name}-products")
    if needs_onnx and (place / _RECORD).is_file():
        record = json.loads((place / _RECORD).read_text())
        expected = np.load(place / _EXPECTED, allow_pickle=False)
        return Staged(place / _EXPORT, None, expected, tuple(record["notes"]), float(record["seconds"]))
    from primum.models.attention import split_attention

    began = time.monotonic()
    module, notes = apply_stages(original, recipe, workshop)
    expected = _outputs(module, original.signature, workshop)
    if not needs_onnx:
        return Staged(None, module, expected, notes, time.monotonic() - began)
    if packed := torch_alone(module):
        more = f" and {len(packed) - 1} more" if len(packed) > 1 else ""
        raise TrialError(
            f"{name_of(recipe.techniques[-1])} leaves modules that {recipe.target.runtime} cannot run "
            f"({packed[0]}{more}): it works in torch alone; give it the runtime torchscript"
        )
    with folder(place) as whole:
        if products:
            # In place, and after `expected`: the function stays the same.
            module, stays = split_attention(module)
            notes += stays
        notes += export_onnx(module, original.signature.input_shape, whole / _EXPORT, products)
        np.save(whole / _EXPECTED, expected)
        seconds = time.monotonic() - began
        write_json(whole / _RECORD, {"recipe": str(recipe), "notes": list(notes), "seconds": seconds})
    return Staged(place / _EXPORT, module, expected, notes, seconds)


def apply_stages(original: Original, recipe: Recipe, workshop: Workshop) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """Techniques in order on a fresh copy of the original; returns the module in evaluation mode, and notes."""
    built = build_module(original.reference)
    cases = np.asarray(np.load(workshop.inputs, mmap_mode="r")[workshop.calibration])
    base = Context(
        seed=recipe.seed,
        signature=original.signature,
        calibration=cases,
        train=workshop.training.read() if workshop.training is not None else None,
        teacher=copy.deepcopy(built.module),
        measure=_measure(recipe, original.signature, cases),
    )
    module, notes = copy.deepcopy(built.module), [*built.notes]
    for number, config in enumerate(recipe.techniques, start=1):
        work = workshop.stages / f"{stage_key(original, recipe, number, workshop)}-work"
        work.mkdir(parents=True, exist_ok=True)
        context = replace(base, work=work, notes=[])
        module = apply_one(module, config, context)
        notes += [f"{name_of(config)}: {text}" for text in context.notes]
    return module.eval(), tuple(notes)


def stage_key(original: Original, recipe: Recipe, number: int, workshop: Workshop) -> str:
    """Twelve hex digits of what the network after `number` techniques depends on."""
    techniques = recipe.techniques[:number]
    used = [technique_of(t) for t in techniques]
    parts: dict[str, Any] = {
        "original": original.digest,
        "techniques": recipe.to_dict()["techniques"][:number],
        "seed": recipe.seed,
        "train": workshop.training.digest if workshop.training and any(t.trains for t in used) else "",
        "target": recipe.target.model_dump(mode="json") if any(t.measures for t in used) else "",
    }
    if own := own_code(techniques):
        parts["code"] = own
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _outputs(module: torch.nn.Module, signature: Signature, workshop: Workshop) -> NDArray[np.float32]:
    """Raw outputs on the first calibration cases; TrialError where there are more or fewer than the original gives."""
    import torch

    rows = workshop.calibration[:CHECKED]
    cases = torch.from_numpy(np.load(workshop.inputs, mmap_mode="r")[rows].copy())
    with torch.inference_mode():
        # One at a time, as the export runs them: dynamic INT8 takes its ranges from all that a batch holds.
        out = torch.stack([module(case[None]).float().reshape(-1) for case in cases])
    flat = np.asarray(out.numpy())
    wanted = signature.outputs * math.prod(signature.spatial)
    if flat.shape != (len(rows), wanted):
        raise TrialError(f"the changed network gives {flat.shape[1]} outputs a case, the original {wanted}")
    return flat


def _measure(recipe: Recipe, signature: Signature, cases: NDArray[np.float32]) -> Callable[[torch.nn.Module], float]:
    def measure(module: torch.nn.Module) -> float:
        from primum.study.latency import latency

        return latency(module, recipe.target, signature, cases)

    return measure
