"""The guard's section: what it promises, what it left, and what refuses it."""

import dataclasses

from primum.reporting.blocks import Figure, Table
from primum.reporting.guard import guard_section
from primum.reporting.headline import banners
from primum.study.result import StudyResult


def words(result: StudyResult) -> str:
    section = guard_section(result)
    assert section is not None
    parts = [getattr(block, "text", "") for block in section.blocks]
    for table in (b for b in section.blocks if isinstance(b, Table)):
        parts += [table.caption, *(f"{cell.text} {cell.note}" for line in table.rows for cell in line)]
    return " ".join(parts)


def test_the_promise_names_epsilon_confidence_and_what_was_left(results: dict[str, StudyResult]) -> None:
    result = results["guarded"]
    text, found = words(result), result.guard.outcome
    assert "at most 1.0%" in text and "with confidence 95%" in text and "within each class" not in text
    assert f"{found.flips_unguarded} of 2,400 cases change without the guard, {found.flips_left} with it" in text
    assert found.flips_left < found.flips_unguarded


def test_the_curve_draws_only_epsilons_that_have_a_band(results: dict[str, StudyResult]) -> None:
    result = results["guarded"]
    figure = next(b for b in guard_section(result).blocks if isinstance(b, Figure))
    averaged, sure = figure.label.split("bound with confidence")
    assert "epsilon 0.20%" in averaged and "epsilon 0.20%" not in sure, "900 patients support 0.2 % on average alone"
    assert "epsilon 0.50%" in sure and "<svg" in figure.draw()


def test_a_bound_that_these_cases_exceed_is_marked(results: dict[str, StudyResult]) -> None:
    result = results["guarded"]
    outcome = dataclasses.replace(result.guard.outcome, patients_left=240)
    loud = dataclasses.replace(result, guard=dataclasses.replace(result.guard, outcome=outcome))
    assert "exceeded here" in words(loud) and "exceeded here" not in words(result)


def test_a_guard_that_could_not_be_set_says_why(results: dict[str, StudyResult]) -> None:
    result = dataclasses.replace(results["guarded"], guard=None)
    assert "40 of 299 patients needed" in words(result)
    assert guard_section(results["proven"]) is None


def told(result: StudyResult, **changes: object) -> str:
    return words(dataclasses.replace(result, guard=dataclasses.replace(result.guard, **changes)))


FIRST = "were fixed before the guard patients were looked at"
LOOK = "100% of these guard cases were used to set the band of a guard on 2026-01-02"


def test_it_says_truly_who_else_had_a_band_set_on_these_patients(results: dict[str, StudyResult]) -> None:
    result = results["guarded"]
    alone = told(result)
    assert FIRST in alone and "No other candidate of this study had a band set on them" in alone
    shared = told(result, bands=2, claims=2)
    assert FIRST in shared and "divided among 2" in shared and "No other candidate" not in shared
    averaged = told(result, bands=2, claims=2, band=dataclasses.replace(result.guard.band, delta=None))
    assert "not for one that is chosen by what the guards defer" in averaged and "divided" not in averaged
    chosen = told(result, bands=12)
    assert FIRST not in chosen and "12 candidates" in chosen and "does not cover that choice" in chosen


def test_guard_patients_that_were_looked_at_before_are_told(results: dict[str, StudyResult]) -> None:
    result = results["guarded"]
    text = told(result, prior=(LOOK,))
    assert FIRST not in text and "looked at 1 time before" in text
    before = dataclasses.replace(result, guard=dataclasses.replace(result.guard, prior=(LOOK,)))
    assert "Guard patients not fresh" in [banner.word for banner in banners(before)]
    assert "Guard patients not fresh" not in [banner.word for banner in banners(result)]
