"""Train the chest X-ray example: a ResNet-18 on 30 % of the patients, judged on patients never seen.

    python examples/chest_xray/train.py --data DIR --out DIR [--epochs N] [--seed 0]

DIR holds train.zip (JPEGs) and train.csv (path, label, subtype, patient_id, ...).
"""

import argparse
import copy
import csv
import hashlib
import io
import json
import math
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
import yaml
from network import build
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
SPLIT_KEY = b"primum chest x-ray example"
TRAINING_SHARE, STOPPING_SHARE = 0.3, 0.1
BATCH = 32
PEAK_RATE, WEIGHT_DECAY = 1e-3, 0.05
MAX_SHIFT_PX = 6
PATIENCE = 8

Row = dict[str, str]


def patient_share(patient_id: str) -> float:
    """Return this patient's fixed place in [0, 1), the same on every machine and in every run."""
    digest = hashlib.blake2b(patient_id.encode(), key=SPLIT_KEY, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def read_rows(data: Path) -> list[Row]:
    """Return the rows of train.csv without the marked pixel-identical copies."""
    with (data / "train.csv").open(newline="", encoding="utf-8") as handle:
        # A second copy of an image adds no evidence, only a longer list.
        return [row for row in csv.DictReader(handle) if not row.get("pixel_duplicate_of")]


def split_rows(rows: list[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """Return (fitting, stopping, judging) rows; no patient is in two of them."""
    fitting, stopping, judging = [], [], []
    for row in rows:
        share = patient_share(row["patient_id"])
        if share >= TRAINING_SHARE:
            judging.append(row)
        elif share < TRAINING_SHARE * STOPPING_SHARE:
            stopping.append(row)
        else:
            fitting.append(row)
    return fitting, stopping, judging


def read_images(archive: Path, rows: list[Row]) -> Tensor:
    """Return the rows' images as preprocessing.yaml says: float32 (N, 1, H, W)."""
    spec = yaml.safe_load((HERE / "preprocessing.yaml").read_text(encoding="utf-8"))
    height, width = spec["size"]
    pixels = np.empty((len(rows), 1, height, width), np.uint8)
    with zipfile.ZipFile(archive) as members:
        for index, row in enumerate(rows):
            with Image.open(io.BytesIO(members.read(row["path"]))) as image:
                grey = image.convert("L").resize((width, height), Image.Resampling.BILINEAR)
            pixels[index, 0] = np.asarray(grey)
    scaled = pixels.astype(np.float32) * np.float32(spec["scale"])
    return torch.from_numpy((scaled - np.float32(spec["mean"][0])) / np.float32(spec["std"][0]))


def read_labels(rows: list[Row]) -> Tensor:
    """Return 1.0 for pneumonia and 0.0 for normal, float32 (N,)."""
    return torch.tensor([float(row["label"]) for row in rows])


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by a few pixels and change its gain and offset a little: (N, 1, H, W)."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (MAX_SHIFT_PX,) * 4, mode="replicate")[:, 0]
    corner = torch.randint(0, 2 * MAX_SHIFT_PX + 1, (2, count, 1), generator=generator)
    lines, columns = corner[0] + torch.arange(height), corner[1] + torch.arange(width)
    shifted = padded[torch.arange(count)[:, None, None], lines[:, :, None], columns[:, None, :]]
    gain, offset = 0.2 * torch.rand((2, count, 1, 1), generator=generator) - 0.1
    return (shifted * (1 + gain) + 2 * offset)[:, None]


@torch.inference_mode()
def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return the network's FP32 logits, (N,)."""
    network.eval()
    return torch.cat([network(part)[:, 0] for part in images.split(128)])


def auroc(labels: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    """Return the share of (positive, negative) pairs in the right order, ties half."""
    gaps = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return float((gaps > 0).mean() + 0.5 * (gaps == 0).mean())


def judge(labels: Tensor, logits: Tensor) -> dict[str, float]:
    """Return AUROC, and sensitivity and specificity at probability 0.5."""
    positive = labels == 1
    return {
        "auroc": auroc(labels.numpy(), logits.numpy()),
        "sensitivity": float((logits[positive] > 0).float().mean()),
        "specificity": float((logits[~positive] <= 0).float().mean()),
    }


def bfloat16_helps() -> bool:
    """Say whether this processor has bfloat16 arithmetic; elsewhere autocast only slows training."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


def train_epoch(
    network: nn.Module,
    data: tuple[Tensor, Tensor],
    loss_of: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator,
) -> None:
    """Go once through data, (N, 1, H, W) images and (N,) labels, in a random order."""
    images, labels = data
    network.train()
    order = torch.randperm(len(labels), generator=generator)
    # The last, short batch is left out: batch statistics of a handful of images are noise.
    for chosen in order[: len(order) // BATCH * BATCH].split(BATCH):
        batch = augment(images[chosen], generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_helps()):
            logits = network(batch)
        optimizer.zero_grad()
        loss_of(logits.float()[:, 0], labels[chosen]).backward()
        optimizer.step()
        schedule.step()


def fit(
    fitting: tuple[Tensor, Tensor], stopping: tuple[Tensor, Tensor], epochs: int, seed: int
) -> tuple[nn.Module, int]:
    """Return the network of the epoch with the lowest loss on the stopping patients, and that epoch."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = build().to(memory_format=torch.channels_last)
    # Weighted as if both classes were equally common, so that 0.5 is a sensible threshold.
    negatives_per_positive = (fitting[1] == 0).sum() / (fitting[1] == 1).sum()
    loss_of = nn.BCEWithLogitsLoss(pos_weight=negatives_per_positive)
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * (len(fitting[1]) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.25)
    best, best_loss, best_epoch = copy.deepcopy(network.state_dict()), math.inf, 0
    for epoch in range(1, epochs + 1):
        train_epoch(network, fitting, loss_of, optimizer, schedule, generator)
        logits = logits_of(network, stopping[0])
        loss = float(loss_of(logits, stopping[1]))
        area = auroc(stopping[1].numpy(), logits.numpy())
        print(f"epoch {epoch:2d}/{epochs}  stopping patients: loss {loss:.4f}, AUROC {area:.4f}", flush=True)
        if loss < best_loss:
            best, best_loss, best_epoch = copy.deepcopy(network.state_dict()), loss, epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    network.load_state_dict(best)
    return network, best_epoch


def write_manifest(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV with the columns they came with."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def save_weights(network: nn.Module, path: Path) -> None:
    """Save the weights as safetensors, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(save({name: value.contiguous() for name, value in network.state_dict().items()}))
    part.replace(path)


def next_command(data: Path, out: Path) -> str:
    """Return the command, for the repository root, that optimizes what was trained."""
    spec = Path(os.path.relpath(HERE / "preprocessing.yaml", HERE.parents[1]))
    return " \\\n    ".join(
        [
            "primum optimize --model examples.chest_xray.network:build",
            f"--checkpoint {out / 'weights.safetensors'}",
            f"--data {out / 'judge_manifest.csv'} --image-root {data / 'train.zip'}",
            f"--train-data {out / 'train_manifest.csv'}",
            f"--preprocessing {spec}",
            "--label-column label --patient-column patient_id --group-columns subtype",
            f"--out {out / 'result'}",
        ]
    )


def parse_arguments() -> argparse.Namespace:
    """Return data, out, epochs and seed from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train.zip and train.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and manifests")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def count(rows: list[Row]) -> dict[str, int]:
    """Return how many images, patients and positive images there are."""
    return {
        "images": len(rows),
        "patients": len({row["patient_id"] for row in rows}),
        "positives": sum(row["label"] == "1" for row in rows),
    }


def main() -> None:
    """Split, train, judge once, write everything and name the next command."""
    arguments = parse_arguments()
    data, out = arguments.data, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    fitting, stopping, judging = split_rows(read_rows(data))
    parts = [(read_images(data / "train.zip", rows), read_labels(rows)) for rows in (fitting, stopping)]
    print(f"images: {len(fitting)} to fit, {len(stopping)} to stop early, {len(judging)} to judge")
    start = time.perf_counter()
    network, epoch = fit(parts[0], parts[1], arguments.epochs, arguments.seed)
    seconds = time.perf_counter() - start
    unseen = judge(read_labels(judging), logits_of(network, read_images(data / "train.zip", judging)))
    save_weights(network, out / "weights.safetensors")
    write_manifest(out / "train_manifest.csv", fitting + stopping)
    write_manifest(out / "judge_manifest.csv", judging)
    record = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "kept_epoch": epoch,
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "training_seconds": round(seconds, 1),
        "fitting": count(fitting),
        "stopping": count(stopping),
        "judging": count(judging),
        "patients_never_seen": unseen,
    }
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"trained in {seconds:.0f} s; patients never seen: {unseen}")
    print(f"wrote weights.safetensors, train_manifest.csv, judge_manifest.csv, training.json to {out}")
    print("next, from the repository root:\n\n" + next_command(data, out))


if __name__ == "__main__":
    main()
