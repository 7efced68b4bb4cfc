"""The set of labelled cases that judge a model, and its reduction to arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from primum.data.content import content_digest
from primum.data.masks import class_map, indexed, nearest
from primum.data.npy import reserve, shorten
from primum.data.preprocessing import Preprocessing
from primum.data.preprocessing_any import AnyPreprocessing
from primum.data.sources import Item, Source
from primum.errors import InputError
from primum.files import storage
from primum.task import Task


@dataclass(frozen=True)
class Exclusion:
    """A case left out of judging, and why; the reason names neither case nor file."""

    case: str
    reason: str


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled cases, aligned by position.

    `labels`: (N,) int64 index into `classes` (BINARY, MULTICLASS, ORDINAL); (N, L) int64 0, 1 or -1 unknown
    (MULTILABEL); (N, D) float64 (REGRESSION); (N, 0) (SEGMENTATION, whose truth is in `masks`). `classes`: names of
    the model's outputs in their order; empty for SEGMENTATION where nobody named the structures. `patients` (N,) str,
    None where the data name no patient; `groups` column -> (N,) str; `index` (N,) int64 position in `source` (and
    `masks`).
    """

    source: Source
    index: NDArray[np.int64]
    labels: NDArray[Any]
    classes: tuple[str, ...]
    case_ids: NDArray[np.str_]
    patients: NDArray[np.str_] | None
    groups: dict[str, NDArray[np.str_]]
    task: Task = Task.BINARY
    masks: Source | None = None
    excluded: tuple[Exclusion, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> EvaluationSet:
        """The cases at `rows`, in that order."""
        return replace(
            self,
            index=self.index[rows],
            labels=self.labels[rows],
            case_ids=self.case_ids[rows],
            patients=None if self.patients is None else self.patients[rows],
            groups={k: v[rows] for k, v in self.groups.items()},
        )

    def with_masks(self, masks: Source) -> EvaluationSet:
        """The set with the masks that are its truth, one for each position in `source`."""
        return replace(self, masks=masks)

    def without(self, rows: Sequence[int], reasons: Sequence[str]) -> EvaluationSet:
        """The set less some cases, each listed in `excluded` with its reason."""
        gone = [Exclusion(str(self.case_ids[r]), why) for r, why in zip(rows, reasons, strict=True)]
        keep = np.setdiff1d(np.arange(len(self)), np.asarray(rows, dtype=np.int64))
        return replace(self.take(keep), excluded=self.excluded + tuple(gone))

    def digest(self, row: int) -> str:
        """Digest of one case's content, as `content_digest`. InputError where it cannot be decoded."""
        return content_digest(self.source.item(int(self.index[row])))


@dataclass(frozen=True)
class Materialized:
    """Every case preprocessed once: `inputs` float32 (N, *shape), memory-mapped; `digests` (N,) of content."""

    cases: EvaluationSet
    path: Path
    digests: tuple[str, ...]
    mask_path: Path | None = None

    @property
    def inputs(self) -> NDArray[np.float32]:
        """The preprocessed inputs, memory-mapped read-only."""
        return np.load(self.path, mmap_mode="r")  # type: ignore[no-any-return]

    @property
    def masks(self) -> NDArray[np.uint8]:
        """The true class of every pixel, (N, *spatial) of the network's output, memory-mapped read-only."""
        if self.mask_path is None:
            raise InputError("the masks were not materialized")
        return np.load(self.mask_path, mmap_mode="r")  # type: ignore[no-any-return]


def materialize(
    cases: EvaluationSet,
    preprocessing: AnyPreprocessing,
    path: Path,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Materialized:
    """Preprocess every case into `path` (.npy). A case that cannot be read stops (or, `skip_bad`, is excluded).

    Masks are decoded too, and checked against the size of their image. Raises InputError on a bad case, on inputs
    that end up in different shapes, and on an empty set.
    """
    if not len(cases):
        raise InputError("the data hold no cases")
    temporary = path.with_name("." + path.name)
    try:
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            bad, digests = _fill(cases, preprocessing, temporary, skip_bad, progress)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    remaining = cases.without(list(bad), list(bad.values())) if bad else cases
    return Materialized(remaining, path, tuple(digests))


def materialize_masks(
    data: Materialized, preprocessing: AnyPreprocessing, spatial: tuple[int, ...], classes: int
) -> Materialized:
    """Write the masks beside the inputs (masks.npy), placed as the inputs are and (nearest) at the output's size.

    `spatial` and `classes` are the shape and number of classes of the network's output. Raises InputError where a
    mask holds a class that the network does not give.
    """
    cases, path = data.cases, data.path.with_name("masks.npy")
    assert cases.masks is not None
    temporary = path.with_name("." + path.name)
    try:
        with storage(path):
            out = reserve(temporary, (len(cases), *spatial), np.uint8)
            for row in range(len(cases)):
                position = int(cases.index[row])
                name = cases.masks.name(position)
                mask = indexed(class_map(cases.masks.item(position), name), classes, name)
                placed = preprocessing.mask(mask) if isinstance(preprocessing, Preprocessing) else mask
                if placed.ndim != len(spatial):
                    raise InputError(f"{name}: has {placed.ndim} axes, the network's output {len(spatial)}")
                out[row] = nearest(placed, spatial)
            out.flush()
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return replace(data, mask_path=path)


def _fill(
    cases: EvaluationSet,
    preprocessing: AnyPreprocessing,
    path: Path,
    skip_bad: bool,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[int, str], list[str]]:
    bad: dict[int, str] = {}
    digests: list[str] = []
    out: np.memmap[Any, np.dtype[np.float32]] | None = None
    for row in range(len(cases)):
        try:
            array, content = _preprocessed(cases, row, preprocessing)
        except InputError as error:
            if not skip_bad:
                raise
            bad[row] = _reason(cases, row, error)
            continue
        if out is None:
            out = reserve(path, (len(cases), *array.shape), np.float32)
        elif array.shape != out.shape[1:]:
            hint = "; set size: [height, width] in the preprocessing" if preprocessing.kind == "image" else ""
            name = cases.source.name(int(cases.index[row]))
            raise InputError(f"{name}: is {array.shape} after preprocessing, others are {out.shape[1:]}{hint}")
        out[len(digests)] = array
        digests.append(content)
        if progress is not None and row % 50 == 0:
            progress(row, len(cases))
    if out is None:
        raise InputError("none of the cases can be read")
    out.flush()
    if bad:
        shorten(path, (len(digests), *out.shape[1:]), np.float32)
    return bad, digests


def _reason(cases: EvaluationSet, row: int, error: InputError) -> str:
    """Why a case is left out, without which it is: reports show it."""
    position, text = int(cases.index[row]), str(error)
    # A mask's name may begin with its image's.
    for source in (cases.masks, cases.source):
        text = text if source is None else text.replace(source.name(position), "")
    return text.strip(": ")


def _preprocessed(cases: EvaluationSet, row: int, preprocessing: AnyPreprocessing) -> tuple[NDArray[np.float32], str]:
    """The network's input of one case, and the digest of its content. InputError naming it."""
    position = int(cases.index[row])
    name = cases.source.name(position)
    try:
        item = cases.source.item(position)
        content = content_digest(item)
        array: NDArray[np.float32] = preprocessing(item)  # type: ignore[arg-type]
    except InputError as error:
        raise error if name in str(error) else InputError(f"{name}: {error}") from error
    if cases.masks is not None:
        _check_mask(cases.masks, position, item)
    return array, content


def _check_mask(masks: Source, position: int, item: Item) -> None:
    """A mask has the size of its image (or, of an array, its last axes)."""
    shape = class_map(masks.item(position), masks.name(position)).shape
    if isinstance(item, Image.Image):
        size: tuple[int, ...] = item.size[::-1]
        fits = shape == size
    else:
        size = np.asarray(item).shape
        fits = shape in (size[: len(shape)], size[-len(shape) :])
    if not fits:
        raise InputError(f"{masks.name(position)}: the mask is {shape}, its image {size}")
