import hashlib
import json
import math
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.errors import StorageError
from primum.files import finite, folder, sha256, size_of, storage, write_bytes, write_json


def names(path):
    return sorted(p.name for p in path.iterdir())


def test_write_bytes_makes_parents_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two" and names(path.parent) == ["b.bin"]


def test_a_full_disk_leaves_the_old_content_and_no_temporary_file(small_disk):
    path = small_disk / "study.json"
    write_bytes(path, b"old")
    with pytest.raises(StorageError, match="the disk is full"):
        write_bytes(path, bytes(2**20))
    assert path.read_bytes() == b"old" and names(small_disk) == ["study.json"]


def test_a_folder_that_cannot_be_written_says_so(readonly_folder):
    with pytest.raises(StorageError, match="read-only|permission denied"):
        write_bytes(readonly_folder / "old.json", b"new")
    with pytest.raises(StorageError, match="read-only|permission denied"), folder(readonly_folder / "artifact"):
        pass
    assert (readonly_folder / "old.json").read_text() == "old" and names(readonly_folder) == ["old.json"]


def test_a_file_where_a_folder_should_be_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file/report.json"):
        write_bytes(tmp_path / "file" / "report.json", b"new")


def test_threads_may_write_the_same_file_and_readers_see_it_whole(tmp_path):
    path, errors = tmp_path / "shared", []

    def write(number):
        try:
            for _ in range(20):
                write_bytes(path, bytes([number]) * 500_000)
                assert len(path.read_bytes()) == 500_000
        except (StorageError, AssertionError) as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = path.read_bytes()
    assert not errors and len(set(content)) == 1 and names(tmp_path) == ["shared"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
@settings(deadline=None)
def test_finite_is_strict_json_and_changes_only_what_json_lacks(value):
    cleaned = finite(value)
    assert json.loads(json.dumps(cleaned, allow_nan=False)) == cleaned
    assert finite(cleaned) == cleaned
    lenient = json.loads(json.dumps(value), parse_constant=lambda _: None)
    assert cleaned == lenient


def test_finite_reaches_tuples_and_turns_keys_into_text():
    assert finite({1: (math.nan, [math.inf, -math.inf, 0.5])}) == {"1": [None, [None, None, 0.5]]}


def test_write_json_that_cannot_be_encoded_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": math.nan})
    assert json.loads(path.read_text()) == {"x": None}
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text()) == {"x": None} and names(tmp_path) == ["a.json"]


def test_folder_appears_only_when_complete(tmp_path):
    target = tmp_path / "artifact"
    with folder(target) as work:
        (work / "a").write_text("a")
        assert not target.exists() and work.parent == tmp_path
    assert names(target) == ["a"] and names(tmp_path) == ["artifact"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_folder_replaces_all_of_the_old_one(tmp_path):
    target = tmp_path / "artifact"
    for name in ("old", "new"):
        with folder(target) as work:
            (work / name).write_text(name)
    assert names(target) == ["new"] and names(tmp_path) == ["artifact"]


def test_folder_replaces_a_file(tmp_path):
    target = tmp_path / "artifact"
    target.write_text("a file of the same name")
    with folder(target) as work:
        (work / "new").write_text("new")
    assert names(target) == ["new"] and names(tmp_path) == ["artifact"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_folder_keeps_the_old_one_when_the_work_fails(tmp_path, error):
    target = tmp_path / "artifact"
    with folder(target) as work:
        (work / "old").write_text("old")
    with pytest.raises(type(error)), folder(target) as work:
        (work / "new").write_text("new")
        raise error
    assert names(target) == ["old"] and names(tmp_path) == ["artifact"]


def test_folder_on_a_full_disk_leaves_the_old_one(small_disk):
    target = small_disk / "artifact"
    with folder(target) as work:
        (work / "old").write_text("old")
    with pytest.raises(StorageError, match="the disk is full"), folder(target) as work:
        (work / "new").write_bytes(bytes(2**20))
    assert names(target) == ["old"] and names(small_disk) == ["artifact"]


def test_folder_puts_the_old_one_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    target = tmp_path / "artifact"
    with folder(target) as work:
        (work / "old").write_text("old")
    rename = Path.rename

    def refuse_the_new_one(self, to):
        if self.name.startswith(".artifact-") and not self.name.endswith(".old"):
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with pytest.raises(StorageError, match="Input/output error"), folder(target) as work:
        (work / "new").write_text("new")
    assert names(target) == ["old"] and names(tmp_path) == ["artifact"]


def test_storage_leaves_other_errors_alone(tmp_path):
    with pytest.raises(KeyError), storage(tmp_path):
        raise KeyError("x")


@given(st.binary(max_size=2000))
@settings(deadline=None, max_examples=25)
def test_sha256_is_hashlibs(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("sha") / "f"
    path.write_bytes(data)
    assert sha256(path) == hashlib.sha256(data).hexdigest()


def test_size_of_counts_every_file_below(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(bytes(10))
    (tmp_path / "a" / "b" / "y").write_bytes(bytes(7))
    assert size_of(tmp_path) == 17 and size_of(tmp_path / "a" / "x") == 10
