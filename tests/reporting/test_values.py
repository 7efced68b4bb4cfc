import dataclasses

import numpy as np
import pytest

from primum.reporting.decisions import decisions_section
from primum.reporting.figure_values import MOST_DOTS, thinned
from primum.study.result import StudyResult

from .reading import figure, tables, texts, words


def test_errors_of_both_against_the_truth(all_results: dict[str, StudyResult]) -> None:
    result = all_results["regression"]
    rows = texts(tables(decisions_section(result))[0])
    error = result.judged.candidate - result.judged.labels
    assert rows[1][0] == "bone age, months|delivered"
    assert float(rows[1][1]) == pytest.approx(np.abs(error).mean(), abs=5e-4)
    assert float(rows[1][2]) == pytest.approx(np.sqrt((error**2).mean()), abs=5e-4)
    assert float(rows[1][5]) == pytest.approx(np.abs(error).max(), abs=5e-3)


def test_limits_are_those_of_the_verdict(all_results: dict[str, StudyResult]) -> None:
    result = all_results["regression"]
    held = result.verdict.component("agreement").beside
    drawn = figure(decisions_section(result))
    assert f"limits −{-held['limit_lower']:.2f} to +{held['limit_upper']:.2f}" in drawn.label
    assert "within the tolerance of 4" in drawn.caption and "Of 3,000 cases the farthest" in drawn.caption


def test_without_a_tolerance_limits_are_drawn_where_no_patient_repeats(all_results: dict[str, StudyResult]) -> None:
    result = all_results["unstated"]
    gap = (result.judged.candidate - result.judged.reference)[:, 0]
    low = gap.mean() - 1.959964 * gap.std(ddof=1)
    assert f"Ejection fraction: mean difference −{-gap.mean():.4f}, limits −{-low:.3f}" in words(
        decisions_section(result)
    )
    clustered = dataclasses.replace(result, verdict=dataclasses.replace(result.verdict, clustered=True))
    assert "No limits are drawn" in words(decisions_section(clustered))


def test_masks_that_lose_are_counted_and_a_broken_one_has_none(all_results: dict[str, StudyResult]) -> None:
    section = decisions_section(all_results["segmentation"])
    rows = {cells[0]: cells for cells in texts(tables(section)[0])}
    assert [rows[name][7] for name in ("liver", "spleen", "tumour")] == ["1", "2", "2"]
    assert rows["liver"][6] == "0.0000" and "1 case without a finite mask: Dice 0." in words(section)
    share = all_results["segmentation"].verdict.component("dice[spleen]").beside
    assert rows["spleen"][8].endswith(f"to {share['share_losing_upper'] * 100:.1f}%)")


def test_the_farthest_are_always_drawn() -> None:
    distance = np.random.default_rng(1).random(20_000)
    kept = thinned(distance)
    assert kept.size <= MOST_DOTS and set(np.argsort(-distance)[:100]) <= set(kept.tolist())
    assert thinned(distance[:50]).tolist() == list(range(50))
