"""A network of repeated blocks at AGGRESSIVE: the search proposes a shallower student, which is built and judged."""

import blobs
import nets
from safetensors.torch import save_file
from studies import config

import primum
from primum.config import OptimizationLevel, ReductionConfig


def test_a_student_of_fewer_blocks_is_taught_and_judged(workshop, tmp_path, monkeypatch):
    # How well a network that was never trained does is not this test's matter.
    monkeypatch.setattr("primum.validation.fit.BACKWARDS", 0.0)
    save_file(nets.rows().state_dict(), tmp_path / "rows.safetensors")
    reduction = ReductionConfig(training_minutes=0.03, largest_ratio=0.1)
    delivery = primum.optimize(
        "nets:rows",
        workshop.few,
        tmp_path / "out",
        checkpoint=tmp_path / "rows.safetensors",
        patient_column="patient_id",
        preprocessing=workshop.few.parent / "preprocessing.yaml",
        train_data=blobs.make_manifest(tmp_path / "train", 60, seed=9),
        config=config(level=OptimizationLevel.AGGRESSIVE, reduction=reduction),
    )
    made = [t for t in delivery.result.trials if t.recipe.startswith("student(") and not t.recipe_data.get("seed")]
    assert made and made[0].ok and made[0].parity.passed, [(t.recipe, t.reason) for t in delivery.result.trials]
    exact = next(t for t in delivery.result.trials if t.recipe == "onnxruntime[fp32, threads=1]")
    assert made[0].size_bytes < 0.8 * exact.size_bytes
    assert any(note.startswith("student: left out 1 of 2 blocks") for note in made[0].notes), made[0].notes
