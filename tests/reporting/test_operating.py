import dataclasses

from primum.reporting.operating import operating_section
from primum.study.result import StudyResult

from .reading import figure, tables, texts, words


def test_how_the_threshold_was_frozen(all_results: dict[str, StudyResult]) -> None:
    result = all_results["assessed"]
    said = words(operating_section(result))
    start = f"The threshold of {result.frozen.threshold:.4g} is the lowest at which the original holds a specificity"
    assert f"{start} of 0.95" in said and "optimistic by that choice" in said
    assert "by the original's scores alone" in said
    given = dataclasses.replace(result, frozen=None, assessment=dataclasses.replace(result.assessment, frozen=None))
    assert "was given, and holds for both models" in words(operating_section(given))


def test_the_threshold_of_its_own_only_describes(all_results: dict[str, StudyResult]) -> None:
    result = all_results["assessed"]
    rows = texts(tables(operating_section(result))[0])
    own = result.assessment.operating[0].candidate_own
    assert [cells[0] for cells in rows] == ["Original", "Delivered", "Delivered, at a threshold of its own"]
    assert rows[0][1] == rows[1][1] == f"{result.frozen.threshold:.4f}" and rows[2][1] == f"{own.threshold:.4f}"
    assert "it decides nothing" in words(operating_section(result))


def test_actions_and_where_they_move(all_results: dict[str, StudyResult]) -> None:
    result = all_results["assessed"]
    found = result.assessment.concordance
    section = operating_section(result)
    table = next(t for t in tables(section) if t.caption.startswith("Actions"))
    assert [cells[0] for cells in texts(table)] == ["go home", "next day", "now"]
    assert [[int(c.replace(",", "")) for c in cells[1:]] for cells in texts(table)] == [list(r) for r in found.table]
    assert f"at least {found.unchanged.lower * 100:.1f}% with 95% confidence" in words(section)


def test_net_benefit_at_each_action_with_its_curve(all_results: dict[str, StudyResult]) -> None:
    section = operating_section(all_results["assessed"])
    table = next(t for t in tables(section) if t.caption.startswith("Net benefit"))
    held = all_results["assessed"].assessment.net_benefit
    assert [(cells[0], cells[1]) for cells in texts(table)] == [("next day", "0.2"), ("now", "0.7")]
    assert texts(table)[0][4] == f"+{held[0].difference.estimate:.4f}"
    assert figure(section).name == "benefit" and figure(section).draw().count('id="benefit-axes_') == 1


def test_each_task_says_what_stands_in_for_a_threshold(all_results: dict[str, StudyResult]) -> None:
    assert "the class of the largest score is called" in words(operating_section(all_results["multiclass"]))
    assert "Each label has the threshold" in words(operating_section(all_results["multilabel"]))
    values = operating_section(all_results["regression"])
    assert values.title == "Actions" and "at most the tolerance of 4" in words(values)


def test_nothing_known_nothing_said(all_results: dict[str, StudyResult]) -> None:
    assert operating_section(all_results["proven"]) is None
    assert operating_section(all_results["segmentation"]) is None
