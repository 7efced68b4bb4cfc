import io

import numpy as np
import pytest
from PIL import Image

from primum.data.content import content_digest
from primum.data.evaluation import EvaluationSet, materialize
from primum.data.preprocessing import Preprocessing
from primum.data.sources import ArraySource, FolderSource
from primum.errors import InputError, StorageError

RAW = Preprocessing(scale=1.0)


def cases_of(source, n, **more):
    return EvaluationSet(
        source=source,
        index=np.arange(n),
        labels=np.arange(n) % 2,
        classes=("no", "yes"),
        case_ids=np.array([f"c{i}" for i in range(n)]),
        patients=np.array([f"p{i // 2}" for i in range(n)]),
        groups={"sex": np.array([("F", "M")[i % 2] for i in range(n)])},
        **more,
    )


@pytest.fixture
def arrays():
    return cases_of(ArraySource(np.arange(6, dtype=np.uint8)[:, None, None] + np.zeros((6, 4, 5), np.uint8)), 6)


@pytest.fixture
def folder(tree, png):
    """Five cases, of which case 0 is text, case 2 is truncated and case 4 is missing."""
    files = {f"{i}.png": png(i) for i in range(4)} | {"0.png": b"hello", "2.png": png(2)[:40]}
    return cases_of(FolderSource(tree(files), tuple(f"{i}.png" for i in range(5))), 5)


def values(done):
    return [int(x) for x in done.inputs[:, 0, 0, 0]]


def test_every_case_is_preprocessed_once_in_order(arrays, tmp_path):
    seen = []
    done = materialize(arrays, RAW, tmp_path / "new" / "inputs.npy", progress=lambda i, n: seen.append((i, n)))
    assert values(done) == [0, 1, 2, 3, 4, 5] and done.inputs.shape == (6, 1, 4, 5)
    assert done.inputs.dtype == np.float32 and isinstance(done.inputs, np.memmap) and not done.inputs.flags.writeable
    assert seen and seen[0] == (0, 6)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["inputs.npy"]


def test_rows_follow_the_index_of_a_subset(arrays, tmp_path):
    done = materialize(arrays.take(np.array([4, 1])), RAW, tmp_path / "x.npy")
    assert values(done) == [4, 1] and list(done.cases.case_ids) == ["c4", "c1"]


def test_a_bad_file_stops_and_leaves_nothing(folder, tmp_path):
    with pytest.raises(InputError, match=r"^image 1 of 5 [a-z ]+: "):
        materialize(folder, RAW, tmp_path / "out" / "x.npy")
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_files_are_left_out_listed_and_shift_nothing(folder, tmp_path):
    done = materialize(folder, RAW, tmp_path / "x.npy", skip_bad=True)
    assert list(done.cases.case_ids) == ["c1", "c3"] and list(done.cases.patients) == ["p0", "p1"]
    assert [e.case for e in done.cases.excluded] == ["c0", "c2", "c4"]
    assert all(e.reason and ".png" not in e.reason for e in done.cases.excluded), "a file's name may be a patient's"
    assert values(done) == [1, 3], "one row for each case that is left, and none for the others"
    assert np.load(tmp_path / "x.npy").shape == done.inputs.shape
    assert [done.cases.digest(i) for i in range(2)] == list(done.digests)


def test_when_nothing_can_be_read_that_is_said(folder, tmp_path):
    with pytest.raises(InputError, match="none of the cases"):
        materialize(folder.take(np.array([0, 2])), RAW, tmp_path / "x.npy", skip_bad=True)
    with pytest.raises(InputError, match="no cases"):
        materialize(folder.take(np.array([], np.int64)), RAW, tmp_path / "x.npy")
    assert not list(tmp_path.glob("*.npy")) and not list(tmp_path.glob(".*"))


def test_different_sizes_ask_for_a_size(tree, png, tmp_path):
    cases = cases_of(FolderSource(tree({"a.png": png(), "b.png": png(size=(9, 9))}), ("a.png", "b.png")), 2)
    with pytest.raises(InputError, match=r"image 2 of 2 .*\(1, 9, 9\).*\(1, 5, 6\).*set size"):
        materialize(cases, RAW, tmp_path / "x.npy", skip_bad=True)
    assert materialize(cases, Preprocessing(size=(4, 4)), tmp_path / "x.npy").inputs.shape == (2, 1, 4, 4)


def test_a_full_disk_is_a_storage_error_that_leaves_nothing(small_disk):
    """Under a memory map a full disk would otherwise kill the process with SIGBUS."""
    cases = cases_of(ArraySource(np.zeros((40, 64, 64), np.uint8)), 40)
    with pytest.raises(StorageError, match="the disk is full"):
        materialize(cases, RAW, small_disk / "x.npy")
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_keeps_the_inputs_of_before(small_disk, arrays):
    materialize(arrays, RAW, small_disk / "x.npy")
    with pytest.raises(StorageError):
        materialize(cases_of(ArraySource(np.zeros((40, 64, 64), np.uint8)), 40), RAW, small_disk / "x.npy")
    assert np.load(small_disk / "x.npy").shape == (6, 1, 4, 5) and len(list(small_disk.iterdir())) == 1


def test_digests_follow_content_and_nothing_else(tree, png, tmp_path):
    one = cases_of(
        FolderSource(tree({"a.png": png(1), "b.png": png(1), "c.png": png(2)}), ("a.png", "b.png", "c.png")), 3
    )
    renamed = cases_of(FolderSource(tree({"z.png": png(1)}, "other"), ("z.png",)), 1)
    a, b, c = materialize(one, RAW, tmp_path / "x.npy").digests
    assert a == b != c and materialize(renamed, Preprocessing(size=(2, 2)), tmp_path / "y.npy").digests == (a,)
    assert a == one.digest(0) == content_digest(one.source.item(0))


def test_a_picture_saved_again_or_a_number_written_otherwise_is_no_new_case(tree, png, tmp_path):
    again = io.BytesIO()
    Image.open(io.BytesIO(png(1))).save(again, format="PNG", compress_level=0)
    assert again.getvalue() != png(1)
    both = cases_of(FolderSource(tree({"a.png": png(1), "b.png": again.getvalue()}), ("a.png", "b.png")), 2)
    first, second = materialize(both, RAW, tmp_path / "x.npy").digests
    assert first == second


def test_take_keeps_every_column_aligned(arrays):
    rows = np.array([5, 0, 3])
    got = arrays.take(rows)
    assert len(got) == 3 and list(got.index) == [5, 0, 3] and list(got.labels) == [1, 0, 1]
    assert list(got.case_ids) == ["c5", "c0", "c3"] and list(got.patients) == ["p2", "p0", "p1"]
    assert list(got.groups["sex"]) == ["M", "F", "M"]


def test_without_lists_the_reasons_and_adds_to_those_there(arrays):
    got = arrays.without([4, 1], ["blurred", "torn"]).without([0], ["dark"])
    assert list(got.case_ids) == ["c2", "c3", "c5"]
    assert [(e.case, e.reason) for e in got.excluded] == [("c4", "blurred"), ("c1", "torn"), ("c0", "dark")]
    with pytest.raises(ValueError, match="zip"):
        arrays.without([1, 2], ["one reason"])
