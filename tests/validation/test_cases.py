import numpy as np
import pytest

from primum.errors import InputError
from primum.validation.cases import MISSING, Cases, demand_groups


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


@pytest.mark.parametrize("part", ["labels", "patients", "case_ids", "groups"])
def test_what_a_mask_hides_is_not_taken(part):
    given = {"labels": [0, 1, 1], "patients": ["a", "b", "c"], "groups": {}, "case_ids": ["x", "y", "z"]}
    hidden = np.ma.masked_array([0, 1, 1] if part == "labels" else ["x", "y", "z"], [False, True, False])
    with pytest.raises(InputError, match="masked"):
        Cases(**given | {part: {"site": hidden} if part == "groups" else hidden})
    hidden.mask = False
    assert len(Cases(**given | {part: {"site": hidden} if part == "groups" else hidden})) == 3


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


@pytest.mark.parametrize(
    ("values", "patients", "refused"),
    [
        ([f"Doe {i // 3}" for i in range(300)], [f"p{i // 3}" for i in range(300)], True),
        ([f"Doe {i}" for i in range(12)], None, True),
        ([f"{i % 40}" for i in range(150)], None, True),
        ([f"site {i % 30}" for i in range(300)], [f"p{i}" for i in range(300)], False),
        (["F", "M"] * 3, [f"p{i}" for i in range(6)], False),
        ([f"site {i}" for i in range(5)], None, False),
    ],
)
def test_a_group_that_names_patients_is_refused_by_patient(values, patients, refused):
    units = None if patients is None else np.array(patients)
    if not refused:
        demand_groups({"who": np.array(values)}, units, "list.csv")
        return
    with pytest.raises(InputError, match="'who'.*rather than groups") as error:
        demand_groups({"who": np.array(values)}, units, "list.csv")
    assert "Doe" not in str(error.value)
