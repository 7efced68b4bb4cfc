import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.data.labels import MANY_NUMBERS, demand_classes, read_labels
from primum.errors import InputError
from primum.task import Task

WHERE = "x.csv"


def one(text, **more):
    return read_labels({"label": text.split(",")}, WHERE, **more)


def test_two_labels_are_binary_and_more_are_multiclass():
    assert (one("b,a,b").task, one("b,a,b").classes) == (Task.BINARY, ("a", "b"))
    got = one("mid,low,high,low")
    assert (got.task, got.classes, got.values.tolist()) == (Task.MULTICLASS, ("high", "low", "mid"), [2, 1, 0, 1])


def test_numbers_stand_by_value_also_with_a_point():
    assert one("10,9,0.5").classes == ("0.5", "9", "10")
    assert one("2.0,10.0").classes == ("2.0", "10.0")


def test_classes_give_the_order_of_the_outputs():
    got = one("mild,none,severe", classes=("none", "mild", "severe"), task=Task.ORDINAL)
    assert got.classes == ("none", "mild", "severe") and got.values.tolist() == [1, 0, 2] and not got.notes


def test_a_class_without_cases_is_allowed_and_noted_and_counts():
    got = one("N,V,N", classes=("N", "S", "V"))
    assert got.task is Task.MULTICLASS and got.values.tolist() == [0, 2, 0]
    assert got.notes == ("no case has the class S",)


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("a,c,b,d,c", {"classes": ("a", "b")}, "2 different labels that --classes does not list, the first at row 2"),
        ("a,,c", {"classes": ("a", "b")}, "1 different label that --classes does not list, .* row 3; it lists a, b"),
        ("a,b", {"classes": ("a", "b", "a")}, "lists 'a' more than once"),
        ("a,a", {}, r"1 class\(es\); two are needed"),
        (",", {}, r"0 class\(es\)"),
        ("a,b,c", {"task": Task.BINARY}, "between two classes, there are 3"),
        ("mild,none", {"task": Task.ORDINAL}, "list them from the lowest with --classes"),
        ("a,b", {"task": Task.REGRESSION}, "row 1, column 'label': not a finite number"),
        ("0,2", {"task": Task.MULTILABEL}, "row 2, column 'label': a finding is 1"),
        (",", {"task": Task.REGRESSION}, "no case has a label in label"),
        (",", {"task": Task.MULTILABEL}, "no case has a label in label"),
        (",", {"task": Task.SEGMENTATION}, "names no mask"),
    ],
)
def test_labels_that_do_not_fit_are_refused(text, more, message):
    with pytest.raises(InputError, match=message):
        one(text, **more)


def test_many_numbers_ask_for_the_task():
    few, many = ([str(i / 4) for i in range(n)] for n in (MANY_NUMBERS, MANY_NUMBERS + 1))
    assert read_labels({"age": few}, WHERE).task is Task.MULTICLASS
    with pytest.raises(InputError, match="21 different numbers: give --task regression"):
        read_labels({"age": many}, WHERE)
    assert read_labels({"age": many}, WHERE, task=Task.REGRESSION).values.shape == (21, 1)
    assert len(read_labels({"age": many}, WHERE, task=Task.MULTICLASS).classes) == 21
    assert read_labels({"age": many}, WHERE, classes=tuple(many)).task is Task.MULTICLASS
    names = [f"class {i}" for i in range(30)]
    assert read_labels({"organ": names}, WHERE).task is Task.MULTICLASS, "names are classes, however many"


def test_several_columns_are_findings_with_unknown_ones():
    got = read_labels({"mass": ["1", "", "0"], "edema": ["0.0", "True", "-1"]}, WHERE)
    assert got.task is Task.MULTILABEL and got.classes == ("mass", "edema")
    assert got.values.tolist() == [[1, 0], [-1, 1], [0, -1]] and got.values.dtype == np.int64
    assert got.notes == ("edema: 1 label(s) of -1 are taken as unknown",)


def test_findings_follow_the_order_of_classes():
    columns = {"mass": ["1", "0"], "edema": ["0", "0"]}
    assert read_labels(columns, WHERE, classes=("edema", "mass")).values.tolist() == [[0, 1], [0, 0]]
    with pytest.raises(InputError, match="must list the label columns: mass, edema"):
        read_labels(columns, WHERE, classes=("edema",))


def test_a_row_without_any_label_is_left_out():
    assert one("a,,b,,a").rows.tolist() == [0, 2, 4]
    assert read_labels({"m": ["", "1"], "e": ["", ""]}, WHERE).rows.tolist() == [1]
    got = read_labels({"x": ["1", "2", ""], "y": ["3", "", "4"]}, WHERE, task=Task.REGRESSION)
    assert got.rows.tolist() == [0] and got.values.tolist() == [[1.0, 3.0]] and got.classes == ("x", "y")
    masks = one("m/1.png,,m/2.png", task=Task.SEGMENTATION, classes=("back", "lung"))
    assert masks.rows.tolist() == [0, 2] and masks.values.shape == (2, 0) and masks.classes == ("back", "lung")


@pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity", "1e999", "1_000", "1,5", "12 mm", "NA"])
def test_numbers_that_are_none_are_refused_by_their_place(cell):
    with pytest.raises(InputError, match=r"x\.csv: line 7, column 'age'") as caught:
        read_labels({"age": ["1", cell]}, WHERE, task=Task.REGRESSION, at=lambda row: f"line {row + 6}")
    assert cell not in str(caught.value), "a cell may name a patient"


def test_one_label_column_for_tasks_with_one_label():
    for task in (Task.BINARY, Task.MULTICLASS, Task.ORDINAL, Task.SEGMENTATION):
        with pytest.raises(InputError, match="one label column, 2 were named"):
            read_labels({"a": ["0", "1"], "b": ["0", "1"]}, WHERE, task=task)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@settings(deadline=None)
def test_numbers_survive_exactly(values):
    got = read_labels({"v": [repr(v) for v in values]}, WHERE, task=Task.REGRESSION)
    assert got.values[:, 0].tolist() == values


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=12))
@settings(deadline=None)
def test_every_labelled_row_gets_the_index_of_its_class(cells):
    if len(set(cells) - {""}) < 2:
        return
    got = read_labels({"label": cells}, WHERE)
    assert [got.classes[i] for i in got.values] == [c for c in cells if c]
    assert [cells[row] for row in got.rows] == [c for c in cells if c]


def test_labels_that_no_class_has_are_not_named():
    with pytest.raises(InputError) as caught:
        one("no,SMITH^JOHN,yes", classes=("no", "yes"))
    assert "SMITH" not in str(caught.value)


def test_labels_that_name_somebody_are_no_classes_unless_they_are_listed():
    names = [f"SMITH{i}" for i in range(30)]
    labels = read_labels({"who": names}, WHERE)
    with pytest.raises(InputError, match="the label column 'who' has 30 .* on 30 cases.*--classes") as told:
        demand_classes(labels, (), None, WHERE, "the label column 'who'")
    assert "SMITH" not in str(told.value)
    demand_classes(labels, tuple(names), None, WHERE, "the label column 'who'")
    ages = read_labels({"age": [str(i) for i in range(30)]}, WHERE, task=Task.REGRESSION)
    demand_classes(ages, (), None, WHERE, "the label column 'age'")
    often = read_labels({"organ": names * 8}, WHERE)
    demand_classes(often, (), None, WHERE, "the label column 'organ'")
    with pytest.raises(InputError, match="30 different values on 30 patients"):
        demand_classes(often, (), np.array(names * 8), WHERE, "the label column 'organ'")
