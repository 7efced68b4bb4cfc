"""Small labelled data of every task, each drawn from what its network in `nets` knows."""

import csv
from pathlib import Path

import numpy as np
from nets import CENTRES, WEIGHTS
from PIL import Image

NAMES = tuple("abcdef")
TABLE = "kind: table\ncolumns:\n" + "".join(f"  - {{name: {name}}}\n" for name in NAMES)
MASKED = "color: grey\nsize: [16, 16]\nscale: 0.00392156862745098\n"


def arrays(path: Path, patients: int, seed: int) -> Path:
    """An .npz for `nets:three_kinds`: each patient of one kind, with one or two arrays."""
    generator = np.random.default_rng(seed)
    shots = 1 + (np.arange(patients) % 3 == 0)
    owner = np.repeat(np.arange(patients), shots)
    kinds = generator.integers(0, 3, patients)[owner]
    np.savez(
        path,
        x=generator.normal(CENTRES[kinds], 1.0).astype(np.float32),
        y=np.array(["benign", "cyst", "tumour"])[kinds],
        patient=np.array([f"{seed}-{i}" for i in owner]),
        site=np.array(["north", "south"])[owner % 2],
    )
    return path


def table(path: Path, rows: int, seed: int, **labels: object) -> Path:
    """A CSV of six columns, `patient`, `sex`, and one column for each label: a function of (features, generator)."""
    generator = np.random.default_rng(seed)
    features = generator.normal(0.0, 1.0, (rows, len(NAMES))).round(4)
    columns = {name: make(features, generator) for name, make in labels.items()}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*NAMES, "patient", "sex", *columns])
        for row, cells in enumerate(zip(*columns.values())):
            writer.writerow([*features[row], f"{seed}-{row}", "FM"[row % 2], *cells])
    return path


def finding(which: int, blank: float = 0.0):
    """0 or 1 as the network's own probability says, or blank."""

    def make(features: np.ndarray, generator: np.random.Generator) -> list[str]:
        chance = 1 / (1 + np.exp(-3.0 * features @ WEIGHTS[which]))
        known = generator.random(len(features)) >= blank
        return [str(int(y)) if k else "" for y, k in zip(generator.random(len(features)) < chance, known)]

    return make


def grade(features: np.ndarray, generator: np.random.Generator) -> list[str]:
    """0 to 3."""
    found = np.rint(1.5 + features @ WEIGHTS[0] + generator.normal(0, 0.4, len(features)))
    return [str(int(g)) for g in found.clip(0, 3)]


def value(features: np.ndarray, generator: np.random.Generator) -> list[str]:
    """A number about 40."""
    return [f"{v:.3f}" for v in 40 + 5 * features @ WEIGHTS[0] + generator.normal(0, 1, len(features))]


def masked_images(folder: Path, cases: int, seed: int) -> Path:
    """Images of 16 x 16 with one bright disc, their masks, and the manifest of both."""
    generator = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    yy, xx = np.mgrid[:16, :16]
    rows = []
    for case in range(cases):
        (y, x), radius = generator.integers(5, 11, 2), generator.uniform(3, 5)
        disc = (yy - y) ** 2 + (xx - x) ** 2 <= radius**2
        image = np.clip(generator.normal(np.where(disc, 200, 60), 25), 0, 255).astype(np.uint8)
        name, mask = f"images/{case}.png", f"images/{case}-mask.png"
        Image.fromarray(image).save(folder / name)
        Image.fromarray(disc.astype(np.uint8)).save(folder / mask)
        rows.append((name, mask, f"{seed}-{case}"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("path", "mask", "patient"), *rows])
    return folder / "manifest.csv"
