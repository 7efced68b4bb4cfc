"""Flags that become configuration."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.cli.options import Actions, amounts, guard_policy, listed, policy, read_actions
from primum.config import GuardPolicy, OptimizationConfig
from primum.errors import InputError


def made(*flags: object) -> GuardPolicy:
    return OptimizationConfig(guard=guard_policy(*flags)).resolve().guard


def test_guard_flags_become_a_policy():
    assert guard_policy(None, None, False, False) is None
    assert made("0.005", None, False, False) == GuardPolicy(epsilon=0.005, delta=0.05, by_class=True, strict=False)
    assert made("0.005", "average", True, True) == GuardPolicy(epsilon=0.005, delta=None, by_class=False, strict=True)
    assert made("smallest", "0.1", False, False) == GuardPolicy(epsilon=None, delta=0.1)
    assert made("off", None, False, False) is None


@pytest.mark.parametrize(
    "flags, message",
    [
        ((None, "0.05", False, False), "belong to --guard"),
        ((None, None, True, False), "belong to --guard"),
        (("tight", None, False, False), "--guard tight: give a number, or 'smallest' or 'off'"),
        (("0.005", "none", False, False), "--guard-delta none: give a number, or 'average'"),
    ],
)
def test_nonsense_is_named(flags, message):
    with pytest.raises(InputError, match=message):
        guard_policy(*flags)


names = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\0", exclude_categories=["Cc", "Cs", "Z"]), min_size=1
)


@given(st.lists(names | names.map(lambda name: f"{name}, {name}"), max_size=4))
def test_any_names_come_through_as_csv(wanted):
    line = io.StringIO()
    csv.writer(line).writerow(wanted)
    assert listed(line.getvalue().rstrip("\r\n")) == tuple(wanted)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        (" , ,", ()),
        ("a,b", ("a", "b")),
        (" a , b ,", ("a", "b")),
        ('a,"b, c"', ("a", "b, c")),
        ('a, "b, c", d', ("a", "b, c", "d")),
        ('"say ""ah"""', ('say "ah"',)),
        ("patient's age", ("patient's age",)),
    ],
)
def test_lists_are_one_line_of_csv(text, names):
    assert listed(text) == names


@pytest.mark.parametrize("text", ['a,"b', 'a,"b" c', "a\nb", '"'])
def test_a_badly_quoted_list_is_refused_with_an_example(text):
    with pytest.raises(InputError, match='double quotes: a,"b, c"'):
        listed(text)


EXAMPLE = "[{name: home, at: 0}, {name: clinic, at: 0.3}]"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("- {name: home, at: ", "is not valid"),
        ("name: home", "expected"),
        ("[]", "expected"),
        ("- {name: home}", "at: Field required"),
        ("- {name: clinic, at: 0.3}", "must start at 0"),
        ("- {name: home, at: 0}\n- {name: clinic, at: 3}", "less than 1"),
        ("- home", "actions.0"),
    ],
)
def test_wrong_actions_are_told_with_flag_file_and_example(tmp_path, content, why):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(InputError, match=why) as told:
        policy(0.5, None, None, None, actions=tmp_path / "a.yaml")
    for part in ("--actions", str(tmp_path / "a.yaml"), EXAMPLE):
        assert part in str(told.value)


def test_actions_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"--actions .*none\.yaml: cannot be read"):
        read_actions(tmp_path / "none.yaml")


def test_the_example_of_the_help_and_of_the_errors_is_one_that_works(tmp_path):
    (option,) = Actions.__metadata__
    assert EXAMPLE in option.help
    (tmp_path / "a.yaml").write_text(EXAMPLE)
    assert [action.name for action in policy(0.5, None, None, None, actions=tmp_path / "a.yaml").actions] == [
        "home", "clinic",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, (None, {})),
        ("2", (2.0, {})),
        ("age=2,weight=0.5", (None, {"age": 2.0, "weight": 0.5})),
        ('0.5, "FEV1, % = predicted=3"', (0.5, {"FEV1, % = predicted": 3.0})),
    ],
)
def test_a_number_for_all_outputs_or_for_single_ones(text, found):
    assert amounts("--tolerance", text) == found
    made = policy(0.5, None, None, None, error_margin=text, tolerance=text)
    assert (made.margins.error, made.error_margins) == found == (made.tolerance, made.tolerances)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "a=", "a=b", "2,3", "a=1,a=2", "1e999"])
def test_what_is_no_such_number_is_named(text):
    with pytest.raises(InputError, match="--tolerance"):
        amounts("--tolerance", text)
