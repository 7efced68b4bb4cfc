import dataclasses

from primum.reporting.speed import cards, latency_section
from primum.reporting.trials import front_section, trials_section
from primum.study.result import StudyResult

from .conftest import timings
from .reading import figure, tables, texts


def test_finalists_stand_where_the_last_run_put_them(all_results: dict[str, StudyResult]) -> None:
    result = all_results["proven"]
    final = {**result.final, "openvino-int8": timings(3.3, 8.4)}
    told = figure(front_section(dataclasses.replace(result, final=final))).label
    assert "OpenVINO INT8: 8.4× at" in told and "9.2×" not in told, "one figure for one candidate"
    assert "ONNX Runtime INT8: 4.1× at" in told, "its own trial's: it was no finalist"


def test_the_table_says_that_its_figures_are_the_trials_own(all_results: dict[str, StudyResult]) -> None:
    table = tables(trials_section(all_results["proven"]))[0]
    assert "from one run: the candidate's own trial" in table.caption


def test_speed_and_milliseconds_of_a_row_are_of_one_run(all_results: dict[str, StudyResult]) -> None:
    slow = dataclasses.replace(timings(4.0, 2.0), median=4.0, p50=4.0)
    result = all_results["proven"]
    trials = tuple(dataclasses.replace(t, timings=slow) if t.key == "openvino-int8" else t for t in result.trials)
    table = tables(trials_section(dataclasses.replace(result, trials=trials)))[0]
    assert [c.title for c in table.columns][2:5] == ["Speed-up", "p50, ms", "Original p50, ms"]
    cells = next(
        cells for cells in texts(table) if cells[0].startswith("OpenVINO INT8|") or cells[0] == "OpenVINO INT8"
    )
    assert cells[2].startswith("2.0×") and cells[3:5] == ["4.00", "8.00"], "whatever the original took at other times"


def test_a_guarded_candidate_shows_band_share_and_both_sizes(all_results: dict[str, StudyResult]) -> None:
    result = all_results["guarded"]
    rows = {cells[0].split("|")[0]: cells for cells in texts(tables(trials_section(result))[0])}
    cells, held = rows["OpenVINO INT8, guarded"], result.winner.guard
    assert "of selection cases deferred" in cells[-1] and f"{held.deferred * 100:.1f}%" in cells[-1]
    assert "band 0.0" in cells[-1] and "epsilon 1.0%" in cells[-1]
    assert cells[6] == "11.5\u00a0MB|56.1\u00a0MB with the original"
    assert rows["OpenVINO INT8"][6] == "11.5\u00a0MB"
    assert cells[2].startswith(f"{result.winner.timings.effective:.1f}×"), "deferrals included"


def test_one_speed_up_in_card_and_last_run(all_results: dict[str, StudyResult]) -> None:
    result = all_results["guarded"]
    shown = cards(result)[0].figure
    rows = texts(tables(latency_section(result))[-1])
    assert next(cells[1] for cells in rows if "guarded" in cells[0]) == shown == f"{result.speedup:.1f}×"


def test_what_failed_is_not_drawn(all_results: dict[str, StudyResult]) -> None:
    assert "ONNX Runtime INT8, guarded" not in figure(front_section(all_results["guarded"])).label


def test_cards_by_task(all_results: dict[str, StudyResult]) -> None:
    def card(name: str) -> tuple[str, str, str]:
        last = cards(all_results[name])[3]
        return last.title, last.figure, last.detail

    assert card("regression") == ("Values moved", "6 of 3,000", "3 with a larger error, 3 with a smaller")
    assert card("unstated") == ("Values moved", "–", "no tolerance was given")
    assert card("segmentation") == ("Masks that lost Dice", "5 of 780", "more than 0.05 each")
    assert card("crowded")[2].endswith("between wrong classes")
    assert card("bare")[2] == "no case decided differently"
