"""Labelled synthetic chest phantoms: what the demo judges a model on when there is no data at hand.

Nothing here comes from a patient. Every image is drawn from ellipses, ribs and noise.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from primum.errors import InputError
from primum.files import folder

COLUMNS = ("path", "label", "patient_id", "sex", "site")
LABELS = ("normal", "opacity")
PNG_NOTE = "primum synthetic phantom"
README = """SYNTHETIC DATA. No image in this folder comes from a patient.

{images} chest phantoms of {patients} invented patients, drawn by primum from seed {seed}.
They show that the tools work. They say nothing about how a model does on real X-rays.
Each PNG carries the text "{note}".
manifest.csv lists them: {columns}. The labels, sexes and sites are invented too.
"""

_MAX_OPACITIES = 3
_TWO_IMAGES_SHARE = 0.1
_CHUNK = 256  # images drawn at once: keeps the working set in the tens of megabytes

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Anatomy = dict[str, Floats]


def make_phantoms(out: Path, patients: int, seed: int, size: int = 64) -> Path:
    """Write labelled synthetic chest phantoms to the new folder out and return its manifest.csv.

    Each image is an 8-bit grey PNG of size x size pixels, images/<id>.png. Labels are `normal` and
    `opacity`, about half of the patients each and both in each sex; about a tenth of the patients have
    two images. The same arguments always give the same folder. Needs at least 4 patients and 16 pixels,
    and refuses a folder that already holds something.
    """
    if patients < 4 or size < 16:
        raise InputError(f"phantoms need at least 4 patients and 16 pixels, not {patients} and {size}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} already holds something; name a new folder for the phantoms")
    with folder(out) as part:
        _write(part, patients, seed, size)
    return out / "manifest.csv"


def _write(place: Path, patients: int, seed: int, size: int) -> None:
    """Draw and write every image, the manifest and the README into place."""
    rng = np.random.default_rng(seed)
    anatomy = _draw_anatomy(rng, patients)
    owner = np.repeat(np.arange(patients), 1 + (rng.random(patients) < _TWO_IMAGES_SHARE))
    rows = _rows(anatomy, owner)
    (place / "images").mkdir()
    for start in range(0, len(owner), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        pictures = _render({name: value[owner[chunk]] for name, value in anatomy.items()}, rng, size)
        for picture, row in zip(pictures, rows[chunk], strict=True):
            note = PngInfo()
            note.add_text("Description", PNG_NOTE)
            Image.fromarray(picture).save(place / row["path"], pnginfo=note)
    with (place / "manifest.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    text = README.format(images=len(owner), patients=patients, seed=seed, note=PNG_NOTE, columns=", ".join(COLUMNS))
    (place / "README.txt").write_text(text, encoding="utf-8")


def _rows(anatomy: Anatomy, owner: Ints) -> list[dict[str, str]]:
    """Return one manifest row per image; owner (images,) is each image's patient, in order."""
    rows = []
    for index, patient in enumerate(owner.tolist()):
        again = index > 0 and owner[index - 1] == patient
        name = f"synthetic-{patient:05d}"
        rows.append(
            {
                "path": f"images/{name}-{2 if again else 1}.png",
                "label": LABELS[int(anatomy["opacity"][patient])],
                "patient_id": name,
                "sex": "female" if anatomy["female"][patient] else "male",
                "site": "AB"[int(anatomy["site"][patient])],
            }
        )
    return rows


def _draw_anatomy(rng: np.random.Generator, patients: int) -> Anatomy:
    """Return each patient's geometry, arrays of first axis patients; lengths are in half image widths."""

    def between(low: float, high: float, *shape: int) -> Floats:
        return rng.uniform(low, high, (patients, *shape)).astype(np.float32)

    # Four equal cells, shuffled: both classes occur in each sex however few patients there are.
    cell = rng.permutation(np.arange(patients) % 4)
    return {
        "opacity": (cell % 2).astype(np.float32),
        "female": (cell // 2).astype(np.float32),
        "site": (rng.random(patients) < 0.4).astype(np.float32),
        "body_wide": between(0.82, 0.95),
        "lung_x": between(0.36, 0.44),
        "lung_y": between(-0.08, 0.06),
        "lung_wide": between(0.24, 0.31, 2),
        "lung_high": between(0.52, 0.66, 2),
        "lung_tilt": between(0.02, 0.2),
        "heart_x": between(0.08, 0.18),
        "heart_y": between(0.26, 0.4),
        "heart_wide": between(0.24, 0.36),
        "spine_wide": between(0.1, 0.16),
        "rib_count": between(16.0, 21.0),
        "rib_bend": between(0.25, 0.5),
        "rib_phase": between(0.0, 6.28),
        "rib_light": between(0.02, 0.06),
        "breast": between(0.03, 0.1),
        "opacity_count": rng.integers(1, _MAX_OPACITIES + 1, patients).astype(np.float32),
        "opacity_side": np.sign(between(-1.0, 1.0, _MAX_OPACITIES)),
        "opacity_radius": np.sqrt(between(0.0, 0.55, _MAX_OPACITIES)),
        "opacity_angle": between(0.0, 6.28, _MAX_OPACITIES),
        "opacity_size": between(0.09, 0.22, _MAX_OPACITIES),
        "opacity_light": between(0.19, 0.42, _MAX_OPACITIES),
    }


def _render(anatomy: Anatomy, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Return (N, size, size) pictures of the N patients in anatomy, each with its own pose and noise."""
    count = len(anatomy["opacity"])

    def between(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    axis = np.linspace(-1, 1, size, dtype=np.float32)
    zoom = between(0.95, 1.06)
    down = (axis[None, :, None] - between(-0.05, 0.05)) * zoom
    across = (axis[None, None, :] - between(-0.05, 0.05)) * zoom
    geometry = {name: value[:, None, None] for name, value in anatomy.items() if value.ndim == 1}
    lungs = _lungs(anatomy, geometry, down, across)
    scene = _chest(geometry, down, across, lungs)
    # Vessels: soft blotches in healthy lungs too, so that a faint opacity has something to hide in.
    scene += lungs * 0.035 * _smooth_noise(rng, count, size, blur=size / 32)
    scene += np.maximum(lungs, 0.25) * _opacities(anatomy, geometry, down, across)
    site = geometry["site"]
    scene = np.clip(scene, 0, None) ** (1 + 0.12 * site)
    scene = scene * between(0.85, 1.12) + between(-0.04, 0.06)
    scene += (0.015 + 0.01 * site + between(0, 0.015)) * rng.standard_normal(scene.shape, np.float32)
    return np.rint(255 * np.clip(scene, 0, 1)).astype(np.uint8)


def _chest(geometry: Anatomy, down: Floats, across: Floats, lungs: Floats) -> Floats:
    """Return (N, size, size) brightness, about 0 to 1, of a chest without opacities or noise."""
    body = _soft(1 - (np.abs(across) / geometry["body_wide"]) ** 4 - (np.abs(down + 0.1) / 1.25) ** 6, 0.12)
    ribs = np.sin(geometry["rib_count"] * (down + geometry["rib_bend"] * across**2) + geometry["rib_phase"])
    middle = np.exp(-0.5 * (across / geometry["spine_wide"]) ** 2)
    aside = (across - geometry["heart_x"]) / geometry["heart_wide"]
    heart = _soft(1 - aside**2 - ((down - geometry["heart_y"]) / 0.3) ** 2, 0.18)
    breasts = np.exp(-0.5 * (((np.abs(across) - 0.45) / 0.25) ** 2 + ((down - 0.35) / 0.22) ** 2))
    air = lungs * (1 - 0.75 * heart) * (1 - 0.6 * middle)
    chest = 0.58 - 0.36 * air + 0.14 * middle + 0.08 * heart + geometry["rib_light"] * ribs
    chest += geometry["female"] * geometry["breast"] * breasts
    return np.asarray(0.03 + body * chest, np.float32)


def _lungs(anatomy: Anatomy, geometry: Anatomy, down: Floats, across: Floats) -> Floats:
    """Return (N, size, size): 1 inside a lung, 0 outside, with soft edges."""
    lungs = np.zeros(np.broadcast_shapes(down.shape, across.shape), np.float32)
    for side, sign in enumerate((-1, 1)):
        wide, high = (anatomy[name][:, side, None, None] for name in ("lung_wide", "lung_high"))
        below = down - geometry["lung_y"]
        # The tips lean towards the spine, so each lung is wider apart below.
        aside = across - sign * (geometry["lung_x"] + geometry["lung_tilt"] * below)
        lungs += _soft(1 - (aside / wide) ** 2 - (below / high) ** 2, 0.15)
    return lungs


def _opacities(anatomy: Anatomy, geometry: Anatomy, down: Floats, across: Floats) -> Floats:
    """Return (N, size, size) added brightness: one to three soft spots in positives, 0 in the others."""
    light = np.zeros(np.broadcast_shapes(down.shape, across.shape), np.float32)
    for index in range(_MAX_OPACITIES):
        spot = {name: value[:, index, None, None] for name, value in anatomy.items() if value.shape[1:] == (3,)}
        radius, angle, width = spot["opacity_radius"], spot["opacity_angle"], spot["opacity_size"]
        right = (spot["opacity_side"] > 0).astype(np.int64)[:, 0, 0]
        patient = np.arange(len(right))
        wide, high = (anatomy[name][patient, right][:, None, None] for name in ("lung_wide", "lung_high"))
        y = geometry["lung_y"] + radius * np.sin(angle) * high
        x = spot["opacity_side"] * geometry["lung_x"] + radius * np.cos(angle) * wide
        there = geometry["opacity"] * (geometry["opacity_count"] > index)
        light += there * spot["opacity_light"] * np.exp(-0.5 * ((down - y) ** 2 + (across - x) ** 2) / width**2)
    return light


def _soft(inside: Floats, edge: float) -> Floats:
    """Return 1 where inside is well above 0, 0 where well below, and a ramp of width edge between."""
    return np.asarray(1 / (1 + np.exp(-np.clip(inside / edge, -30, 30))), np.float32)


def _smooth_noise(rng: np.random.Generator, count: int, size: int, blur: float) -> Floats:
    """Return (count, size, size) Gaussian noise blurred by blur pixels, of unit standard deviation."""
    place = np.arange(size, dtype=np.float32)
    kernel = np.exp(-0.5 * ((place[:, None] - place[None, :]) / blur) ** 2)
    # Rows of unit length keep the standard deviation at 1 up to the border.
    kernel /= np.sqrt((kernel**2).sum(1, keepdims=True))
    noise: Any = kernel @ rng.standard_normal((count, size, size), np.float32) @ kernel.T
    return np.asarray(noise, np.float32)
