import pickle
from pathlib import Path

import numpy as np
import pytest

from primum.data.content import content_digest
from primum.data.evaluation import materialize, materialize_masks
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.data.readers import DataOptions, read_data
from primum.errors import InputError
from primum.task import Task

X = np.arange(24, dtype=np.int16).reshape(4, 6)
BEATS = {"x": X, "y": np.array(["N", "V", "N", "S"]), "record": np.array([101, 101, 106, 106])}


def test_columns_of_one_npz(npz):
    path = npz(**BEATS, sex=np.array(["F", "F", " M", "M"]), age=np.array([75.0, 75, np.nan, 24.5]))
    got = read_data(path, DataOptions(patient_column="record", group_columns=("sex", "age")))
    assert got.task is Task.MULTICLASS and got.classes == ("N", "S", "V") and got.labels.tolist() == [0, 2, 0, 1]
    assert list(got.patients) == ["101", "101", "106", "106"] and list(got.case_ids) == [f"case {i}" for i in range(4)]
    assert list(got.groups["sex"]) == ["F", "F", "M", "M"] and list(got.groups["age"]) == ["75", "75", "", "24.5"]
    assert np.array_equal(got.source.item(1), X[1]) and got.digest(1) == content_digest(X[1])
    assert got.notes == ("inputs read from x, labels from y",)


def test_the_order_of_the_outputs_and_a_class_without_beats(npz):
    got = read_data(npz(**BEATS), DataOptions(classes=("N", "S", "V", "F", "Q")))
    assert got.labels.tolist() == [0, 2, 0, 1] and "no case has the class F, Q" in got.notes


def test_keys_are_named_or_usual(npz):
    named = npz("a.npz", beats=X, kind=BEATS["y"], x=X[:, :1])
    got = read_data(named, DataOptions(path_column="beats", label_column="kind"))
    assert got.source.item(0).shape == (6,)
    usual = read_data(npz("b.npz", inputs=X, x=X[:, :2], labels=BEATS["y"]))
    assert usual.source.item(0).shape == (6,), "inputs comes before x"
    with pytest.raises(InputError, match=r"no key 'rhythm'; it has beats, kind, x"):
        read_data(named, DataOptions(path_column="beats", label_column="rhythm"))
    with pytest.raises(InputError, match=r"holds neither path, inputs, x .*--path-column: it has beats, y"):
        read_data(npz("c.npz", beats=X, y=BEATS["y"]))
    with pytest.raises(InputError, match=r"holds neither label, labels, y .*--label-column"):
        read_data(npz("d.npz", x=X))


def test_a_key_of_groups_that_names_cases_is_refused(npz):
    held = {"x": np.zeros((50, 3)), "y": np.arange(50) % 2, "who": np.array([f"MRN{i}" for i in range(50)])}
    with pytest.raises(InputError, match="'who'.*names cases or patients") as refusal:
        read_data(npz(**held), DataOptions(group_columns=("who",)))
    assert "MRN" not in str(refusal.value)


def test_case_ids_of_a_key(npz):
    ids = np.array(["a", "b", "c", "d"])
    assert list(read_data(npz(**BEATS, id=ids), DataOptions(id_column="id")).case_ids) == list(ids)
    for bad, message in ((["a", "b", "a", "d"], "1 case ids are repeated"), (["a", "", "c", "d"], "case 1 has no id")):
        with pytest.raises(InputError, match=message):
            read_data(npz(**BEATS, id=np.array(bad)), DataOptions(id_column="id"))


def test_cases_without_a_label_are_left_out_and_listed(npz):
    got = read_data(npz(x=X, y=np.array([1.0, np.nan, 0, 1])))
    assert got.index.tolist() == [0, 2, 3] and got.classes == ("0", "1")
    assert [(e.case, e.reason) for e in got.excluded] == [("case 1", "no label")]


def test_findings_and_numbers_of_a_wide_key(npz):
    findings = npz("f.npz", x=X, y=np.array([[1, 0], [0, 0], [1, 1], [-1, 1]]))
    got = read_data(findings, DataOptions(task=Task.MULTILABEL, classes=("mass", "edema")))
    assert got.classes == ("mass", "edema") and got.labels.tolist() == [[1, 0], [0, 0], [1, 1], [-1, 1]]
    assert read_data(findings).task is Task.MULTILABEL, "a wide key is many findings"
    numbers = npz("r.npz", x=X, y=np.array([[1.5, 2], [3, 4], [5, 6], [7, np.nan]], np.float32))
    values = read_data(numbers, DataOptions(task=Task.REGRESSION))
    assert values.labels.tolist() == [[1.5, 2], [3, 4], [5, 6]] and values.classes == ("0", "1")
    with pytest.raises(InputError, match="y has 2 columns, --classes lists 3 names"):
        read_data(numbers, DataOptions(task=Task.REGRESSION, classes=("a", "b", "c")))
    several = npz("s.npz", x=X, lvef=np.array([55, 60, 35.5, 20]), age=np.arange(4))
    options = DataOptions(task=Task.REGRESSION, label_columns=("lvef", "age"))
    assert read_data(several, options).labels.tolist() == [[55, 0], [60, 1], [35.5, 2], [20, 3]]


BAD = {
    "fewer labels": {"y": BEATS["y"][:3]},
    "fewer patients": {"record": BEATS["record"][:3]},
    "text inputs": {"x": np.full((4, 2), "1")},
    "flat inputs": {"x": np.zeros(4)},
    "complex inputs": {"x": np.zeros((4, 2), complex)},
    "one number": {"x": np.array(3.0)},
    "wide patients": {"record": np.zeros((4, 2))},
    "blank patient": {"record": np.array(["a", " ", "b", "b"])},
    "dates": {"y": np.array(["2020-01-01", "2020-01-02"] * 2, "datetime64[D]")},
    "cubic labels": {"y": np.zeros((4, 2, 2))},
}


@pytest.mark.parametrize("what", BAD)
def test_columns_that_do_not_fit_are_refused(npz, what):
    with pytest.raises(InputError, match=r"data\.npz"):
        read_data(npz(**{**BEATS, **BAD[what]}), DataOptions(patient_column="record"))


class Marker:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("key", ["x", "y", "record"])
def test_object_arrays_are_refused_and_do_not_run(npz, tmp_path, key):
    evil = np.array([Marker(tmp_path / "ran"), None, None, None], dtype=object)
    with pytest.raises(InputError, match="safely"):
        read_data(npz(**{**BEATS, key: evil}), DataOptions(patient_column="record"))
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Marker(tmp_path / "ran")))
    assert (tmp_path / "ran").exists(), "the marker does fire when it is unpickled"


def test_arrays_are_materialized_at_their_own_shape(npz, tmp_path):
    cases = read_data(npz(**BEATS))
    done = materialize(cases, ArrayPreprocessing(add_channel=True, scale=0.5), tmp_path / "x.npy")
    assert done.inputs.shape == (4, 1, 6) and np.array_equal(done.inputs[:, 0], X * np.float32(0.5))


def test_an_array_that_is_not_finite_is_named_or_left_out(npz, tmp_path):
    bad = X.astype(np.float32)
    bad[2, 3] = np.inf
    cases = read_data(npz(**{**BEATS, "x": bad}))
    with pytest.raises(InputError, match="case 2: an array holds NaN or infinite"):
        materialize(cases, ArrayPreprocessing(), tmp_path / "x.npy")
    done = materialize(cases, ArrayPreprocessing(), tmp_path / "x.npy", skip_bad=True)
    assert list(done.cases.case_ids) == ["case 0", "case 1", "case 3"] and done.inputs.shape == (3, 6)


def test_masks_of_arrays(npz, tmp_path):
    masks = (X % 3).astype(np.int32)
    cases = read_data(npz(x=X, masks=masks), DataOptions(task=Task.SEGMENTATION, label_column="masks"))
    assert cases.task is Task.SEGMENTATION and cases.labels.shape == (4, 0) and cases.classes == ()
    done = materialize_masks(
        materialize(cases, ArrayPreprocessing(), tmp_path / "x.npy"), ArrayPreprocessing(), (6,), 3
    )
    assert np.array_equal(done.masks, masks) and done.masks.dtype == np.uint8
    half = materialize_masks(done, ArrayPreprocessing(), (3,), 3)
    assert np.array_equal(half.masks, masks[:, 1::2])
    with pytest.raises(InputError, match="mask 0: holds the class 2"):
        materialize_masks(done, ArrayPreprocessing(), (6,), 2)
    with pytest.raises(InputError, match="1 axes, the network's output 2"):
        materialize_masks(done, ArrayPreprocessing(), (6, 6), 3)
    options = DataOptions(task=Task.SEGMENTATION, label_column="masks")
    with pytest.raises(InputError, match="must hold masks"):
        read_data(npz(x=X, masks=X / 2.0), options)
    other = read_data(npz(x=X, masks=masks[:, :5]), options)
    with pytest.raises(InputError, match=r"mask 0: the mask is \(5,\), its image \(6,\)"):
        materialize(other, ArrayPreprocessing(), tmp_path / "x.npy")


def test_a_key_of_labels_that_names_cases_is_refused(npz):
    held = {"x": np.zeros((50, 3)), "y": np.array([f"MRN{i}" for i in range(50)])}
    with pytest.raises(InputError, match="'y' has 50 different values on 50 cases.*rather than classes") as refusal:
        read_data(npz(**held))
    assert "MRN" not in str(refusal.value)
