import dataclasses
import json
from math import inf, nan

import numpy as np
import pytest

from primum.reporting.blocks import Bullets, Figure, Paragraph, Section, Table
from primum.reporting.data import plain
from primum.reporting.html import to_html
from primum.reporting.page import compose
from primum.reporting.text import WIDTH, to_text
from primum.reporting.why import why_section
from primum.study.changes import Skipped
from primum.study.layers import LayerError, LayerReport
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.decisions import Rule
from primum.validation.flip_causes import FlipCauses, flip_causes

from .conftest import HOSTILE, levels, scores
from .test_render import Page


def layer(name: str, mean: float, **more: object) -> LayerError:
    fields = {"max_change": mean * 3, "rms_error": mean * 4, "flips_alone": 0, "other_flips": 1, "cured": None}
    return LayerError(name, "Conv", 36_864, mean, **{**fields, **more})


def report(recipe: str = "onnxruntime[int8]", **changes: object) -> LayerReport:
    rest = tuple(layer(f"layer{i}.0.conv1", 0.002 / i) for i in range(1, 18))
    worst = (layer("layer1.0.conv2", 0.021, flips_alone=5, cured=6), layer("stem.0", 0.008, flips_alone=2, cured=1))
    fields = {
        "layers": worst + rest,
        "method": "INT8 simulated in ONNX Runtime, one layer at a time in the original network",
        "cases": 64,
        "flips": 8,
        "calibration_cases": 32,
        "together": layer("all layers together", 0.024, flips_alone=7),
        "skipped": (Skipped("encoder.lstm", "recurrent and attention operators are not simulated"),),
    }
    return LayerReport(recipe, **{**fields, **changes})


def causes(flips: int = 24, independent: bool = True) -> FlipCauses:
    made = scores(900, flips, seed=5, loss=0.7)
    patients = np.array([f"p{i if independent else i % 300}" for i in range(900)])
    cases = Cases(made.labels, patients, levels(900), np.array([f"case-{i:04d}" for i in range(900)]))
    return flip_causes(cases, made.reference, made.candidate, Rule(Task.BINARY))


def words(section: Section) -> str:
    """Everything the section says, figures' labels included."""
    found = []
    for block in section.blocks:
        if isinstance(block, Table):
            found += [block.caption, *(c.title for c in block.columns), *(x.text for r in block.rows for x in r)]
        elif isinstance(block, Bullets):
            found += block.items
        elif isinstance(block, Figure):
            found += [block.label, block.caption]
        else:
            found.append(block.text)
    return "\n".join(found)


def test_the_worst_layer_is_named_with_what_leaving_it_would_undo() -> None:
    said = words(why_section(report(), None))
    undone = "Left as it was in the original, layer1.0.conv2 alone would undo 6."
    assert f"All layers together reproduce 7 of the 8 changed decisions. {undone}" in said
    assert said.index("layer1.0.conv2") < said.index("stem.0")
    assert "The 15 most harmful of 19 layers" in said
    assert "Not measured (recurrent and attention operators are not simulated): encoder.lstm" in said
    assert "Which patients was not looked into" in said


def test_a_simulation_that_misses_the_cause_says_so() -> None:
    weak = report(together=layer("all layers together", 0.01, flips_alone=2))
    assert "most of the cause lies in what this simulation leaves out" in words(why_section(weak, None))
    quiet = report(flips=0, together=layer("all layers together", 0.01))
    assert "changed no decision of these cases" in words(why_section(quiet, None))


def test_a_report_without_layers_gives_its_reason() -> None:
    section = why_section(LayerReport("openvino[fp32]", reason="only the runtime differs"), causes())
    assert "No layer can be named: only the runtime differs." in words(section)
    assert [b.name for b in section.blocks if isinstance(b, Figure)] == ["why-distance"]


def test_patients_by_distance_and_by_group() -> None:
    found = causes()
    said = words(why_section(None, found))
    assert f"The decision changed on {found.flips} of 900 cases." in said
    assert "nearest 5%" in said and "50% to 100%" in said
    assert "(true class): positive" in said and "sex: F" in said
    assert f"farthest first: {found.far[0]}" in said and "too sharp" not in said
    assert "Fisher's exact test" in said and "no part of the verdict" in said
    assert found.near_misses[0].case_id in said
    assert "too sharp" in words(why_section(None, causes(independent=False)))


def test_several_flips_of_one_patient() -> None:
    found = causes(120, independent=False)
    assert found.repeated
    said = words(why_section(None, found))
    assert f"One patient, {len(found.repeated[0].case_ids)} of 3 cases changed: {found.repeated[0].case_ids[0]}" in said


def test_no_flips_no_groups() -> None:
    section = why_section(None, causes(0))
    said = words(section)
    assert "No decision changed on 900 cases" in said and "Nearly changed" in said
    assert "Changed decisions by group" not in said and not any(isinstance(b, Figure) for b in section.blocks)


def test_nothing_looked_into() -> None:
    texts = [b.text for b in why_section(None, None).blocks if isinstance(b, Paragraph)]
    assert len(texts) == 2 and all("was not looked into" in t for t in texts)


@pytest.mark.parametrize("kind", ["usual", "hostile"])
def test_it_renders_as_html_and_as_text(results, kind) -> None:
    found, layers = causes(), report()
    if kind == "hostile":
        bad = layer(HOSTILE * 3, nan, flips_alone=3)
        layers = report(layers=(bad,), recipe=HOSTILE, method=HOSTILE, skipped=(Skipped(HOSTILE, HOSTILE),) * 30)
        odd = dataclasses.replace(found.levels[0], column=HOSTILE, value=HOSTILE, relative_risk=inf, p_value=nan)
        found = dataclasses.replace(found, levels=(odd,) * 40, far=(HOSTILE,) * 60, nearest_share=nan)
    page = dataclasses.replace(compose(results["proven"]), sections=(why_section(layers, found),))
    html, text = to_html(page).decode(), to_text(page).decode()
    parsed = Page(html)
    assert parsed.count("svg") == 2 and parsed.count("script") == 0 and "\x1b" not in html + text
    ids = [attributes["id"] for _, attributes in parsed.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "nan" not in text.lower().split() and "inf" not in text.lower().split()
    assert ("only here" in text) == (kind == "hostile") == ("gives no finite score" in html)


def test_it_becomes_plain_data() -> None:
    data = json.loads(json.dumps(plain({"layers": report(), "cases": causes()})))
    assert data["layers"]["layers"][0]["cured"] == 6 and data["cases"]["bins"][0]["n"] == 45
