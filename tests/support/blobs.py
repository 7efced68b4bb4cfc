"""Labelled images of noise with (positive) or without (negative) a bright blob, and a network fitted to them."""

import csv
from pathlib import Path

import numpy as np
from nets import build
from PIL import Image

SIZE = 32
PREPROCESSING = "color: grey\nsize: [32, 32]\nscale: 0.00392156862745098\nmean: 0.5\nstd: 0.25\n"


def make_image(generator: np.random.Generator, positive: bool) -> np.ndarray:
    """uint8 (32, 32)."""
    image = generator.normal(110, 25, (SIZE, SIZE))
    if positive:
        y, x = generator.integers(8, 24, 2)
        yy, xx = np.mgrid[:SIZE, :SIZE]
        image += generator.uniform(70, 130) * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 18)
    return np.clip(image, 0, 255).astype(np.uint8)


def make_manifest(folder: Path, patients: int, seed: int, positives: int | None = None) -> Path:
    """PNG files and manifest.csv; every tenth patient has two images. `positives` patients (default half)."""
    generator = np.random.default_rng(seed)
    positives = patients // 2 if positives is None else positives
    (folder / "images").mkdir(parents=True)
    rows = []
    for patient in range(patients):
        positive = patient < positives
        for shot in range(2 if patient % 10 == 0 else 1):
            name = f"images/{seed}-{patient:04d}-{shot}.png"
            Image.fromarray(make_image(generator, positive)).save(folder / name)
            label = "shadow" if positive else "clear"
            rows.append((name, label, f"{seed}-P{patient:04d}", "FM"[patient % 2]))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient_id", "sex"])
        writer.writerows(rows)
    (folder / "preprocessing.yaml").write_text(PREPROCESSING)
    return folder / "manifest.csv"


def fit(path: Path) -> Path:
    """Weights of `nets:build` whose head is fitted, by ridge regression, to tell blobs; written as safetensors."""
    import torch
    from safetensors.torch import save_file

    generator = np.random.default_rng(99)
    labels = np.arange(800) % 2
    images = np.stack([make_image(generator, bool(y)) for y in labels])
    inputs = torch.from_numpy(((images[:, None] / 255 - 0.5) / 0.25).astype(np.float32))
    net = build()
    with torch.inference_mode():
        features = net.features(inputs).double()
        design = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
        target = torch.from_numpy(np.where(labels == 1, 6.0, -6.0))[:, None]
        gram = design.T @ design + 1e-2 * torch.eye(design.shape[1], dtype=torch.float64)
        solution = torch.linalg.solve(gram, design.T @ target)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    state["head.weight"], state["head.bias"] = solution[:-1].T.float().contiguous(), solution[-1].float()
    save_file(state, path)
    return path
