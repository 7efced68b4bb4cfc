import dataclasses
from typing import Any

from primum.reporting.delivered import Delivered
from primum.reporting.traceability import tests_of as traced
from primum.reporting.wording import delivered_verdict
from primum.study.result import StudyResult
from primum.study.trial import Parity


def told(result: StudyResult) -> dict[str, dict[str, Any]]:
    made = Delivered(delivered_verdict(result), "confirmation", {})
    return {test["what"]: test for test in traced(result, made)}


def test_every_criterion_is_traced_to_a_result(results: dict[str, StudyResult]) -> None:
    result = results["proven"]
    tests = told(result)
    for part in result.verdict.components:
        test = tests[f"{part.name}, all cases, confirmation part"]
        assert (test["result"], test["outcome"]) == (part.lower, part.outcome.value)
        assert test["criterion"] == f"lower bound above {-part.margin:g}"
    small = tests["sensitivity, age=under 40, confirmation part"]
    assert small["outcome"] == "INSUFFICIENT"
    assert sum("part" in what for what in tests) == 1 + 4 + 10


def test_what_only_describes_passes_nothing(results: dict[str, StudyResult]) -> None:
    tests = told(results["proven"])
    assert tests["same answers, confirmation part"]["outcome"] == "8 changed, 4 harmful"
    assert tests["speed-up over the original, one case a call"]["criterion"] == "described"
    assert told(results["bare"])["same answers, confirmation part"]["outcome"] == "passed"


def test_a_failed_parity_and_a_busy_machine_are_said(results: dict[str, StudyResult]) -> None:
    result = results["proven"]
    failed = dataclasses.replace(result.winner, parity=Parity(0.1, 0.7, 0.6, False))
    busy = {**result.final, result.winner.key: dataclasses.replace(result.final[result.winner.key], contended=True)}
    tests = told(dataclasses.replace(result, winner=failed, final=busy))
    parity = tests["raw outputs against the original's (relative difference)"]
    assert (parity["result"], parity["outcome"], parity["criterion"]) == (0.7, "failed", "at most 0.6")
    assert "busy" in tests["speed-up over the original, one case a call"]["outcome"]


def test_what_was_not_measured_is_not_listed(results: dict[str, StudyResult]) -> None:
    result = results["inconclusive"]
    winner = dataclasses.replace(result.winner, verdict=None, parity=None)
    assert told(dataclasses.replace(result, winner=winner, final={})) == {}
