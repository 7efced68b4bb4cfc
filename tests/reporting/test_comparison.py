"""Techniques beside one another: what is measured is shown, compositions are held against their parts, seeds told."""

import dataclasses

import pytest

from primum.reporting.blocks import Paragraph
from primum.reporting.comparison import comparison_section
from primum.study.comparison import compared, composition, repeated
from primum.study.result import StudyResult
from primum.study.trial import Status

from .conftest import trial
from .reading import tables, texts

PRUNED = [{"prune_channels": {"ratio": 0.5}}, {"distill": {}}]


def with_techniques(found, techniques, seed=0, **more):
    data = {**found.recipe_data, "techniques": techniques, **({"seed": seed} if seed else {})}
    recipe = f"prune_channels(ratio=0.5) -> distill -> {found.recipe}" + (f", seed {seed}" if seed else "")
    return dataclasses.replace(
        found, key=f"{found.key}-{seed}-{len(techniques)}", recipe=recipe, recipe_data=data, **more
    )


@pytest.fixture
def result(all_results: dict[str, StudyResult]) -> StudyResult:
    base = all_results["proven"]
    verdict = base.winner.verdict
    floats = with_techniques(trial("openvino", "fp32", 8.5, 11.2, verdict), PRUNED, build_s=600.0)
    integers = with_techniques(trial("openvino", "int8", 20.0, 3.0, verdict), PRUNED, build_s=640.0)
    seeds = [with_techniques(integers, PRUNED, seed) for seed in (1, 2)]
    seeds[1] = dataclasses.replace(seeds[1], status=Status.FAILED, verdict=None, timings=None)
    final = {**base.final, integers.key: integers.timings}
    return dataclasses.replace(base, trials=(*base.trials, floats, integers, *seeds), winner=integers, final=final)


def test_every_trial_that_ran_has_a_row_and_the_original_is_first(result):
    rows = compared(result.baseline, result.trials, result.final)
    ran = [t for t in result.trials if t.ok and not t.recipe_data.get("seed")]
    assert len(rows) == len(ran) + 1 and rows[0].key == result.baseline.key and rows[0].speed == pytest.approx(1.0)
    assert [len(r.kinds) for r in rows] == sorted(len(r.kinds) for r in rows), "alone first, then composed"
    last = rows[-1]
    assert (
        last.kinds == ("prune_channels", "distill", "int8") and last.trains and last.minutes == pytest.approx(640 / 60)
    )
    assert last.size_ratio == pytest.approx(result.baseline.size_bytes / 3e6)
    assert not any(r.trains for r in rows[:-2])


def test_the_tightest_endpoint_is_the_one_nearest_to_its_margin(result):
    row = next(r for r in compared(result.baseline, result.trials, result.final) if r.outcome == "INFERIOR")
    verdict = next(t.verdict for t in result.trials if t.key == row.key)
    slack = {c.name: (c.lower + c.margin) / c.margin for c in verdict.components}
    assert row.change[0] == min(slack, key=slack.get) and row.change[2] < row.change[1] < 0


def test_a_composition_is_held_against_the_product_of_its_parts(result):
    found = composition(result.baseline, result.trials, result.winner)
    # 3.4 for the runtime, 8.5/3.4 for fewer channels, 9.21/3.4 for INT8.
    assert found.product == pytest.approx(8.5 * 9.21 / 3.4) and found.measured == 20.0
    without = [t for t in result.trials if t.key != "openvino-int8"]
    assert composition(result.baseline, without, result.winner).product != found.product, "a part was not tried alone"
    plain = next(t for t in result.trials if t.key == "openvino-int8")
    assert composition(result.baseline, result.trials, plain) is None, "one part is no composition"


def test_trainings_with_other_seeds_are_told_together(result):
    (found,) = repeated(result.trials)
    assert found.seeds == (0, 1) and found.failed == 1 and len(found.outcomes) == len(found.flips) == 2


def test_the_page_says_what_was_measured(result):
    section = comparison_section(result)
    (table,) = tables(section)
    rows = texts(table)
    names = [cells[0] for cells in rows]
    assert any(name.startswith("channels removed → distilled → INT8") and "delivered" in name for name in names)
    assert "not taken from the literature" in table.caption
    told = [block.text for block in section.blocks if isinstance(block, Paragraph)]
    assert any("product of its parts alone would be 23.0×" in text and "87%" in text for text in told), told
    assert any("seed 1" in text and "1 training failed" in text for text in told)


def test_rows_of_one_technique_and_runtime_are_told_apart(result):
    plain = next(t for t in result.trials if t.key == "openvino-int8")
    told = {"fixed_batch": True, "exclude": ["stem.0", "head"]}
    target = {**plain.recipe_data["target"], **told}
    mixed = dataclasses.replace(plain, key="mixed", recipe_data={**plain.recipe_data, "target": target})
    (table,) = tables(comparison_section(dataclasses.replace(result, trials=(*result.trials, mixed))))
    runtimes = [cells[1] for cells in texts(table) if cells[0].startswith("INT8")]
    assert sum("2 modules in FP32, fixed batch" in cell for cell in runtimes) == 1 < len(runtimes)
