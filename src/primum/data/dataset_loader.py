"""The images below a folder, decoded safely."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from primum.data.readers import IMAGE_SUFFIXES
from primum.data.sources import FolderSource
from primum.errors import InputError


class DatasetLoader:
    """Images below `image_dir` (recursively), in the order of their sorted paths; at most `max_images` of them."""

    def __init__(self, image_dir: str | Path, max_images: int | None = None) -> None:
        self.image_dir = Path(image_dir)
        _check_count(max_images, "max_images")
        self.max_images = max_images

    def get_sample_paths(self, count: int | None = None) -> list[Path]:
        """Paths of the first `count` images (None: all, up to `max_images`); nothing is opened.

        InputError where the folder is missing or holds no image.
        """
        _check_count(count, "count")
        if not self.image_dir.is_dir():
            raise InputError(f"{self.image_dir}: no such folder")
        paths = sorted(p for p in self.image_dir.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not paths:
            raise InputError(f"{self.image_dir}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        limits = [n for n in (count, self.max_images) if n is not None]
        return paths[: min(limits)] if limits else paths

    def load_images(self, count: int | None = None) -> list[Image.Image]:
        """The images of `get_sample_paths(count)`, decoded and upright, in the same order.

        InputError telling the place in that order where one is corrupt, truncated or too large to decode.
        """
        return self.load_paths(self.get_sample_paths(count))

    def load_paths(self, paths: Iterable[Path]) -> list[Image.Image]:
        """The images at `paths`, which lie below `image_dir`. InputError as `load_images`."""
        names = tuple(path.relative_to(self.image_dir).as_posix() for path in paths)
        source = FolderSource(self.image_dir, names)
        return [source.item(i) for i in range(len(names))]


def _check_count(count: int | None, name: str) -> None:
    if count is not None and count < 1:
        raise InputError(f"{name} must be at least 1, got {count}")
