import numpy as np
import pytest

from primum.errors import InputError
from primum.validation.cases import MISSING, Cases


def test_blanks_of_a_group_form_a_level(make_cases):
    cases = make_cases([0, 1, 1, 0, 1], groups={"site": ["A", "", None, np.nan, " B "]})
    assert cases.groups["site"].tolist() == ["A", MISSING, MISSING, MISSING, "B"]
    assert len(cases) == 5


def test_empty_cases_are_allowed(make_cases):
    assert len(make_cases([])) == 0


def test_labels_may_be_bools(make_cases):
    assert make_cases(np.array([True, False])).labels.tolist() == [1, 0]


@pytest.mark.parametrize("labels", [[0, 2], [0.5, 1], ["0", "1"]])
def test_other_labels_are_refused(make_cases, labels):
    with pytest.raises(InputError, match="0 or 1"):
        make_cases(labels)


def test_repeated_ids_and_wrong_lengths_are_refused():
    with pytest.raises(InputError, match="unique"):
        Cases([0, 1], ["a", "b"], {}, ["x", "x"])
    with pytest.raises(InputError, match="patients"):
        Cases([0, 1], ["a"], {}, ["x", "y"])
    with pytest.raises(InputError, match="site"):
        Cases([0, 1], ["a", "b"], {"site": ["A"]}, ["x", "y"])


def test_patients_are_named_or_cases_declared_independent(make_cases):
    with pytest.raises(InputError, match="no patient"):
        make_cases([0, 1], patients=["a", ""])
    cases = make_cases([0, 1], patients=["", ""], independent=True)
    assert cases.units.tolist() == ["c0", "c1"]
    with pytest.raises(InputError, match="declared independent"):
        make_cases([0, 1], patients=["a", "a"], independent=True)


def test_without_patients_cases_of_one_content_count_as_one(make_cases):
    cases = make_cases([0, 1, 1], patients=[""] * 3, contents=["x", "y", "x"])
    assert cases.units.tolist() == ["x", "y", "x"] and cases.copies == 1
    assert cases.unit == "distinct case (no patient named)"
    declared = make_cases([0, 1, 1], patients=[""] * 3, contents=["x", "y", "x"], independent=True)
    assert declared.units.tolist() == ["x", "y", "x"] and declared.unit == "distinct case (declared independent)"
    named = make_cases([0, 1], patients=["a", "b"], contents=["x", "x"])
    assert (named.units.tolist(), named.copies, named.unit) == (["a", "b"], 0, "patient")
    with pytest.raises(InputError, match="no patient"):
        make_cases([0, 1], patients=["a", ""], contents=["x", "y"])
