import threading
import zipfile

import numpy as np
import pytest

from primum.data import sources
from primum.data.sources import ArraySource, FolderSource, ZipSource, zip_members
from primum.errors import InputError, UnsafeInput


def test_each_source_gives_the_same_bytes_back(tree, zipped, png):
    files = {"a/x.png": png(1), "a/y.png": png(2)}
    folder, archive = FolderSource(tree(files), tuple(files)), ZipSource(zipped(files), tuple(files))
    for i, name in enumerate(files):
        assert folder.content(i) == archive.content(i) == files[name]
        assert folder.name(i) == archive.name(i) == f"image {i + 1} of 2 in the order of their paths"
        assert np.array_equal(np.asarray(folder.item(i)), np.asarray(archive.item(i)))


def test_an_array_source_is_read_by_position():
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    source = ArraySource(images)
    assert np.array_equal(source.item(1), images[1])
    assert source.name(1) == "image 1"


@pytest.mark.parametrize("name", ["../x.png", "/etc/hostname", "a/../../x.png", "..\\x.png"])
def test_names_that_leave_the_folder_are_refused(tree, zipped, name):
    with pytest.raises(UnsafeInput) as caught:
        FolderSource(tree({"a": b""}), (name,))
    assert name not in str(caught.value)
    with pytest.raises(UnsafeInput):
        ZipSource(zipped({name: b""}), (name,))


def test_a_file_that_vanished_or_is_a_folder_is_told_by_its_place(tree):
    source = FolderSource(tree({"a/x.png": b"1"}), ("gone.png", "a"), ("list.csv line 2", "list.csv line 3"))
    for i, place in enumerate(source.called):
        with pytest.raises(InputError, match=f"^{place}: cannot be read .[A-Za-z ]+.$"):
            source.content(i)


def test_larger_files_than_the_limit_are_not_read(tree, zipped, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100)
    files = {"x.png": bytes(101)}
    for source in (FolderSource(tree(files), ("x.png",)), ZipSource(zipped(files), ("x.png",))):
        with pytest.raises(UnsafeInput, match="not read"):
            source.content(0)


def test_a_zip_bomb_is_refused_by_its_declared_size(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.png", "w", force_zip64=True) as member,
    ):
        for _ in range(513):
            member.write(bytes(2**20))
    assert (tmp_path / "bomb.zip").stat().st_size < 4 * 2**20
    with pytest.raises(UnsafeInput, match="512 MiB"):
        ZipSource(tmp_path / "bomb.zip", ("x.png",)).content(0)


def test_an_encrypted_member_is_an_input_error(zipped):
    path = zipped({"x.png": b"123456"}, compression=zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.find(signature) + offset] |= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"^image 1 of 1 .*: cannot be read from .*data\.zip") as caught:
        ZipSource(path, ("x.png",)).content(0)
    assert "x.png" not in str(caught.value), "what zipfile says names the member"


def test_a_name_that_a_zip_holds_twice_is_one_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a/x.png", b"first")
        archive.writestr("a/x.png", b"second")
    assert zip_members(tmp_path / "x.zip") == ["a/x.png"]


def test_threads_read_one_zip(zipped):
    files = {f"{i}.bin": bytes([i]) * 50_000 for i in range(8)}
    source, wrong = ZipSource(zipped(files), tuple(files)), []

    def read():
        for i, content in enumerate(files.values()):
            if source.content(i) != content:
                wrong.append(i)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
