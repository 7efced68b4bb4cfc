import io
import zipfile

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def png():
    """Bytes of a small grey PNG that is filled with one value."""

    def encode(value=0, size=(6, 5)):
        buffer = io.BytesIO()
        Image.new("L", size, value).save(buffer, "PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture
def tree(tmp_path):
    """Writes {path: bytes} below a fresh folder and returns it."""

    def write(files, name="tree"):
        for path, content in files.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return tmp_path / name

    return write


@pytest.fixture
def zipped(tmp_path):
    """Writes {path: bytes} into a zip file and returns it."""

    def write(files, name="data.zip", compression=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        return tmp_path / name

    return write


@pytest.fixture
def npz(tmp_path):
    """Writes arrays into a .npz file and returns it."""

    def write(name="data.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return write
