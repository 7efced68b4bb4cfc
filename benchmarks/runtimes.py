"""Every runtime and precision on one ResNet-18, interleaved in one run: `make bench-runtimes`.

The network is that of examples/chest_xray with random weights: speed does not depend on them, and no data are needed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np

from primum.benchmark.timing import interleave, summarize
from primum.data.preprocessing import Preprocessing
from primum.errors import TrialError
from primum.files import size_of
from primum.models.reference import ModelReference
from primum.models.signature import Signature
from primum.models.torch_module import build
from primum.runtimes.base import Target
from primum.runtimes.export import export_onnx
from primum.runtimes.isolated import Isolated
from primum.study.build import build_candidate
from primum.study.original import Original
from primum.study.recipe import Recipe
from primum.study.stages import Workshop

ROOT = Path(__file__).parents[1]
SHAPE = (1, 128, 128)
TARGETS = (
    Target(runtime="torch"),
    Target(runtime="torch", channels_last=True),
    Target(runtime="torch", precision="bf16", channels_last=True),
    Target(runtime="torchscript"),
    Target(runtime="inductor", channels_last=True),
    Target(runtime="inductor", precision="bf16", channels_last=True),
    Target(runtime="onnxruntime"),
    Target(runtime="onnxruntime", precision="fp16"),
    Target(runtime="onnxruntime", precision="int8-dynamic"),
    Target(runtime="onnxruntime", precision="int8"),
    Target(runtime="openvino"),
    Target(runtime="openvino", precision="bf16"),
    Target(runtime="openvino", precision="int8"),
)


def main() -> None:
    """Build, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory(prefix="primum-bench-") as scratch, contextlib.ExitStack() as stack:
        place = Path(scratch)
        inputs = place / "inputs.npy"
        np.save(inputs, np.random.default_rng(0).normal(0, 1, (64, *SHAPE)).astype(np.float32))
        original = prepare(place)
        opened = {}
        for target in TARGETS:
            try:
                opened[str(target)] = start(target, original, inputs, place, stack)
            except (TrialError, ImportError) as error:
                print(f"{target}: {error}")
        taken = interleave({k: p for k, (p, _, _) in opened.items()}, inputs, np.arange(64), rounds)
        first, baseline = taken[str(TARGETS[0])], opened[str(TARGETS[0])][0]
        print(f"{'candidate':<34}{'p50 ms':>9}{'p95 ms':>9}{'speed-up':>10}{'interval':>18}{'MB':>8}")
        for name, (process, facts, size) in opened.items():
            t = summarize(taken[name], first, facts, process, baseline)
            spread = f"{t.ratio_lower:.2f} to {t.ratio_upper:.2f}"
            busy = "  busy machine" if t.contended else ""
            print(f"{name:<34}{t.p50:>9.3f}{t.p95:>9.3f}{t.ratio:>9.2f}x{spread:>18}{size / 1e6:>8.2f}{busy}")


def prepare(place: Path) -> Original:
    """The network with its export."""
    reference = ModelReference(factory="examples.chest_xray.network:build")
    export_onnx(build(reference).module, SHAPE, place / "export.onnx")
    signature = Signature(input_shape=SHAPE, outputs=1, classes=("0", "1"))
    return Original(reference, "random weights", signature, Preprocessing(), 0.5, place / "export.onnx")


def start(
    target: Target, original: Original, inputs: Path, place: Path, stack: contextlib.ExitStack
) -> tuple[Isolated, dict[str, object], int]:
    """Build a candidate and load it in a fresh process."""
    recipe = Recipe(target)
    folder = place / recipe.key
    build_candidate(original, recipe, Workshop(place / "stages", inputs, np.arange(64)), folder)
    process = stack.enter_context(Isolated())
    needs = (folder / "model" / "weights.safetensors").exists()
    facts = process.open(folder, np.load(inputs, mmap_mode="r")[:1].copy(), original.factory if needs else None)
    return process, facts, size_of(folder / "model")


if __name__ == "__main__":
    main()
