"""Runtimes that have nothing but the lossless original, or nothing at all."""

import json

import pytest
from deliveries import INT8, asked, quicken, without_evidence
from studies import run

from primum.errors import InputError, TrialError
from primum.runtimes.base import Target, get_runtime
from primum.study.recipe import Recipe
from primum.techniques.registry import make


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)
    without_evidence(monkeypatch)


def test_a_runtime_that_has_only_its_lossless_form_is_delivered_in_it_and_says_why(workshop, tmp_path):
    harmful = Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": 2}),))
    result = run(workshop, tmp_path / "out", config=asked(), recipes=(INT8[0], harmful)).result
    vino, ort = result.claims
    assert vino.accepted and not vino.winner.lossless
    assert ort.winner.lossless and not ort.accepted and ort.winner.runtime == "onnxruntime"
    assert "was not accepted (INFERIOR)" in ort.reasons[0] and ort.verdict_recipe == str(harmful)
    assert not ort.confirmations and vino.confirmations
    manifest = json.loads((tmp_path / "out" / "artifacts" / "onnxruntime" / "manifest.json").read_text())
    assert manifest["verdict"] == "NON_INFERIOR" and not manifest["unproven"]
    text = " ".join((tmp_path / "out" / "report.txt").read_text().split())
    assert "ONNX Runtime has the original, lossless" in text


def test_a_runtime_that_cannot_run_is_reported_and_none_at_all_is_an_error(workshop, tmp_path, monkeypatch):
    def broken(*args: object) -> None:
        raise TrialError("its compiler died")

    monkeypatch.setattr(type(get_runtime("openvino")), "build", broken)
    made = run(workshop, tmp_path / "one", config=asked(), recipes=INT8)
    (absent,) = made.result.not_delivered
    assert absent.runtime == "openvino" and "its compiler died" in absent.reason
    assert made.result.shared_by == 2 and made.result.policy.confidence == pytest.approx(0.975)
    assert made.summary()["not_delivered"] == [{"runtime": "openvino", "reason": absent.reason}]
    assert list(made.artifacts) == ["onnxruntime"] and not (tmp_path / "one" / "artifacts" / "openvino").exists()
    assert "No artifact for OpenVINO" in made.report.read_text()
    monkeypatch.setattr(type(get_runtime("onnxruntime")), "build", broken)
    with pytest.raises(InputError, match=r"for openvino: .*died.*; .*for onnxruntime: .*died"):
        run(workshop, tmp_path / "none", config=asked())
