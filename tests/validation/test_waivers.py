"""What may be waived by name: the subgroups and classes that there are, each under a name of its own."""

import numpy as np
import pytest

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.task import Task
from primum.validation.waivers import demand_waivers, waivable

GROUPS = {"sex": np.array(["f", "m", "f"]), "site": np.array(["", "North", "North"])}
NAMES = ("clear", "benign", "melanoma")


def demand(*waived, groups=GROUPS, task=Task.MULTICLASS, classes=NAMES):
    demand_waivers(ClinicalPolicy(waived_subgroups=waived), groups, task, classes, "cases.csv")


def test_what_there_is_may_be_waived():
    demand()
    demand("sex=f", "site=(missing)", "class=melanoma")
    demand("sex=m", task=Task.BINARY, classes=("a", "b"))


@pytest.mark.parametrize("typo", ["class=annn", "sex=q", "foo=bar", "sex", "sex=F", "class=", "site="])
def test_a_typo_is_refused_with_what_there_is(typo):
    with pytest.raises(InputError) as found:
        demand("sex=m", typo)
    said = str(found.value)
    assert said.startswith(f"cases.csv: nothing is called {typo!r}") and "'sex=m'" not in said.partition(";")[0]
    for name in ("sex=f", "sex=m", "site=North", "site=(missing)", "class=clear", "class=melanoma"):
        assert name in said


def test_every_typo_is_named_at_once():
    with pytest.raises(InputError, match="'class=annn', 'sex=q', 'foo=bar'"):
        demand("class=annn", "sex=q", "foo=bar")


def test_without_groups_the_way_to_them_is_told():
    with pytest.raises(InputError, match="no grouping column.*--group-columns"):
        demand("sex=f", groups={}, task=Task.BINARY, classes=("a", "b"))


def test_long_lists_are_cut():
    classes = tuple(f"finding {k}" for k in range(200))
    with pytest.raises(InputError, match="and 140 more") as found:
        demand("class=none", groups={}, classes=classes, task=Task.MULTILABEL)
    assert len(str(found.value)) < 3000


def test_two_classes_are_never_waived_and_cuts_go_by_their_grade():
    assert waivable({}, Task.BINARY, ("a", "b")) == {}
    assert set(waivable({}, Task.ORDINAL, ("none", "mild", "severe"))) == {"class=mild", "class=severe"}
    assert set(waivable({}, Task.SEGMENTATION, ("background", "lung"))) == {"class=lung"}


def test_a_column_called_class_is_refused_where_its_level_is_a_class_too():
    column = {"class": np.array(["a", "x", "x"])}
    with pytest.raises(InputError, match="'class=a' is both .*class.*'a'.*grouping column 'class'.*another name"):
        demand("class=a", groups=column, classes=("a", "b", "c"))
    demand("class=x", "class=b", groups=column, classes=("a", "b", "c"))
    demand("class=a", groups=column, task=Task.BINARY, classes=("a", "b"))


def test_levels_of_two_columns_that_read_alike_are_refused():
    columns = {"a": np.array(["b=c"]), "a=b": np.array(["c"])}
    with pytest.raises(InputError, match="'a=b=c' is both"):
        demand("a=b=c", groups=columns)
