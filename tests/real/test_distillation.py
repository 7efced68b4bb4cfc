"""A half-width student of the chest X-ray example learns from its teacher in a few minutes (make test-real)."""

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from primum.models.checkpoint import load_state_dict
from primum.models.signature import Activation, Signature
from primum.techniques.context import Context, TrainingData
from primum.techniques.distillation import Distill
from primum.techniques.registry import apply_all
from primum.techniques.students import Student

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "chest_xray"
DATA = Path(os.environ.get("PRIMUM_DATA") or "no-data") / "cxr-pneumonia-224" / "dev"
MINUTES = 6

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not DATA.is_dir(), reason="PRIMUM_DATA names no folder with cxr-pneumonia-224"),
]


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield importlib.import_module("train")
    finally:
        sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def teacher(example, xray):
    network = example.build().eval()
    network.load_state_dict(load_state_dict(xray / "weights.safetensors"))
    return network


def test_a_half_width_student_keeps_what_its_teacher_sees(example, teacher, tmp_path):
    pytest.importorskip("torch_pruning")
    fitting, stopping, judging = example.split_rows(example.read_rows(DATA))
    # A third of the images judges well enough what is asserted here, in a third of the time.
    rows, judging = fitting + stopping, judging[::3]
    data = TrainingData(
        example.read_images(DATA / "train.zip", rows).numpy(),
        example.read_labels(rows).numpy().astype(np.int64),
        np.array([row["patient_id"] for row in rows]),
    )
    unseen, truth = example.read_images(DATA / "train.zip", judging), example.read_labels(judging)
    assert not {row["patient_id"] for row in judging} & set(data.units)
    signature = Signature(
        input_shape=data.inputs.shape[1:], outputs=1, classes=("normal", "pneumonia"), activation=Activation.SIGMOID
    )
    context = Context(seed=0, signature=signature, train=data, teacher=teacher, work=tmp_path)
    thin = apply_all(teacher, (Student(width=0.5),), context)
    taught = apply_all(thin, (Distill(epochs=12, max_minutes=MINUTES),), context)
    logits = {
        name: example.logits_of(model, unseen)
        for name, model in (("teacher", teacher), ("student before", thin), ("student after", taught))
    }
    found = {name: example.judge(truth, z) for name, z in logits.items()}
    agree = float(((logits["teacher"] > 0) == (logits["student after"] > 0)).float().mean())
    print(*context.notes, *found.items(), f"decisions alike: {agree:.4f}", sep="\n")
    sizes = [sum(p.numel() for p in m.parameters()) for m in (teacher, taught)]
    assert sizes[0] / sizes[1] > 3.5
    assert found["student after"]["auroc"] > found["teacher"]["auroc"] - 0.01
    assert found["student after"]["auroc"] > found["student before"]["auroc"] + 0.01
    assert agree > 0.95 and torch.isfinite(logits["student after"]).all()
