"""Small U-Nets as MONAI builds them, taught to find bright blobs in noise; images as PNG, volumes as .npz."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pruning_nets import UNet
from torch import nn

SIDE = {2: 32, 3: 16}
PREPROCESSING = "color: grey\nsize: [32, 32]\nscale: 0.00392156862745098\nmean: 0.4\nstd: 0.15\n"
"""Of the images; volumes are taken as they are."""
WIDTHS = (16, 32, 48)


def flat() -> nn.Module:
    """(N, 1, 32, 32) to (N, 2, 32, 32)."""
    torch.manual_seed(0)
    return UNet(2, WIDTHS, affine=True).eval()


def deep() -> nn.Module:
    """(N, 1, 16, 16, 16) to (N, 2, 16, 16, 16); instance norm without weights."""
    torch.manual_seed(0)
    return UNet(3, WIDTHS).eval()


def blobs(axes: int, cases: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (N, *spatial) and their masks: one or two balls each."""
    source, side = np.random.default_rng(seed), SIDE[axes]
    grid = np.stack(np.meshgrid(*[np.arange(side)] * axes, indexing="ij"))
    masks = np.zeros((cases, *[side] * axes), np.uint8)
    for mask in masks:
        for _ in range(source.integers(1, 3)):
            centre = source.uniform(0.25 * side, 0.75 * side, axes).reshape(-1, *[1] * axes)
            mask |= ((grid - centre) ** 2).sum(0) <= source.uniform(0.12 * side, 0.25 * side) ** 2
    images = source.normal(np.where(masks, 150, 90), 30).clip(0, 255).astype(np.uint8)
    return images, masks


def images(folder: Path, cases: int, seed: int) -> Path:
    """Manifest of PNG files: path, mask, patient."""
    (folder / "scans").mkdir(parents=True)
    rows = ["path,mask,patient"]
    for case, (image, mask) in enumerate(zip(*blobs(2, cases, seed))):
        names = f"scans/{case}.png", f"scans/{case}-mask.png"
        for name, pixels in zip(names, (image, mask)):
            Image.fromarray(pixels).save(folder / name)
        rows.append(",".join((*names, f"{seed}-{case}")))
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


def volumes(path: Path, cases: int, seed: int) -> Path:
    """An .npz of float volumes (N, 1, D, H, W), masks (N, D, H, W) and patients."""
    found, masks = blobs(3, cases, seed)
    np.savez(path, x=scaled(found), mask=masks, patient=np.array([f"{seed}-{i}" for i in range(cases)]))
    return path


def scaled(images: np.ndarray) -> np.ndarray:
    """float32 (N, 1, *spatial), as both preprocessings give it."""
    return ((images[:, None] / 255 - 0.4) / 0.15).astype(np.float32)


def taught(net: nn.Module, axes: int, path: Path, steps: int) -> Path:
    """Weights after `steps` steps on blobs, as safetensors."""
    from safetensors.torch import save_file

    found, masks = blobs(axes, 96, seed=100)
    inputs, truth = torch.from_numpy(scaled(found)), torch.from_numpy(masks.astype(np.int64))
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(net.train().parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(steps):
        rows = torch.randperm(len(inputs))[:16]
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs[rows]), truth[rows]).backward()
        optimizer.step()
        schedule.step()
    save_file({k: v.clone() for k, v in net.eval().state_dict().items()}, path)
    return path
