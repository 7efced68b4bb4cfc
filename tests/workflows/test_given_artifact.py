"""Masks that hold no structure, and names of classes, against an artifact that is there."""

import clinics
import inline
import numpy as np
import pytest
from PIL import Image

import primum
from primum.config import OptimizationConfig, OptimizationLevel
from primum.data.options import DataOptions
from primum.errors import InputError
from primum.models.reference import parse_model
from primum.task import Task
from primum.workflows.validate import validate
from primum.workflows.validator import QuantizationValidator

CONFIG = OptimizationConfig(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",), threads=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    inline.patch(monkeypatch)


def test_masks_of_background_alone_are_refused(tmp_path):
    data = clinics.masked_images(tmp_path / "scans", 60, seed=6)
    (tmp_path / "preprocessing.yaml").write_text(clinics.MASKED)
    delivery = primum.optimize(
        "nets:bright_spots", data, tmp_path / "out", config=CONFIG, patient_column="patient", task="segmentation",
        label_column="mask", classes=("background", "lesion"), preprocessing=tmp_path / "preprocessing.yaml",
    )  # fmt: skip
    options = DataOptions(label_column="mask", patient_column="patient", task=Task.SEGMENTATION)
    new = clinics.masked_images(tmp_path / "new", 20, seed=7)
    model = parse_model("nets:bright_spots", None)
    masks = sorted((tmp_path / "new" / "images").glob("*-mask.png"))
    for mask in masks[1:]:
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(mask)
    assert validate(delivery.artifact, model, new, options).verdict.n == 20, "one structure is something to lose"
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(masks[0])
    with pytest.raises(InputError, match="all 20 are background"):
        validate(delivery.artifact, model, new, options)


def test_an_artifact_knows_the_names_of_its_classes(tmp_path):
    data = clinics.table(tmp_path / "cases.csv", 200, 1, label=clinics.grade)
    (tmp_path / "preprocessing.yaml").write_text(clinics.TABLE)
    delivery = primum.optimize(
        "nets:four_grades", data, tmp_path / "out", config=CONFIG, patient_column="patient", task="ordinal",
        preprocessing=tmp_path / "preprocessing.yaml",
    )  # fmt: skip
    artifact = delivery.artifact
    with primum.load(artifact) as predictor:
        signature = predictor.manifest.signature
    inputs = np.random.default_rng(0).normal(size=(30, *signature.input_shape)).astype(np.float32)
    names = np.array(signature.classes)[np.arange(30) % len(signature.classes)]
    judge = QuantizationValidator().validate_quantization
    found = judge(artifact, artifact, data=(inputs, names)).verdict
    index = judge(artifact, artifact, data=(inputs, np.arange(30) % len(signature.classes))).verdict
    assert found.class_counts == index.class_counts and found.classes == signature.classes
    assert found.components == index.components
    with pytest.raises(InputError, match="in this order"):
        judge(artifact, artifact, data=(inputs, names), classes=signature.classes[::-1])
