"""Mixed precision, whole: where one layer ruins INT8, it alone keeps FP32 and the rest is proven."""

from types import SimpleNamespace

import pytest
import torch
from nets import build
from safetensors.torch import load_file, save_file
from studies import config, run

import primum

FRAGILE = "features.6"
SPREAD = 2000.0


@pytest.fixture(scope="module")
def fragile(workshop: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory):
    """The same function, written so that one channel's range leaves no level to the others."""
    state = load_file(workshop.weights)
    for name in ("features.4.weight", "features.4.bias"):
        state[name][0] *= SPREAD
    state["features.6.weight"][:, 0] /= SPREAD
    before, after = build(), build()
    before.load_state_dict(load_file(workshop.weights))
    after.load_state_dict(state)
    x = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(after(x), before(x), rtol=1e-3, atol=1e-3)
    path = tmp_path_factory.mktemp("fragile") / "weights.safetensors"
    save_file(state, path)
    return SimpleNamespace(**{**vars(workshop), "weights": path})


@pytest.mark.timeout(900)
def test_the_one_layer_that_ruins_int8_keeps_floats(fragile, tmp_path, monkeypatch):
    monkeypatch.setattr("primum.study.planner.SMALL_MS", 0.0)
    monkeypatch.setattr("primum.study.select._GAIN", 0.0)
    result = run(fragile, tmp_path / "out", config=config(runtimes=("onnxruntime",))).result
    whole = next(t for t in result.trials if t.recipe == "onnxruntime[int8, threads=1]")
    mixed = [t for t in result.trials if FRAGILE in t.recipe_data["target"].get("exclude", ())]
    assert not whole.ok or whole.outcome == "INFERIOR" or whole.verdict.agreement.flips > 0
    assert mixed, [t.recipe for t in result.trials]
    saved = [t for t in mixed if t.ok]
    assert saved and min(t.verdict.agreement.flips for t in saved) <= 12
    assert any("take away" in t.why or "worst cases" in t.why for t in saved)
    page = (tmp_path / "out" / "report.html").read_text()
    assert FRAGILE in page
    with primum.load(tmp_path / "out" / "artifact") as predictor:
        assert predictor is not None
