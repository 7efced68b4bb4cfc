"""The coverage simulation: that it runs, says what exceeds its limit, and stops where it is not primum's rule."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def page(monkeypatch):
    """The script as a module, under a name that shadows nothing."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("coverage_page", BENCHMARKS / "coverage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cell(page, section, **wanted):
    """The first cell of a section with these settings."""
    return next(
        c for c in page.every_cell() if c.section == section and all(c.setting[k] == v for k, v in wanted.items())
    )


@pytest.mark.slow
def test_every_section_runs(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "coverage.py"), "--runs", "200", "--out", str(tmp_path / "page.md")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    text = (tmp_path / "page.md").read_text()
    assert text.count("\n## ") == 9
    assert "nan" not in text


def test_a_cell_repeats_and_minds_no_other(page):
    one = cell(page, "tango", cases=500, prevalence=0.5)
    assert one.run(1, 300) == one.run(1, 300) != one.run(2, 300)


def test_what_exceeds_is_told_and_fails(page, tmp_path, monkeypatch):
    kept = cell(page, "tango", cases=2000, prevalence=0.5, margin=0.05)
    strict = page.Cell(kept.section, kept.simulate, kept.setting, limit=0.001)
    monkeypatch.setattr(page, "every_cell", lambda: [kept, strict])
    out = tmp_path / "page.md"
    assert page.main(["--runs", "2000", "--out", str(out)]) == 1
    text = out.read_text()
    assert "1 above it.**" in text
    assert "- ABOVE: tango" in text
    # Both rows stay.
    assert text.count("| 2000 | 0.5 |") == 2
    monkeypatch.setattr(page, "every_cell", lambda: [kept])
    assert page.main(["--runs", "2000", "--out", str(out)]) == 0


def test_verdicts(page):
    at_most = page.Cell("tango", None, {}, 0.03)
    equals = page.Cell("power", None, {}, kind=page.Kind.EQUALS)
    assert page.verdict(at_most, page.Result(0.03, 0.001)) == "within"
    assert page.verdict(at_most, page.Result(0.032, 0.001)) == "above, within Monte Carlo error"
    assert page.verdict(at_most, page.Result(0.034, 0.001)) == "ABOVE"
    assert page.verdict(equals, page.Result(0.8, 0.001, limit=0.804)) == "OFF"
    assert page.verdict(equals, page.Result(0.8, 0.001, limit=0.798)) == "within"


@pytest.mark.parametrize(
    ("section", "module", "name", "wrong"),
    [
        ("tango", "rates", "Z", 1.5),
        ("power", "rates", "Z", 1.5),
        ("auroc", "auroc", "Z", 1.9),
        ("gate", "gate", "passes", lambda n, lost, gained, margin: lost - gained > 0),
        ("guard", "guard", "rank", lambda n, epsilon, delta: n or None),
    ],
)
def test_a_rule_that_is_not_primums_stops_the_run(page, monkeypatch, section, module, name, wrong):
    one = cell(page, section)
    one.run(0, 40)
    monkeypatch.setattr(sys.modules[f"simulation.{module}"], name, wrong)
    with pytest.raises(sys.modules["simulation.cell"].Disagreement):
        one.run(0, 40)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8])
def test_outcomes_of_one_patient_are_correlated_as_said(page, correlation):
    correlated = sys.modules["simulation.rates"].correlated
    lost = correlated(np.random.default_rng(0), 2000, np.repeat(np.arange(50), 2), correlation) < 0.1
    assert lost.mean() == pytest.approx(0.1, abs=0.003)
    assert np.corrcoef(lost[:, ::2].ravel(), lost[:, 1::2].ravel())[0, 1] == pytest.approx(correlation, abs=0.015)
