"""torch's own attention layers in a study: fused for ONNX Runtime by the search itself, and exact all the same."""

import nets
from safetensors.torch import save_file
from studies import config

import primum
from primum.config import OptimizationLevel


def test_the_fused_form_is_proposed_built_and_exact(workshop, tmp_path, monkeypatch):
    # What leads is not this test's matter, nor how well a network that was never trained does.
    monkeypatch.setattr("primum.study.variants._LEADS", 0.0)
    monkeypatch.setattr("primum.validation.fit.BACKWARDS", 0.0)
    save_file(nets.rows().state_dict(), tmp_path / "rows.safetensors")
    delivery = primum.optimize(
        "nets:rows",
        workshop.few,
        tmp_path / "out",
        checkpoint=tmp_path / "rows.safetensors",
        patient_column="patient_id",
        preprocessing=workshop.few.parent / "preprocessing.yaml",
        config=config(level=OptimizationLevel.MINIMAL),
    )
    trial = next(t for t in delivery.result.trials if "fused_attention" in t.recipe)
    assert trial.ok and trial.lossless and trial.parity.relative < 1e-3, trial.reason
    assert any(note.startswith("fused: ") and "Attention" in note for note in trial.notes), trial.notes
