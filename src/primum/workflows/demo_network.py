"""The demo's model: a small ResNet that reads synthetic phantoms, and its training in under a minute."""

from __future__ import annotations

import copy
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from primum.data.preprocessing import Preprocessing
from primum.errors import InputError
from primum.files import write_bytes
from primum.workflows.phantoms import LABELS

PREPROCESSING = Preprocessing(size=(64, 64), scale=1 / 255, mean=(0.5,), std=(0.25,))
MAX_EPOCHS = 24
_BATCH = 32
_PEAK_RATE = 2e-3
_WEIGHT_DECAY = 0.02
_MAX_SHIFT = 3  # pixels
_HELD_OUT_SHARE = 0.1
_MIN_PATIENTS = 20  # of each label: below this, a tenth of them cannot show an AUROC


class _Block(nn.Module):  # type: ignore[misc]
    """Two 3x3 convolutions and a shortcut: (N, before, H, W) to (N, after, H/stride, W/stride)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, features: Tensor) -> Tensor:
        inner = self.relu1(self.bn1(self.conv1(features)))
        return self.relu2(self.bn2(self.conv2(inner)) + self.shortcut(features))


class _SmallResNet(nn.Module):  # type: ignore[misc]
    """float32 (N, 1, 64, 64) to logits (N, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 64, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        widths = ((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1))
        self.blocks = nn.Sequential(*(_Block(*width) for width in widths))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(256, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.blocks(self.stem(images))), 1))


def build() -> nn.Module:
    """Return the network, untrained: preprocessed float32 (N, 1, 64, 64) to one logit each, (N, 1)."""
    network = _SmallResNet()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def train(manifest: Path, out: Path, seed: int, budget_s: float, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train the network on a phantom manifest and save out/weights.safetensors.

    A tenth of the patients is held out of training and only measured. Trains MAX_EPOCHS epochs, fewer where
    this machine could not finish them in about budget_s seconds; progress is told about each. Returns
    train_auroc, held_out_auroc, epochs and seconds.
    """
    start = time.perf_counter()
    cases = _read(manifest)
    held_out = _draw_held_out(cases.patients, cases.labels.numpy(), seed)
    fitting = (cases.images[~held_out], cases.labels[~held_out])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build().to(memory_format=torch.channels_last)
        left = budget_s - (time.perf_counter() - start)
        epochs = max(1, min(MAX_EPOCHS, int(0.9 * left / _epoch_seconds(network, *fitting))))
        _fit(network, *fitting, epochs, progress)
    scores = _logits(network, cases.images)
    labels = cases.labels.numpy() == 1
    state = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    write_bytes(out / "weights.safetensors", save(state))
    chosen = held_out.numpy()
    return {
        "train_auroc": _auroc(labels[~chosen], scores[~chosen]),
        "held_out_auroc": _auroc(labels[chosen], scores[chosen]),
        "epochs": epochs,
        "seconds": time.perf_counter() - start,
    }


@dataclass(frozen=True)
class _Cases:
    """images float32 (N, 1, 64, 64), labels float32 (N,) of 0 and 1, patients (N,)."""

    images: Tensor
    labels: Tensor
    patients: NDArray[np.str_]


def _read(manifest: Path) -> _Cases:
    with manifest.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    if not rows or any(row.get("label") not in LABELS or not row.get("patient_id") for row in rows):
        raise InputError(
            f"{manifest}: every row needs a patient_id and a label, {' or '.join(LABELS)}; make it with make_phantoms"
        )
    images = np.empty((len(rows), 1, 64, 64), np.float32)
    for index, row in enumerate(rows):
        with Image.open(manifest.parent / row["path"]) as image:
            images[index] = PREPROCESSING(image)
    labels = torch.tensor([float(LABELS.index(row["label"])) for row in rows])
    return _Cases(torch.from_numpy(images), labels, np.array([row["patient_id"] for row in rows]))


def _draw_held_out(patients: NDArray[np.str_], labels: NDArray[np.float32], seed: int) -> Tensor:
    """Return a mask (N,): all images of a random tenth of the patients of each label."""
    rng = np.random.default_rng(seed)
    chosen: list[str] = []
    for label in (0, 1):
        names = np.unique(patients[labels == label])
        if len(names) < _MIN_PATIENTS:
            raise InputError(
                f"training needs at least {_MIN_PATIENTS} patients of each label, not {len(names)} of {LABELS[label]}"
            )
        chosen += rng.permutation(names)[: round(len(names) * _HELD_OUT_SHARE)].tolist()
    return torch.from_numpy(np.isin(patients, chosen))


def _epoch_seconds(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return about how long one epoch takes here, from a few steps of a copy of the network."""
    trial = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(trial.parameters())
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        _step(trial, optimizer, images[:_BATCH], labels[:_BATCH])
        seconds.append(time.perf_counter() - start)
    # The median, so that neither the first slow step nor a busy moment costs the demo its epochs.
    return float(np.median(seconds)) * max(1, len(labels) // _BATCH)


def _fit(network: nn.Module, images: Tensor, labels: Tensor, epochs: int, progress: Callable[[str], None]) -> None:
    """Train network in place for epochs epochs of one rise and fall of the learning rate."""
    optimizer = torch.optim.AdamW(network.parameters(), _PEAK_RATE, weight_decay=_WEIGHT_DECAY)
    steps = max(1, len(labels) // _BATCH)
    # OneCycleLR divides by zero when a phase of its cycle is shorter than one step.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _PEAK_RATE, total_steps=max(epochs * steps, 10), pct_start=0.3
    )
    for epoch in range(1, epochs + 1):
        losses = []
        # The short last batch is left out: batch statistics of a handful of images are noise.
        for chosen in torch.randperm(len(labels))[: steps * _BATCH].split(_BATCH):
            losses.append(_step(network, optimizer, _augment(images[chosen]), labels[chosen]))
            schedule.step()
        progress(f"epoch {epoch} of {epochs}: loss {np.mean(losses):.3f}")


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    """Take one optimizer step on (N, 1, 64, 64) images and (N,) labels; return the loss."""
    network.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=_bfloat16_helps()):
        logits = network(images.contiguous(memory_format=torch.channels_last))
    loss = functional.binary_cross_entropy_with_logits(logits.float()[:, 0], labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _bfloat16_helps() -> bool:
    """Say whether this processor computes in bfloat16; on others autocast only slows training."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


def _augment(images: Tensor) -> Tensor:
    """Shift each image (N, 1, H, W) by a few pixels and change its gain and offset a little."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (_MAX_SHIFT,) * 4, mode="replicate")[:, 0]
    corner = torch.randint(0, 2 * _MAX_SHIFT + 1, (2, count, 1))
    lines, columns = corner[0] + torch.arange(height), corner[1] + torch.arange(width)
    shifted = padded[torch.arange(count)[:, None, None], lines[:, :, None], columns[:, None, :]]
    gain, offset = 0.2 * torch.rand((2, count, 1, 1)) - 0.1
    return (shifted * (1 + gain) + 2 * offset)[:, None]


def _logits(network: nn.Module, images: Tensor) -> NDArray[np.float32]:
    """Return the network's FP32 logits, (N,)."""
    network.eval()
    with torch.inference_mode():
        parts = [network(part)[:, 0] for part in images.split(128)]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def _auroc(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """Return the share of (positive, negative) pairs in the right order, ties half."""
    gaps = scores[positive][:, None] - scores[~positive][None, :]
    return float((gaps > 0).mean() + 0.5 * (gaps == 0).mean())
