"""Words and tables of the terminal."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import trial_maker

from primum.cli.console import fitted, print_table, times
from primum.cli.optimize import _row, gains
from primum.study.trial import Status


def result(speedup=2.0, interval=(1.5, 2.5), size=3.9, with_original=None):
    guard = SimpleNamespace(reference_bytes=1000 if with_original else 0)
    return SimpleNamespace(
        speedup=speedup,
        speedup_interval=interval,
        size_ratio=size,
        size_ratio_with_reference=with_original,
        winner=SimpleNamespace(guard=guard),
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3.9, "3.90x smaller"),
        (0.98, "1.02x larger"),
        (0.5, "2.00x larger"),
        (1.0, "the same size"),
        (0.998, "the same size"),
        (float("nan"), "not known whether smaller"),
        (0.0, "not known whether smaller"),
    ],
)
def test_a_ratio_is_said_in_the_direction_that_it_has(value, words):
    assert times(value, "smaller", "larger", "the same size") == words


@given(st.floats(0.01, 100))
def test_no_number_of_times_is_below_one(value):
    said = times(value, "more", "less", "1.00x same")
    assert float(said.split("x")[0]) >= 1 and (("more" in said) == (value > 1) or "same" in said)


def test_gains_of_a_delivery_are_said_as_they_are():
    assert gains(result()) == "2.00x faster (1.50 to 2.50), 3.90x smaller"
    assert gains(result(0.5, (0.4, 0.6), 0.98)) == "2.00x slower (speed-up 0.40 to 0.60), 1.02x larger"
    assert gains(result(with_original=0.8)) == (
        "2.00x faster (1.50 to 2.50), 3.90x smaller (1.25x larger with the original that it carries)"
    )


sizes = st.lists(st.integers(1, 40).flatmap(lambda word: st.tuples(st.just(word), st.integers(word, 60))), min_size=1)


@given(sizes, st.integers(1, 200))
def test_columns_fit_and_words_stay_whole_where_there_is_room(columns, room):
    words, wholes = [list(part) for part in zip(*columns)]
    found = fitted(words, wholes, room)
    assert all(0 < width <= whole for width, whole in zip(found, wholes))
    assert sum(found) <= max(room, len(words)), "one letter a column is the least"
    if sum(words) <= room:
        assert all(width >= word for width, word in zip(found, words))
    if sum(wholes) <= room:
        assert found == wholes


def test_where_there_is_no_room_the_longest_words_give_way():
    assert fitted([40, 5, 5], [40, 5, 5], 30) == [20, 5, 5]


def test_a_table_breaks_no_word_that_fits(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    columns = ["data at hand", "question", *("missing patients",) * 4, "n"]
    print_table("", columns, [["site=Northern hospital", "moderate", *("12345",) * 4, "9"]])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 70
    assert shown.split().count("patients") == 4 and {"site=Northern", "hospital", "moderate"} <= set(shown.split())


VERDICTS = [
    ["sensitivity", "0.9737", "0.9737", "+0.0000", "-0.0098 to +0.0098", "0.01 (default)", "383", "NON_INFERIOR"],
    ["specificity", "0.9012", "0.8612", "-0.0400", "-0.0512 to -0.0298", "0.01 (default)", "1117", "INFERIOR"],
    ["specificity[pneumothorax]", "0.9", "0.9", "+0.0", "-0.01 to +0.01", "0.01", "1117", "NOT_ASSESSED"],
]
COLUMNS = ["endpoint", "original", "artifact", "difference", "interval", "margin", "n", "outcome"]


@pytest.mark.parametrize("rows", [VERDICTS[:1], VERDICTS])
@pytest.mark.parametrize("width", [80, 79, 72, 60])
def test_a_verdict_is_never_broken(capsys, monkeypatch, rows, width):
    monkeypatch.setenv("COLUMNS", str(width))
    print_table("", COLUMNS, rows)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    assert {row[-1] for row in rows} <= set(shown.split())
    if width == 80 and len(rows) == 1:
        assert {*COLUMNS, "sensitivity", "(default)", "+0.0000"} <= set(shown.split()), "nor any other word"


def test_a_row_of_the_table_is_of_one_run():
    make = trial_maker()
    won, other = make("fast", 2.0), make("other", 3.0, lost=4)
    last = replace(won.timings, ratio=4.0, median=0.25)
    told = SimpleNamespace(final={"fast": last}, winner=won)
    assert _row(won, told)[:4] == ["* fast", "4.00x", "0.250", "1.000"], "a finalist as the last run has it"
    assert _row(other, told)[:4] == ["  other", "3.00x", "1.000", "3.000"], "others by their own trial, whole"
    failed = replace(other, status=Status.FAILED, timings=None)
    assert _row(failed, told) == ["  other", "-", "-", "-", "-", "failed"]
