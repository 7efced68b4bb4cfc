import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from primum.data.dataset_loader import DatasetLoader
from primum.errors import InputError, UnsafeInput


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.png", "a/1.jpg", "a/deep/3.PNG"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 6), int(path.stem), np.uint8)).save(path)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    return tmp_path


def test_paths_are_sorted_recursive_and_images_only(folder):
    paths = DatasetLoader(image_dir=str(folder)).get_sample_paths()
    assert paths == [folder / "a/1.jpg", folder / "a/deep/3.PNG", folder / "b/2.png"]


def test_the_smaller_of_count_and_max_images_wins(folder):
    assert len(DatasetLoader(folder, max_images=2).get_sample_paths()) == 2
    assert len(DatasetLoader(folder, max_images=2).get_sample_paths(count=1)) == 1
    assert len(DatasetLoader(folder, max_images=2).get_sample_paths(count=9)) == 2


def test_images_come_in_the_order_of_paths(folder):
    images = DatasetLoader(folder).load_images()
    assert [np.asarray(i)[0, 0] for i in images] == [1, 3, 2]
    assert images[0].size == (6, 8)


def test_a_missing_or_empty_folder_is_said(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        DatasetLoader(tmp_path / "absent").load_images()
    with pytest.raises(InputError, match="holds no images"):
        DatasetLoader(tmp_path).get_sample_paths()


@pytest.mark.parametrize("bad", [0, -1])
def test_counts_are_positive(folder, bad):
    with pytest.raises(InputError):
        DatasetLoader(folder, max_images=bad)
    with pytest.raises(InputError):
        DatasetLoader(folder).load_images(count=bad)


def test_a_corrupt_image_is_named(folder):
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "PNG")
    (folder / "a" / "half.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(InputError, match="image 3 of 4 in the order of their paths"):
        DatasetLoader(folder).load_images()


def test_a_decompression_bomb_is_refused_by_its_header(folder):
    def chunk(kind, data):
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack("!IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    (folder / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(UnsafeInput, match="image 1 of 4"):
        DatasetLoader(folder).load_images()
