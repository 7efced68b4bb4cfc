"""The set of labelled cases that judge a model, and its reduction to arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from primum.data.preprocessing import Preprocessing
from primum.data.sources import Source
from primum.errors import InputError
from primum.files import storage


@dataclass(frozen=True)
class Exclusion:
    """A case left out of judging, and why."""

    case: str
    reason: str


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled cases, aligned by position.

    `labels` (N,) int64 index into `classes`; `patients` (N,) str, None where the data name no patient;
    `groups` column -> (N,) str; `index` (N,) int64 position in `source`.
    """

    source: Source
    index: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    case_ids: NDArray[np.str_]
    patients: NDArray[np.str_] | None
    groups: dict[str, NDArray[np.str_]]
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

    def without(self, rows: Sequence[int], reasons: Sequence[str]) -> EvaluationSet:
        """The set less some cases, each listed in `excluded` with its reason."""
        gone = [Exclusion(str(self.case_ids[r]), why) for r, why in zip(rows, reasons, strict=True)]
        keep = np.setdiff1d(np.arange(len(self)), np.asarray(rows, dtype=np.int64))
        return replace(self.take(keep), excluded=self.excluded + tuple(gone))

    def digest(self, row: int) -> str:
        """Digest of one case's raw content (16 hex digits)."""
        return hashlib.blake2b(self.source.content(int(self.index[row])), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Materialized:
    """Every case preprocessed once: `inputs` float32 (N, C, H, W), memory-mapped; `digests` (N,) of raw content."""

    cases: EvaluationSet
    path: Path
    digests: tuple[str, ...]

    @property
    def inputs(self) -> NDArray[np.float32]:
        """The preprocessed inputs, memory-mapped read-only."""
        return np.load(self.path, mmap_mode="r")  # type: ignore[no-any-return]


def materialize(
    cases: EvaluationSet,
    preprocessing: Preprocessing,
    path: Path,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Materialized:
    """Preprocess every case into `path` (.npy). A file that cannot be read stops (or, `skip_bad`, is excluded).

    Raises InputError on a bad file, on images that end up in different sizes, and on an empty set.
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


def _fill(
    cases: EvaluationSet,
    preprocessing: Preprocessing,
    path: Path,
    skip_bad: bool,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[int, str], list[str]]:
    bad: dict[int, str] = {}
    digests: list[str] = []
    out: np.memmap[Any, np.dtype[np.float32]] | None = None
    for row in range(len(cases)):
        position = int(cases.index[row])
        try:
            array = preprocessing(cases.source.image(position))
        except InputError as error:
            if not skip_bad:
                raise
            bad[row] = str(error)
            continue
        if out is None:
            out = _reserve(path, (len(cases), *array.shape))
        elif array.shape != out.shape[1:]:
            raise InputError(
                f"{cases.source.name(position)}: is {array.shape} after preprocessing, others are "
                f"{out.shape[1:]}; set size: [height, width] in the preprocessing"
            )
        out[len(digests)] = array
        digests.append(cases.digest(row))
        if progress is not None and row % 50 == 0:
            progress(row, len(cases))
    if out is None:
        raise InputError("none of the cases can be read")
    out.flush()
    if bad:
        _shorten(path, (len(digests), *out.shape[1:]))
    return bad, digests


def _reserve(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float32]]:
    """An .npy file mapped for writing, its disk space claimed at once.

    A full disk found later, under the memory map, would kill the process instead of raising.
    """
    with path.open("wb") as file:
        offset = _write_header(file, shape)
        file.flush()
        os.posix_fallocate(file.fileno(), 0, offset + int(np.prod(shape)) * 4)
    return np.memmap(path, np.float32, mode="r+", offset=offset, shape=shape)


def _shorten(path: Path, shape: tuple[int, ...]) -> None:
    """Keep the first rows alone. numpy pads the header for any number of rows, so its length stays."""
    with path.open("r+b") as file:
        offset = _write_header(file, shape)
        file.truncate(offset + int(np.prod(shape)) * 4)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
    return file.tell()
