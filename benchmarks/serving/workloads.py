"""The models that the benchmark makes for itself, deterministic and without data, and the cases that they are asked.

`risk`: a table of 32 values, 32 -> 128 -> 64 -> 2 in FP32: costs microseconds, so the server itself is measured.
`xray`: a ResNet-18 for images of 1 x 64 x 64 in INT8: costs a good half of a millisecond, so the model is.
Each is an ONNX file, sealed as a primum artifact, and once more as a guarded one that asks its original about
DEFERRED of the CASES. Weights are random, scaled as trained ones are: speed does not depend on them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from primum.artifact.manifest import Guard, Manifest, write_manifest
from primum.data.preprocessing import Preprocessing
from primum.models.signature import Activation, Signature
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.runtimes.export import export_onnx
from primum.version import VERSION

SEED = 20260
CASES, DEFERRED = 32, 3
NAMES = ("risk-json", "risk-binary", "xray-binary", "xray-json")
_CALIBRATION = 64


@dataclass(frozen=True)
class Workload:
    """One model and one format of its requests."""

    name: str
    shape: tuple[int, ...]
    format: str
    """json or binary."""
    model: Path
    """The ONNX file that everybody runs, within `artifact`."""
    artifact: Path
    guarded: Path
    cases: NDArray[np.float32]
    """(CASES, *shape), of four decimals: as short in JSON as a client would send them."""
    logits: NDArray[np.float32]
    """(CASES, 2): what the ONNX file answers in this process."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, width, H / stride, W / stride)."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + self.shortcut(x))


class Radiograph(nn.Module):
    """ResNet-18, (N, 1, 64, 64) to two logits."""

    def __init__(self) -> None:
        super().__init__()
        stem = [nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        blocks = [Residual(a, b, s) if k == 0 else Residual(b, b, 1) for a, b, s in widths for k in range(2)]
        self.body, self.head = nn.Sequential(*stem, *blocks), nn.Linear(512, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Two logits."""
        return self.head(self.body(x).mean((2, 3)))


def make(names: tuple[str, ...], folder: Path) -> list[Workload]:
    """Build what the workloads of these names need, below `folder`."""
    made: dict[str, tuple[tuple[int, ...], Path, Path, NDArray[np.float32], NDArray[np.float32]]] = {}
    found = []
    for name in names:
        kind, _, form = name.partition("-")
        if kind not in made:
            made[kind] = _made(kind, folder / kind)
        shape, artifact, guarded, cases, logits = made[kind]
        model = artifact / "model" / "model.onnx"
        found.append(Workload(name, shape, form, model, artifact, guarded, cases, logits))
    return found


def band_for(scores: NDArray[np.float64], threshold: float, deferred: int) -> float:
    """Half-width around `threshold` that holds exactly `deferred` of the scores, midway between two.

    Raises ValueError where two scores are too close to be told apart.
    """
    distances = np.sort(np.abs(scores - threshold))
    band = float(distances[deferred - 1 : deferred + 1].mean())
    if not distances[deferred - 1] < band < distances[deferred]:
        raise ValueError("scores are equal: no band tells them apart")
    return band


def _made(kind: str, folder: Path) -> tuple[tuple[int, ...], Path, Path, NDArray[np.float32], NDArray[np.float32]]:
    shape = (32,) if kind == "risk" else (1, 64, 64)
    with _seeded():
        network = _risk() if kind == "risk" else _radiograph()
    rng = np.random.default_rng(SEED)
    calibration = rng.standard_normal((_CALIBRATION, *shape)).astype(np.float32)
    cases = np.round(rng.standard_normal((CASES, *shape)), 4).astype(np.float32)
    original = folder / "original.onnx"
    folder.mkdir(parents=True)
    export_onnx(network, shape, original)
    # Two logits of a softmax: the original of the guarded risk model is itself, which costs the same.
    fast = Target(runtime="onnxruntime", precision="fp32" if kind == "risk" else "int8", threads=1)
    signature = Signature(input_shape=shape, outputs=2, classes=("low", "high"), activation=Activation.SOFTMAX)
    source = BuildSource(signature, network, original, calibration)
    parts = {"artifact": ("model",), "guarded": ("model", "reference")}
    for name, networks in parts.items():
        for part in networks:
            (folder / name / part).mkdir(parents=True)
    runtime, slow = get_runtime("onnxruntime"), Target(runtime="onnxruntime", threads=1)
    runtime.build(source, fast, folder / "artifact" / "model")
    shutil.copytree(folder / "artifact" / "model", folder / "guarded" / "model", dirs_exist_ok=True)
    runtime.build(source, slow, folder / "guarded" / "reference")
    logits = _run(folder / "artifact" / "model" / "model.onnx", cases)
    band = band_for(signature.positive_probability(logits), 0.5, DEFERRED)
    guard = Guard(
        band=band,
        epsilon=0.005,
        delta=None,
        by_class=False,
        strict=False,
        patients=CASES,
        deferred=DEFERRED / CASES,
        reference=slow.model_dump(mode="json"),
    )
    for name, guarding in (("artifact", None), ("guarded", guard)):
        write_manifest(folder / name, _manifest(signature, fast, guarding))
    return shape, folder / "artifact", folder / "guarded", cases, logits


def _manifest(signature: Signature, target: Target, guard: Guard | None) -> Manifest:
    return Manifest(
        primum_version=VERSION,
        created="",
        signature=signature,
        threshold=0.5,
        target=target.model_dump(mode="json"),
        runtime_version=get_runtime("onnxruntime").version(),
        precision_proven=target.precision,
        provider="CPUExecutionProvider",
        recipe=str(target),
        parent_hash="",
        preprocessing=Preprocessing(),
        guard=guard,
        notes=("made for a benchmark: of nobody, and for nobody",),
    )


def _run(model: Path, cases: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 2), one case a call, as most requests are answered."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": case[None]})[0] for case in cases])


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        yield


def _risk() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2)).eval()


def _radiograph() -> nn.Module:
    """Batch norms have seen what they will see; logits are spread over some units, as a trained network's are."""
    network = Radiograph()
    with torch.no_grad():
        network.train()
        for _ in range(4):
            features = network.body(torch.randn(32, 1, 64, 64)).mean((2, 3))
        spread = (features - features.mean(0)).std()
        network.head.weight.div_(spread)
        network.head.bias.copy_(-(features @ network.head.weight.T).mean(0))
    return network.eval()
