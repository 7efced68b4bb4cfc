import dataclasses
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from primum.data.evaluation import materialize, materialize_masks
from primum.data.preprocessing import Preprocessing
from primum.data.preprocessing_table import TablePreprocessing
from primum.data.readers import DataOptions, read_data, read_labelled
from primum.errors import InputError, UnsafeInput
from primum.task import Task

CHEST = {"NORMAL/a.png": 0, "NORMAL/b.png": 0, "PNEUMONIA/c.png": 1}
HEAD = "path,label,patient,sex,site\n"


@pytest.fixture
def manifest(tree, png):
    """Writes a CSV (and, for a.png to d.png, images beside it); returns its path."""

    def write(text, images="abcd", encoding="utf-8"):
        files = {f"{name}.png": png(ord(name)) for name in images}
        return tree(files | {"list.csv": text.encode(encoding)}) / "list.csv"

    return write


def pictures(png, names):
    return {name: png(i) for i, name in enumerate(names)}


def test_a_folder_of_class_folders(tree, png):
    got = read_data(tree(pictures(png, CHEST)))
    assert got.classes == ("NORMAL", "PNEUMONIA") and len(got) == 3
    assert dict(zip(got.case_ids, got.labels)) == CHEST
    assert got.patients is None and not got.excluded
    assert np.asarray(got.source.item(2)).max() == 2


def test_a_zip_is_read_like_the_folder(tree, zipped, png):
    files = pictures(png, CHEST)
    one, other = read_data(tree(files)), read_data(zipped(files))
    assert list(one.case_ids) == list(other.case_ids) and list(one.labels) == list(other.labels)
    assert [one.digest(i) for i in range(3)] == [other.digest(i) for i in range(3)]


def test_a_nested_zip_with_what_a_mac_adds(zipped, png):
    junk = {"__MACOSX/chest/NORMAL/._a.png": b"Mac OS X", "chest/.DS_Store": b"x", "chest/NORMAL/._a.png": b"Mac OS X"}
    got = read_data(zipped(junk | {f"chest/{name}": data for name, data in pictures(png, CHEST).items()}))
    assert got.classes == ("NORMAL", "PNEUMONIA")
    assert {name.removeprefix("chest/"): label for name, label in zip(got.case_ids, got.labels)} == CHEST


def test_hidden_folders_are_no_classes(tree, png):
    got = read_data(tree(pictures(png, [*CHEST, "NORMAL/.ipynb_checkpoints/a-checkpoint.png", ".trash/x.png"])))
    assert got.classes == ("NORMAL", "PNEUMONIA") and len(got) == 3


def test_images_outside_class_folders_are_counted(tree, png):
    got = read_data(tree(pictures(png, [*CHEST, "cover.png"]) | {"readme.txt": b"x"}))
    assert len(got) == 3 and "1 image(s) outside class folders" in got.notes[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "no images"), ({"a.txt": b"x"}, "no images"), ({"NORMAL/a.png": b"x"}, "only one class folder")],
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_empty_and_one_sided_data(tree, zipped, tmp_path, kind, files, message):
    (tmp_path / "tree").mkdir()
    with pytest.raises(InputError, match=message):
        read_data(tree(files) if kind == "folder" else zipped(files))


def test_a_wrong_path_and_a_file_of_another_kind(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_data(tmp_path / "nowhere")
    (tmp_path / "x.dcm").write_bytes(b"DICM")
    with pytest.raises(InputError, match="cannot tell what this is"):
        read_data(tmp_path / "x.dcm")


@pytest.mark.parametrize("name", ["../NORMAL/a.png", "/NORMAL/a.png", "x/../../NORMAL/a.png", "..\\NORMAL/a.png"])
def test_a_zip_member_that_leaves_the_folder_is_refused(zipped, png, name):
    with pytest.raises(UnsafeInput, match="leaves the data folder"):
        read_data(zipped({name: png(), "PNEUMONIA/b.png": png()}))


def test_folders_and_zips_name_no_patients(tree, png):
    with pytest.raises(InputError, match=r"need a \.csv manifest"):
        read_data(tree(pictures(png, CHEST)), DataOptions(patient_column="patient"))


def test_a_manifest(manifest):
    path = manifest(f"{HEAD}a.png,0, p1 ,F,x\nb.png,1,p2,M,x\nc.png, 1 ,p2,M,y\n")
    got = read_data(path, DataOptions(patient_column="patient", group_columns=("sex", "site")))
    assert list(got.case_ids) == ["a.png", "b.png", "c.png"] and list(got.labels) == [0, 1, 1]
    assert list(got.patients) == ["p1", "p2", "p2"]
    assert {k: list(v) for k, v in got.groups.items()} == {"sex": ["F", "M", "M"], "site": ["x", "x", "y"]}
    assert np.asarray(got.source.item(1)).max() == ord("b")


def test_a_byte_order_mark_and_windows_lines_change_nothing(manifest):
    text = "path,label\r\na.png,0\r\nb.png,1\r\n"
    plain, marked = read_data(manifest(text)), read_data(manifest(text, encoding="utf-8-sig"))
    assert list(plain.case_ids) == list(marked.case_ids) == ["a.png", "b.png"]


def test_blank_labels_are_left_out_and_listed(manifest):
    got = read_data(manifest("path,label\na.png,0\nb.png, \nc.png,1\nd.png\n"))
    assert list(got.case_ids) == ["a.png", "c.png"]
    assert [(e.case, e.reason) for e in got.excluded] == [("b.png", "no label"), ("d.png", "no label")]


def test_a_blank_patient_is_told_by_its_row_unless_its_case_is_left_out(manifest):
    options = DataOptions(patient_column="patient")
    with pytest.raises(InputError, match="row 2 has no patient") as refusal:
        read_data(manifest(f"{HEAD}a.png,0,p1,,\nb.png,1, ,,\n"), options)
    assert "b.png" not in str(refusal.value), "a case may be called after its patient"
    assert len(read_data(manifest(f"{HEAD}a.png,0,p1,,\nb.png,1,p2,,\nc.png,,,,\n"), options)) == 2


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "\n\n"])
def test_an_empty_table_is_called_so(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text)
    for read in (read_data, read_labelled):
        with pytest.raises(InputError, match=r"list\.csv: is empty"):
            read(path)


def survey(names):
    return "age,label,who\n" + "".join(f"{i},{i % 2},{name}\n" for i, name in enumerate(names))


def test_a_group_column_that_names_cases_is_refused_without_naming_one(manifest):
    options = DataOptions(group_columns=("who",))
    twice = [f"MRN{i // 2:04d}" for i in range(60)]
    for names in ([f"MRN{i:04d}" for i in range(60)], twice, [f"MRN{i}" for i in range(20)]):
        with pytest.raises(InputError, match="'who'.*different values.*names cases or patients") as refusal:
            read_labelled(manifest(survey(names)), options)
        assert "MRN" not in str(refusal.value)
    fine = ([f"S{i}" for i in range(5)], [f"site {i % 20}" for i in range(60)], [f"year {i % 30}" for i in range(150)])
    for names in fine:
        assert len(read_labelled(manifest(survey(names)), options).groups["who"]) == len(names)


@pytest.mark.parametrize("second", ["a.png", "./a.png", ".//a.png"])
def test_a_file_listed_twice_is_refused(manifest, second):
    with pytest.raises(InputError, match=r"line 5 and line 2 name one file") as caught:
        read_data(manifest(f"path,label\na.png,0\nb.png,1\nc.png,\n{second},1\n"))
    assert "a.png" not in str(caught.value), "a file may be called after its patient"


@pytest.mark.parametrize(
    ("options", "column"),
    [
        ({"label_column": "diagnosis"}, "diagnosis"),
        ({"path_column": "file"}, "file"),
        ({"patient_column": "mrn"}, "mrn"),
        ({"group_columns": ("sex", "age")}, "age"),
    ],
)
def test_a_missing_column_is_named_with_those_there(manifest, options, column):
    with pytest.raises(InputError, match=f"no column '{column}'; it has path, label, patient, sex, site"):
        read_data(manifest(f"{HEAD}a.png,0,p,F,x\nb.png,1,q,F,x\n"), DataOptions(**options))


def test_a_column_named_twice_is_refused(manifest):
    with pytest.raises(InputError, match="label.*more than once"):
        read_data(manifest("path,label,label\na.png,0,1\nb.png,1,0\n"))


def test_a_row_with_more_cells_than_the_header_is_refused(manifest):
    """A path with an unquoted comma would otherwise shift every cell after it."""
    with pytest.raises(InputError, match="line 3 .*more cells"):
        read_data(manifest("path,label\na.png,0\nscan,b.png,1\nc.png,1\n"))
    assert len(read_data(manifest("path,label\na.png,0,,\nb.png,1, \n"))) == 2, "blank cells at the end are harmless"


@pytest.mark.parametrize(
    ("text", "images"), [("path,label\na.png,0\nz.png,1\n", "a"), ("path,label\na.png,0\n,1\n", "a")]
)
def test_missing_files_are_counted_before_anything_is_read(manifest, text, images):
    with pytest.raises(InputError, match="1 of 2 files are not below .* the first is that of line 3 ") as caught:
        read_data(manifest(text, images))
    assert "z.png" not in str(caught.value), "a file may be called after its patient"


@pytest.mark.parametrize("path", ["../outside.png", "{root}/outside.png", "x/../../outside.png"])
def test_a_manifest_path_that_leaves_the_folder_is_refused(manifest, png, tmp_path, path):
    (tmp_path / "outside.png").write_bytes(png())
    (tmp_path / "tree" / "x").mkdir(parents=True)
    with pytest.raises(UnsafeInput, match="leaves the data folder"):
        read_data(manifest(f"path,label\na.png,0\n{path.format(root=tmp_path)},1\n"))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ("0 1", ("0", "1")),
        ("10 9", ("9", "10")),
        ("1 -1", ("-1", "1")),
        ("malignant benign", ("benign", "malignant")),
        ("True False", ("False", "True")),
        ("0.0 1.0", ("0.0", "1.0")),
        ("1 2x", ("1", "2x")),
        ("² ³", ("²", "³")),
        ("--5 6", ("--5", "6")),
        ("01 1", ("01", "1")),
    ],
)
def test_classes_stand_in_the_order_of_the_outputs(manifest, labels, classes):
    first, second = labels.split()
    got = read_data(manifest(f"path,label\na.png,{first}\nb.png,{second}\n"))
    assert got.classes == classes and [classes[i] for i in got.labels] == [first, second]


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=4), min_size=2, max_size=6)
)
@settings(deadline=None, max_examples=60)
def test_any_text_can_be_a_label(tmp_path_factory, labels):
    root = tmp_path_factory.mktemp("labels")
    labels = [x.strip() or "blank" for x in labels] * 2  # on two cases each: six that stand alone would name somebody
    quoted = "".join(f'{i}.png,"{x.replace(chr(34), chr(34) * 2)}"\n' for i, x in enumerate(labels))
    (root / "m.csv").write_text(f"path,label\n{quoted}", encoding="utf-8")
    for i in range(len(labels)):
        (root / f"{i}.png").touch()
    if len(set(labels)) < 2:
        with pytest.raises(InputError, match="1 class"):
            read_data(root / "m.csv")
    else:
        got = read_data(root / "m.csv")
        assert [got.classes[i] for i in got.labels] == labels


@pytest.mark.parametrize("text", ["path,label\na.png,1\nb.png,1\n", "path,label\na.png,\n", "path,label\n"])
def test_one_class_or_none_is_not_enough(manifest, text):
    with pytest.raises(InputError, match="two are needed"):
        read_data(manifest(text))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'path,label\n"a.png,0\n', b"\x00" * 50])
def test_a_file_that_is_no_csv(tmp_path, content):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.csv"):
        read_data(tmp_path / "m.csv")


def test_images_below_another_folder_or_in_a_zip(manifest, tree, zipped, png):
    path = manifest("path,label\nin/x.png,0\nin/y.png,1\n", images="")
    files = {"in/x.png": png(1), "in/y.png": png(2)}
    for root in (tree(files, "elsewhere"), zipped(files)):
        got = read_data(path, DataOptions(image_root=root))
        assert [int(np.asarray(got.source.item(i)).max()) for i in range(2)] == [1, 2]
    with pytest.raises(InputError, match=r"list\.csv line 3: not in"):
        read_data(path, DataOptions(image_root=zipped({"in/x.png": png()}, "less.zip")))
    with pytest.raises(InputError, match="--image-root"):
        read_data(path, DataOptions(image_root=tree({"z": b""}, "wrong")))
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        read_data(path, DataOptions(image_root=path))


def small(n, value=0, shape=(4, 4)):
    return np.full((n, *shape), value, np.uint8)


def test_medmnist_splits_are_put_together_in_order(npz):
    arrays = {"train_images": small(2, 1), "val_images": small(1, 2), "test_images": small(3, 3)}
    labels = {"train_labels": [[0], [1]], "val_labels": [[1]], "test_labels": [[0], [0], [1]]}
    got = read_data(npz(**arrays, **{k: np.array(v, np.uint8) for k, v in labels.items()}))
    assert list(got.labels) == [0, 1, 1, 0, 0, 1] and got.classes == ("0", "1")
    assert list(got.case_ids) == ["train-0", "train-1", "val-0", "test-0", "test-1", "test-2"]
    assert [int(got.source.item(i).max()) for i in range(6)] == [1, 1, 2, 3, 3, 3]
    assert "train, val, test" in got.notes[0]


def test_medmnist_with_a_test_split_alone_and_flat_labels(npz):
    got = read_data(npz(test_images=small(2, shape=(4, 4, 3)), test_labels=np.array([7, 3]), train_labels=np.zeros(9)))
    assert got.classes == ("3", "7") and list(got.labels) == [1, 0]


BAD_ARRAYS = {
    "float images": {"test_images": small(2).astype(np.float32), "test_labels": np.array([0, 1])},
    "no findings": {"test_images": small(2), "test_labels": np.full((2, 14), 3, np.uint8)},
    "fewer labels": {"test_images": small(2), "test_labels": np.array([0])},
    "text labels": {"test_images": small(2), "test_labels": np.array(["no", "yes"])},
    "broken labels": {"test_images": small(2), "test_labels": np.array([0, np.nan])},
    "fractions": {"test_images": small(2), "test_labels": np.array([0.2, 0.7])},
    "one class": {"test_images": small(2), "test_labels": np.array([1, 1])},
    "no splits": {"images": small(2), "labels": np.array([0, 1])},
    "flat images": {"test_images": np.zeros((2, 16), np.uint8), "test_labels": np.array([0, 1])},
    "volumes": {"test_images": small(2, shape=(4, 4, 4)), "test_labels": np.array([0, 1])},
    "splits of other sizes": {
        "train_images": small(1),
        "train_labels": np.array([0]),
        "test_images": small(1, shape=(5, 5)),
        "test_labels": np.array([1]),
    },
    "labels that slide into the next split": {
        "train_images": small(3),
        "train_labels": np.array([0, 1]),
        "test_images": small(1),
        "test_labels": np.array([0, 1]),
    },
}


@pytest.mark.parametrize("what", BAD_ARRAYS)
def test_arrays_that_are_not_medmnists_are_refused(npz, what):
    with pytest.raises(InputError, match=r"data\.npz"):
        read_data(npz(**BAD_ARRAYS[what]))


class Marker:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_objects_in_an_npz_are_refused_and_do_not_run(npz, tmp_path):
    evil = np.array([Marker(tmp_path / "ran"), None], dtype=object)
    for arrays in ({"test_images": evil, "test_labels": evil}, {"test_images": small(2), "test_labels": evil}):
        with pytest.raises(InputError, match="safely"):
            read_data(npz(**arrays))
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(Marker(tmp_path / "ran")))
    with pytest.raises(InputError, match="safely"):
        read_data(tmp_path / "raw.npz")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Marker(tmp_path / "ran")))
    assert (tmp_path / "ran").exists(), "the marker does fire when it is unpickled"


def test_an_npy_that_calls_itself_npz(tmp_path):
    np.save(tmp_path / "x.npy", small(2))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(InputError, match=r"x\.npz"):
        read_data(tmp_path / "x.npz")


def test_a_header_that_promises_more_than_the_machine_holds(zipped):
    head = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000000000,), }"
    head = head.ljust(127) + b"\n"
    path = zipped({"test_images.npy": head, "test_labels.npy": head}, "data.npz")
    with pytest.raises(InputError, match=r"data\.npz"):
        read_data(path)


@pytest.mark.parametrize("kind", ["zip", "npz"])
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_damaged_archive_gives_data_or_an_input_error(tmp_path_factory, kind, data):
    root = tmp_path_factory.mktemp("damage")
    path = root / f"data.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in CHEST:
                archive.writestr(name, b"not an image, but bytes " * 9)
    else:
        np.savez_compressed(path, test_images=small(2), test_labels=np.array([0, 1]))
    raw = bytearray(path.read_bytes())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=5)):
        raw[at] = value
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    try:
        got = read_data(path)
        for row in range(len(got)):
            read = got.source.content if kind == "zip" else got.source.item
            read(int(got.index[row]))
    except InputError as error:
        assert str(error)


def test_a_file_name_that_is_no_text_is_refused(tree, png):
    root = tree(pictures(png, CHEST))
    Path(os.fsdecode(os.fsencode(root) + b"/NORMAL/\xff.png")).write_bytes(png())
    with pytest.raises(InputError, match="1 of 4 images have a name that is not UTF-8; rename them"):
        read_data(root)


def test_a_quote_that_never_closes_does_not_swallow_the_rows_after_it(manifest):
    with pytest.raises(InputError, match="CSV"):
        read_data(manifest('path,label\na.png,0\nb.png,1\n"c.png,0\nd.png,1\n'))


def test_class_folders_in_the_order_of_the_outputs(tree, png):
    root = tree(pictures(png, ["low/a.png", "mid/b.png", "high/c.png"]))
    assert read_data(root).task is Task.MULTICLASS
    got = read_data(root, DataOptions(task=Task.ORDINAL, classes=("low", "mid", "high")))
    assert got.task is Task.ORDINAL and dict(zip(got.case_ids, got.labels)) == {
        "low/a.png": 0,
        "mid/b.png": 1,
        "high/c.png": 2,
    }
    with pytest.raises(InputError, match="1 different label that --classes does not list, .* lists low, mid"):
        read_data(root, DataOptions(classes=("low", "mid")))
    with pytest.raises(InputError, match=r"regression needs a \.csv"):
        read_data(root, DataOptions(task=Task.REGRESSION))


def test_images_with_many_findings_or_a_number(manifest):
    path = manifest("path,mass,edema,lvef\na.png,1,,55.5\nb.png,0,1,40\nc.png,,,\n")
    got = read_data(path, DataOptions(label_columns=("mass", "edema")))
    assert got.task is Task.MULTILABEL and got.labels.tolist() == [[1, -1], [0, 1]]
    assert [(e.case, e.reason) for e in got.excluded] == [("c.png", "no label")]
    numbers = read_data(path, DataOptions(label_column="lvef", task=Task.REGRESSION))
    assert numbers.labels.tolist() == [[55.5], [40.0]] and numbers.classes == ("lvef",)
    assert numbers.take(np.array([1])).labels.tolist() == [[40.0]]
    with pytest.raises(InputError, match="label column is named more than once"):
        read_data(path, DataOptions(label_columns=("mass", "mass")))
    with pytest.raises(InputError, match=r"line 2, column 'lvef': a finding"):
        read_data(path, DataOptions(label_columns=("mass", "lvef")))


def test_case_ids_of_a_column(manifest):
    text = "path,label,study\na.png,0,s1\nb.png,1,{}\n"
    assert list(read_data(manifest(text.format("s2")), DataOptions(id_column="study")).case_ids) == ["s1", "s2"]
    with pytest.raises(InputError, match="line 3 and line 2 have one study") as caught:
        read_data(manifest(text.format("s1")), DataOptions(id_column="study"))
    assert "s1" not in str(caught.value)
    with pytest.raises(InputError, match="line 3 has no study"):
        read_data(manifest(text.format(" ")), DataOptions(id_column="study"))


SURVEY = "id,BMI,Sex,who,ill\nx1,34,M,p1,Yes\nx2,22,F,p2,No\nx3,22,F,p2,\nx4,28,F,p3,Yes\n"
FEATURES = TablePreprocessing.model_validate(
    {"columns": [{"name": "BMI", "mean": 28, "std": 6}, {"name": "Sex", "levels": ["F", "M"]}]}
)
ILL = DataOptions(label_column="ill")


def test_rows_that_are_the_cases(manifest, tmp_path):
    options = DataOptions(label_column="ill", patient_column="who", group_columns=("Sex",), id_column="id")
    got = read_data(manifest(SURVEY, ""), options, FEATURES)
    assert got.task is Task.BINARY and got.classes == ("No", "Yes") and got.labels.tolist() == [1, 0, 1]
    assert list(got.case_ids) == ["x1", "x2", "x4"] and list(got.patients) == ["p1", "p2", "p3"]
    assert list(got.groups["Sex"]) == ["M", "F", "F"] and [e.case for e in got.excluded] == ["x3"]
    assert got.source.item(2) == {"BMI": "28", "Sex": "F"}
    done = materialize(got, FEATURES, tmp_path / "x.npy")
    assert done.inputs.tolist() == [[1, 0, 1], [-1, 1, 0], [0, 1, 0]]


def test_rows_without_an_id_are_called_by_their_number(manifest):
    got = read_data(manifest(SURVEY, ""), ILL, FEATURES)
    assert list(got.case_ids) == ["row 1", "row 2", "row 4"] and got.source.name(2) == "list.csv line 5"


def test_digests_of_rows_follow_their_features_alone(manifest):
    one = read_data(manifest(SURVEY, ""), ILL, FEATURES)
    other = read_data(manifest("ill,Sex,BMI\nNo,F,28\nYes,M,34\nNo,F,28\n", ""), ILL, FEATURES)
    assert [one.digest(2), one.digest(0), one.digest(2)] == [other.digest(i) for i in range(3)]
    assert one.digest(0) != one.digest(1)


def test_numeric_columns_may_be_named_without_a_file(manifest):
    got = read_data(manifest(SURVEY, ""), DataOptions(label_column="ill", feature_columns=("BMI",)))
    assert got.source.item(0) == {"BMI": "34"}
    with pytest.raises(InputError, match="leave out --feature-columns"):
        read_data(manifest(SURVEY, ""), DataOptions(label_column="ill", feature_columns=("BMI",)), FEATURES)


def test_a_table_without_a_feature_column_or_with_the_answer_in_it(manifest, tree, npz):
    with pytest.raises(InputError, match="no column 'BMI'; it has ill, Sex"):
        read_data(manifest("ill,Sex\nNo,F\nYes,M\n", ""), ILL, FEATURES)
    with pytest.raises(InputError, match="'Sex' is a feature and the label"):
        read_data(manifest(SURVEY, ""), DataOptions(label_column="Sex"), FEATURES)
    with pytest.raises(InputError, match="have no masks"):
        read_data(manifest(SURVEY, ""), DataOptions(label_column="ill", task=Task.SEGMENTATION), FEATURES)
    for other in (tree({"a/x.png": b""}), npz(x=np.zeros((2, 2)), y=np.array([0, 1]))):
        with pytest.raises(InputError, match=r"needs a \.csv"):
            read_data(other, None, FEATURES)
    with pytest.raises(InputError, match="no column 'path'; it has id.*kind: table"):
        read_data(manifest(SURVEY, ""), ILL)


@pytest.mark.parametrize(("cell", "reason"), [("Other", "a level"), ("", "a level")])
def test_a_row_that_cannot_be_encoded_is_named_or_left_out(manifest, tmp_path, cell, reason):
    cases = read_data(manifest(SURVEY.replace("x2,22,F", f"x2,22,{cell}"), ""), ILL, FEATURES)
    with pytest.raises(InputError, match=f"list.csv line 3: column 'Sex' holds {reason}"):
        materialize(cases, FEATURES, tmp_path / "x.npy")
    done = materialize(cases, FEATURES, tmp_path / "x.npy", skip_bad=True)
    assert list(done.cases.case_ids) == ["row 1", "row 4"] and done.inputs.shape == (2, 3)
    assert done.cases.labels.tolist() == [1, 1]


def grey(array):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


LUNG = np.zeros((6, 8), np.uint8)
LUNG[:, 5:] = 1


@pytest.fixture
def scans(tree):
    """Two images of 6x8 and their masks (the second's is given); returns the manifest."""

    def write(second=LUNG * 255):
        images = {f"{n}.png": grey(np.arange(48).reshape(6, 8) * 5) for n in "ab"}
        masks = {"m/a.png": grey(LUNG), "m/b.png": grey(second)}
        return tree(images | masks | {"list.csv": b"path,label\na.png,m/a.png\nb.png,m/b.png\nc.png,\n"}) / "list.csv"

    return write


SCANS = DataOptions(task=Task.SEGMENTATION, classes=("back", "lung"))


def test_masks_follow_their_images(scans, tmp_path):
    cases = read_data(scans(), SCANS)
    assert cases.labels.shape == (2, 0) and cases.classes == ("back", "lung") and len(cases.excluded) == 1
    sized = Preprocessing(size=(12, 16), crop=(12, 8))
    done = materialize_masks(materialize(cases, sized, tmp_path / "x.npy"), sized, (6, 4), 2)
    assert done.inputs.shape == (2, 1, 12, 8) and done.masks.shape == (2, 6, 4)
    assert done.masks.tolist() == [[[0, 0, 0, 1]] * 6] * 2, "the crop keeps the middle, of which a quarter is lung"
    assert sorted(p.name for p in tmp_path.glob("*.npy")) == ["masks.npy", "x.npy"]


def test_masks_below_another_folder(scans, tmp_path):
    path = scans()
    (path.parent / "m").rename(tmp_path / "m")
    with pytest.raises(InputError, match=r"2 of 2 files .*--mask-root"):
        read_data(path, SCANS)
    got = read_data(path, DataOptions(task=Task.SEGMENTATION, mask_root=tmp_path))
    assert np.array_equal(np.asarray(got.masks.item(0)), LUNG)


def test_a_mask_of_another_size_is_named_or_its_case_left_out(scans, tmp_path):
    cases = read_data(scans(LUNG[:5]), SCANS)
    with pytest.raises(InputError, match=r"list\.csv line 3, mask: the mask is \(5, 8\), its image \(6, 8\)"):
        materialize(cases, Preprocessing(), tmp_path / "x.npy")
    done = materialize_masks(
        materialize(cases, Preprocessing(), tmp_path / "x.npy", skip_bad=True), Preprocessing(), (6, 8), 2
    )
    assert list(done.cases.case_ids) == ["a.png"] and done.masks.shape == (1, 6, 8)


def test_a_mask_with_a_class_that_the_network_does_not_give(scans, tmp_path):
    done = materialize(read_data(scans(LUNG * 2), SCANS), Preprocessing(), tmp_path / "x.npy")
    with pytest.raises(InputError, match=r"list\.csv line 3, mask: holds the class 2, the model gives classes 0 to 1"):
        materialize_masks(done, Preprocessing(), (6, 8), 2)
    assert not (tmp_path / "masks.npy").exists() and not list(tmp_path.glob(".*npy"))
    with pytest.raises(InputError, match="not materialized"):
        done.masks  # noqa: B018


def test_medmnist_with_many_findings(npz):
    path = npz(test_images=small(3), test_labels=np.array([[0, 1], [1, 1], [0, 0]], np.uint8))
    got = read_data(path, DataOptions(classes=()))
    assert got.task is Task.MULTILABEL and got.labels.tolist() == [[0, 1], [1, 1], [0, 0]]


def test_a_table_of_labels_needs_no_features_where_no_input_is_asked_for(manifest, tree):
    options = DataOptions(label_column="ill", group_columns=("Sex",))
    full = read_data(manifest(SURVEY, ""), dataclasses.replace(options, feature_columns=("BMI",)))
    bare = read_labelled(manifest(SURVEY, ""), options)
    assert bare.labels.tolist() == full.labels.tolist() and bare.classes == full.classes
    assert bare.case_ids.tolist() == full.case_ids.tolist() and bare.groups["Sex"].tolist() == list(full.groups["Sex"])
    with pytest.raises(InputError, match="'ill' names patients"):
        read_labelled(manifest(SURVEY, ""), DataOptions(label_column="ill", id_column="ill", group_columns=("ill",)))
    with pytest.raises(InputError, match="no column 'sick'"):
        read_labelled(manifest(SURVEY, ""), DataOptions(label_column="sick"))


def test_a_manifest_of_images_is_read_as_ever_where_no_input_is_asked_for(manifest):
    with pytest.raises(InputError, match="line 3 and line 2 name one file"):
        read_labelled(manifest("path,label\na.png,x\na.png,y\n", ""))
    with pytest.raises(InputError, match="not below"):
        read_labelled(manifest("path,label\na.png,x\nb.png,y\n", ""))
    with pytest.raises(InputError, match="no such file"):
        read_labelled("nowhere.csv")


def test_dicom_files_are_images_of_a_manifest(tmp_path):
    pytest.importorskip("pydicom")
    from dicoms import dicom

    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    (tmp_path / "a.dcm").write_bytes(dicom(pixels))
    Image.fromarray(pixels).save(tmp_path / "b.png")
    (tmp_path / "cases.csv").write_text("path,label\na.dcm,0\nb.png,1\n")
    found = read_data(tmp_path / "cases.csv")
    first, second = (np.asarray(found.source.item(k)) for k in (0, 1))
    assert np.array_equal(first, second)


def test_a_bad_image_is_told_by_its_place_and_not_by_its_name(manifest, tree, zipped, png):
    path = manifest("path,label\na.png,0\nSMITH.png,1\n")
    (path.parent / "SMITH.png").write_bytes(png()[:40])
    files = {"no/a.png": png(), "yes/SMITH.png": png()[:40]}
    sources = [(path, "list.csv line 3: "), (tree(files, "classes"), "image 2 of 2 in the order of their paths: ")]
    for reference, place in [*sources, (zipped(files), "image 2 of 2 in the order of their paths: ")]:
        with pytest.raises(InputError, match=place) as caught:
            read_data(reference).source.item(1)
        assert "SMITH" not in str(caught.value)


def test_class_folders_that_name_patients_are_refused_without_naming_one(tree, png):
    root = tree(pictures(png, [f"SMITH{i}/a.png" for i in range(12)]))
    with pytest.raises(InputError, match="class folders has 12 different .*--classes") as caught:
        read_data(root)
    assert "SMITH" not in str(caught.value)


def test_the_reason_why_a_case_is_left_out_names_no_file(manifest, png, tmp_path):
    path = manifest("path,label\na.png,SMITH-a.png\nb.png,SMITH-b.png\n")
    (path.parent / "SMITH-a.png").write_bytes(png())
    (path.parent / "SMITH-b.png").write_bytes(png(size=(3, 3)))
    cases = read_data(path, DataOptions(task=Task.SEGMENTATION))
    done = materialize(cases, Preprocessing(scale=1.0), tmp_path / "x.npy", skip_bad=True)
    assert [e.reason for e in done.cases.excluded] == ["the mask is (3, 3), its image (5, 6)"]
