"""The first step in one call: time a PyTorch model on a folder of images, and judge it where they have labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from primum.benchmark.suite import BenchmarkSuite
from primum.benchmark.wrappers import PyTorchInferenceWrapper
from primum.data.dataset_loader import DatasetLoader
from primum.errors import InputError


def run_baseline_benchmark(
    image_dir: str | Path,
    checkpoint_path: Any,
    num_samples: int = 1000,
    output_dir: str | Path = "optimization_results",
    *,
    num_warmup: int = 10,
    **options: Any,
) -> dict[str, Any]:
    """Time the model in PyTorch FP32 on up to `num_samples` images, spread evenly over the sorted paths.

    Labels come from two class folders in `image_dir`, the second in sorted order being positive (or as `classes` says,
    which must name both folders). `checkpoint_path` and `options` are PyTorchInferenceWrapper's. An image that cannot
    be read is left out and counted in the notes. Returns the result's fields, with 'total_time_avg' in ms and
    'accuracy_metrics' (empty without labels, and 'notes' say why), and 'files' (kind -> path) in `output_dir`.
    """
    root = Path(image_dir)
    paths = _spread(DatasetLoader(root).get_sample_paths(), num_samples)
    classes, notes = _class_folders(root, paths, options.get("classes"))
    if classes:
        options["classes"] = classes
        inside = [p for p in paths if p.relative_to(root).parts[0] in classes]
        notes += [f"{len(paths) - len(inside)} image(s) outside class folders left out"] * (len(inside) < len(paths))
        paths = inside
    images, kept, unreadable = _readable(root, paths)
    if unreadable:
        notes.append(f"{unreadable} image(s) could not be read and were left out")
    labels = [path.relative_to(root).parts[0] for path in kept] if classes else None
    suite = BenchmarkSuite(root, num_samples=num_samples, num_warmup=num_warmup)
    with PyTorchInferenceWrapper(checkpoint_path, **options) as wrapper:
        result = suite.run_benchmark(wrapper, images, labels)
    result = replace(result, notes=(*result.notes, *notes))
    suite.collector.results[-1] = result
    files = suite.save_results(output_dir)
    return result.to_dict() | {"files": {kind: str(path) for kind, path in files.items()}}


def _spread(paths: list[Path], count: int) -> list[Path]:
    """`count` paths, evenly spaced: the first of a sorted folder would all be of one class."""
    if count < 1:
        raise InputError(f"num_samples must be at least 1, got {count}")
    if count >= len(paths):
        return paths
    return [paths[i] for i in np.linspace(0, len(paths) - 1, count).round().astype(int)]


def _class_folders(
    root: Path, paths: list[Path], wanted: tuple[str, str] | None
) -> tuple[tuple[str, str] | None, list[str]]:
    """(negative, positive) folder names, or None; and notes that say what was assumed or why there are no labels."""
    found = sorted({p.relative_to(root).parts[0] for p in paths if len(p.relative_to(root).parts) > 1})
    if len(found) < 2:
        return None, ["no accuracy: the images do not lie in two class folders"]
    if len(found) > 2:
        return None, [f"no accuracy: {len(found)} class folders, and binary models are judged so far"]
    if wanted is not None:
        if sorted(wanted) != found:
            raise InputError(f"classes are {', '.join(wanted)}, but the class folders are {', '.join(found)}")
        return (wanted[0], wanted[1]), []
    return (found[0], found[1]), [f"labels from class folders; positive: {found[1]}, the second in sorted order"]


def _readable(root: Path, paths: list[Path]) -> tuple[list[Image.Image], list[Path], int]:
    loader = DatasetLoader(root)
    images, kept = [], []
    failure: InputError | None = None
    for path in paths:
        try:
            images += loader.load_paths([path])
            kept.append(path)
        except InputError as error:
            failure = error
    if failure is not None and not images:
        raise failure
    return images, kept, len(paths) - len(kept)
