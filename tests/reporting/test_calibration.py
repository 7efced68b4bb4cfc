import dataclasses

from primum.reporting.calibration import calibration_section
from primum.study.result import StudyResult

from .reading import figure, tables, texts, words


def test_the_sentence_rests_the_decision_on_the_paired_brier_score(all_results: dict[str, StudyResult]) -> None:
    result = all_results["assessed"]
    part = result.verdict.component("brier")
    said = words(calibration_section(result))
    assert "The decision rests on the paired difference of the Brier score alone" in said
    assert (
        f"+{part.difference:.4f}, +{part.lower:.4f} to +{part.upper:.4f}, negative is worse; margin 0.01: non-inferior"
        in said
    )
    assert "ranked probability score alone" in words(calibration_section(all_results["ordinal"]))


def test_figures_of_both_models_and_their_difference(all_results: dict[str, StudyResult]) -> None:
    result = all_results["assessed"]
    pair, part = result.assessment.calibration[0], result.verdict.component("brier")
    original, delivered, gap = texts(tables(calibration_section(result))[0])
    assert (
        original[3].startswith("−0.3")
        and original[4] == f"{pair.reference.slope:.3f}|SE {pair.reference.slope_error:.3f}"
    )
    assert delivered[7] == f"{pair.candidate.ece_expected:.3f}|up to {pair.candidate.ece_expected_upper:.3f}"
    assert gap[5].startswith(f"−{part.difference:.4f}|−{part.upper:.4f} to −{part.lower:.4f}"), "candidate − original"
    assert gap[4].startswith(f"−{-pair.slope_difference.estimate:.3f}")


def test_the_bias_of_the_ece_is_said(all_results: dict[str, StudyResult]) -> None:
    assert "biased upwards: even perfectly calibrated scores" in words(calibration_section(all_results["assessed"]))


def test_every_question_has_a_curve_up_to_nine(all_results: dict[str, StudyResult]) -> None:
    section = calibration_section(all_results["multilabel"])
    assert "The first 9 of 13 questions are drawn" in figure(section).caption
    assert tables(section)[0].fold == "Calibration by question: 39 rows"
    single = figure(calibration_section(all_results["assessed"]))
    assert single.narrow and "(160 cases each)" in single.caption
    assert len(tables(calibration_section(all_results["assessed"]))[1].rows) == 20


def test_no_answer_and_no_slope_are_said(all_results: dict[str, StudyResult]) -> None:
    said = words(calibration_section(all_results["multiclass"]))
    assert "1,998|2 not finite" in said and "of the resamples have no finite slope" in said


def test_nothing_is_said_where_nothing_was_assessed(all_results: dict[str, StudyResult]) -> None:
    assert calibration_section(all_results["proven"]) is None
    assert calibration_section(all_results["regression"]) is None
    assert calibration_section(dataclasses.replace(all_results["assessed"], assessment=None)) is None
