import dataclasses
import logging

import pytest
from huggingface_hub import EvalResult, ModelCard

from primum.reporting.delivered import Delivered
from primum.reporting.model_card import model_card
from primum.reporting.wording import delivered_verdict
from primum.study.result import StudyResult

from .conftest import HOSTILE

DEFAULT = "default, not confirmed by a clinician"


def made_of(result: StudyResult) -> Delivered:
    return Delivered(delivered_verdict(result), "confirmation", {"model/model.onnx": "a" * 64})


def text_of(result: StudyResult) -> str:
    return model_card(result, made_of(result)).decode()


def card_of(result: StudyResult) -> ModelCard:
    return ModelCard(text_of(result))


def evaluations(result: StudyResult) -> list[EvalResult]:
    return card_of(result).data.eval_results


def test_front_matter_is_read_by_hugging_face_and_says_what_the_verdict_says(
    results: dict[str, StudyResult], caplog: pytest.LogCaptureFixture
) -> None:
    result = results["proven"]
    with caplog.at_level(logging.WARNING):
        found = evaluations(result)
    assert not caplog.records, "read without a complaint"
    overall = {e.metric_type: e for e in found if e.dataset_config == "all cases"}
    assert set(overall) == {part.name for part in result.verdict.components}
    for part in result.verdict.components:
        got = overall[part.name]
        assert (got.metric_value, got.dataset_split) == (part.candidate, "confirmation")
        assert got.metric_args["original"] == part.reference and got.metric_args["margin"] == part.margin
        assert (got.metric_args["lower"], got.metric_args["upper"]) == (part.lower, part.upper)
        assert got.metric_args["outcome"] == part.outcome.value and got.metric_args["margin_confirmed"] is True
    groups = {e.dataset_config for e in found} - {"all cases"}
    assert groups == {f"{s.column}={s.value}" for s in result.verdict.subgroups}


def test_every_result_gives_a_card_that_parses(any_result: StudyResult) -> None:
    card = card_of(any_result)
    assert card.data.license == "unknown" and card.data.eval_results
    assert all(e.task_type == "image-classification" for e in card.data.eval_results)
    # Written and read again by Hugging Face's own code, nothing changes.
    assert ModelCard(card.content).data.to_dict() == card.data.to_dict()


def test_nothing_assessed_gives_no_figures(results: dict[str, StudyResult]) -> None:
    result = results["unassessed"]
    result = dataclasses.replace(result, winner=dataclasses.replace(result.winner, verdict=None))
    card = card_of(result)
    assert not card.data.eval_results and "Not assessed." in card.text


def test_figures_that_are_not_numbers_are_dashes_and_not_in_the_front_matter(results: dict[str, StudyResult]) -> None:
    text = text_of(results["bare"])
    assert ".nan" not in text and "nan" not in text.lower().split() and "Speed-up: –, interval –" in text
    part = dataclasses.replace(results["bare"].verdict.components[0], candidate=float("nan"), lower=float("nan"))
    verdict = dataclasses.replace(results["bare"].verdict, components=(part,))
    assert not evaluations(dataclasses.replace(results["bare"], verdict=verdict))


def test_old_against_new_overall_and_by_group(results: dict[str, StudyResult]) -> None:
    lines = card_of(results["proven"]).text.splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    told = {row[0]: row[1:] for row in rows}
    assert told["Sensitivity"] == [
        "98.7%", "98.8%", "+0.09 pp", "−0.35 to +0.58 pp", "2 pp", "1,088", "NON\\_INFERIOR"
    ]  # fmt: skip
    assert told["age=under 40: Sensitivity"][-1] == "INSUFFICIENT"
    assert all(len(row) == 8 for row in rows)
    text = card_of(results["proven"]).text
    assert "8 of 2,400 cases are decided differently from the original: 4 harmful" in text
    assert "which is never a pass: age=under 40" in text and "9.2×" in text


def test_what_only_the_owner_knows_is_left_to_the_owner(any_result: StudyResult) -> None:
    assert text_of(any_result).count("*To be filled in by the owner of the model.*") == 3


def test_loud_words_and_default_margins(results: dict[str, StudyResult]) -> None:
    text = text_of(results["unproven"])
    assert "**UNPROVEN**" in text and "**SYNTHETIC DATA**" in text and text.count(DEFAULT) >= 4
    assert {"unproven", "synthetic-data"} <= set(card_of(results["unproven"]).data.tags)
    assert DEFAULT not in text_of(results["proven"]) and "UNPROVEN" not in text_of(results["proven"])


def test_a_lossless_artifact_is_not_said_to_be_proven_by_its_table(results: dict[str, StudyResult]) -> None:
    text = text_of(results["bare"])
    assert "It passes because it gives the same answers" in text and "INCONCLUSIVE" in text


def test_hostile_names_stay_text(results: dict[str, StudyResult]) -> None:
    result = results["hostile"]
    result = dataclasses.replace(result, verdict_recipe=result.winner.recipe)  # its groups and flips are then told
    card = card_of(result)
    assert "<script" not in card.text and "&lt;script&gt;" in card.text
    assert "\x1b" not in card.text and "\u202e" not in card.text
    assert card.data.model_name.startswith(HOSTILE[:10]), "the parser gives it back as it was"
    rows = [line for line in card.text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {9}


def test_the_same_bytes_twice_and_no_promise_of_law(any_result: StudyResult) -> None:
    assert text_of(any_result) == text_of(any_result)
    assert "compliant" not in text_of(any_result).lower()


def test_a_guard_is_told_with_all_that_it_was_set_to(results: dict[str, StudyResult]) -> None:
    text = text_of(results["guarded"])
    section = text.split("## Guard")[1].split("## Limits")[0]
    assert "epsilon 0.01" in section and "delta 0.05" in section and "with confidence 95%" in section
    assert "By class: no" in section and "Strict: no" in section and "900 guard patients" in section
    assert "Deferred to the original" in section and "of the 2,400 cases of the confirmation part" in section
    assert "## Guard" not in text_of(results["proven"])
