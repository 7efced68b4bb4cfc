"""Where the raw inputs of cases lie: a folder, a zip file, an array or a table in memory. Each is read by position."""

from __future__ import annotations

import lzma
import struct
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from primum.data.decoding import decode_image
from primum.errors import InputError, UnsafeInput

MAX_FILE_BYTES = 512 * 2**20
ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError),
    *(ValueError, LookupError, RuntimeError),
)
"""What the standard library raises on damaged, encrypted or unknown zip content (NotImplementedError is Runtime's)."""


Item = Image.Image | NDArray[Any] | Mapping[str, Any]
"""One raw input: an image, an array, or a row of a table (column -> cell)."""


class Source(Protocol):
    """Raw inputs by position."""

    def item(self, index: int) -> Item:
        """The decoded input."""

    def name(self, index: int) -> str:
        """What a message calls it."""


@dataclass(frozen=True)
class FolderSource:
    """Files below one folder. Names that would leave it are refused."""

    root: Path
    names: tuple[str, ...]
    called: tuple[str, ...] = ()
    """What messages call each, for a file may be called after its patient; default: its place in the order."""

    def __post_init__(self) -> None:
        """Refuse names that leave the folder."""
        for index, name in enumerate(self.names):
            _check_inside(name, self.name(index))

    def content(self, index: int) -> bytes:
        """The file's bytes."""
        path = self.root / self.names[index]
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise UnsafeInput(f"{self.name(index)}: larger than {MAX_FILE_BYTES >> 20} MiB; it was not read")
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.name(index)}: cannot be read ({error.strerror})") from error

    def item(self, index: int) -> Image.Image:
        """The decoded image."""
        return decode_image(self.content(index), self.name(index))

    def name(self, index: int) -> str:
        """What it is called, never the file's name."""
        return self.called[index] if self.called else by_order(index, len(self.names))


@dataclass(frozen=True)
class ZipSource:
    """Members of one zip file, read without unpacking."""

    path: Path
    names: tuple[str, ...]
    called: tuple[str, ...] = ()
    """As of a `FolderSource`."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check that every member is there."""
        members = set(zip_members(self.path))
        for index, name in enumerate(self.names):
            _check_inside(name, self.name(index))
            if name not in members:
                raise InputError(f"{self.name(index)}: not in {self.path}")
        object.__setattr__(self, "_zip", zipfile.ZipFile(self.path))

    def content(self, index: int) -> bytes:
        """The member's bytes."""
        archive: zipfile.ZipFile = self.__dict__["_zip"]
        name = self.names[index]
        try:
            with self._lock:
                if archive.getinfo(name).file_size > MAX_FILE_BYTES:
                    raise UnsafeInput(f"{self.name(index)}: larger than {MAX_FILE_BYTES >> 20} MiB; it was not read")
                return archive.read(name)
        except ZIP_ERRORS as error:
            # What zipfile says may quote the member's name.
            why = "it is damaged, encrypted or packed in a way that is not read"
            raise InputError(f"{self.name(index)}: cannot be read from {self.path} ({why})") from error

    def item(self, index: int) -> Image.Image:
        """The decoded image."""
        return decode_image(self.content(index), self.name(index))

    def name(self, index: int) -> str:
        """What it is called, never the member's name."""
        return self.called[index] if self.called else by_order(index, len(self.names))


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Arrays (N, ...) in memory: images, signals, volumes, masks."""

    arrays: NDArray[Any]
    label: str = "image"

    def item(self, index: int) -> NDArray[Any]:
        """One array."""
        return np.asarray(self.arrays[index])

    def name(self, index: int) -> str:
        """Its position."""
        return f"{self.label} {index}"


@dataclass(frozen=True, eq=False)
class TableSource:
    """Rows of a table, by column; `names` says where each stands in its file."""

    columns: Mapping[str, Sequence[str]]
    names: Sequence[str]

    def item(self, index: int) -> dict[str, str]:
        """One row, column -> cell."""
        return {name: cells[index] for name, cells in self.columns.items()}

    def name(self, index: int) -> str:
        """Where it stands."""
        return self.names[index]


def by_order(index: int, n: int) -> str:
    """What messages call an image that no table lists."""
    return f"image {index + 1} of {n} in the order of their paths"


def zip_members(path: Path) -> list[str]:
    """Names of the files in a zip. Raises InputError where it is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return list(dict.fromkeys(i.filename for i in archive.infolist() if not i.is_dir()))
    except ZIP_ERRORS as error:
        raise InputError(f"{path}: not a zip file that can be read ({error})") from error


def _check_inside(name: str, called: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise UnsafeInput(f"{called}: leaves the data folder; it was not read")
