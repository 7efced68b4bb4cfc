"""Without a column of patients the distinct input is the unit: for the plan, the parts and the gate alike."""

import shutil

import numpy as np
import pytest
from studies import config

from primum.config import OptimizationLevel
from primum.data.options import DataOptions
from primum.data.preprocessing_any import read_preprocessing
from primum.models.reference import parse_model
from primum.workflows.optimize import describe_plan, notes, planned
from primum.workflows.request import OptimizeRequest


@pytest.fixture
def doubled(workshop, tmp_path):
    """A manifest with every image twice, under two names."""
    shutil.copytree(workshop.few.parent / "images", tmp_path / "images")
    header, *rows = workshop.few.read_text().splitlines()
    for row in rows:
        name = row.split(",")[0]
        shutil.copy(tmp_path / name, tmp_path / name.replace(".png", "-again.png"))
    again = [row.replace(".png", "-again.png", 1) for row in rows]
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows, *again]) + "\n")
    return tmp_path / "manifest.csv", len(rows)


def prepared_from(workshop, manifest, out, **more):
    return planned(
        OptimizeRequest(
            model=parse_model("nets:build", workshop.weights),
            data=manifest,
            out=out,
            options=DataOptions(**more),
            preprocessing=read_preprocessing(workshop.few.parent / "preprocessing.yaml"),
            config=config(level=OptimizationLevel.MINIMAL),
        )
    )


def test_plan_parts_and_gate_count_a_copy_once(workshop, doubled, tmp_path):
    manifest, single = doubled
    found = prepared_from(workshop, manifest, tmp_path / "out")
    split, signature = found.judging.split, found.original.signature
    parts = {part.name: part for part in found.data.parts}
    for name, rows in split.parts().items():
        units = found.judging.cases(rows, signature).units
        assert parts[name].cases == len(rows) == 2 * parts[name].patients == 2 * len(np.unique(units)), name
    plan = found.power[""]
    assert plan.sensitivity.n + plan.specificity.n == parts["confirmation"].patients
    assert (found.data.cases, found.data.patients, found.data.copies) == (2 * single, single, single)
    assert found.data.unit == "distinct case (no patient named)"
    assert any(f"{single} of {2 * single} cases repeat the input" in note for note in notes(found))
    assert "patients" not in describe_plan(found)[0] and "confirmation patients" not in " ".join(describe_plan(found))


def test_named_patients_stay_the_unit(workshop, tmp_path):
    found = prepared_from(workshop, workshop.few, tmp_path / "out", patient_column="patient_id")
    assert (found.data.unit, found.data.copies) == ("patient", 0)
    assert "patients" in describe_plan(found)[0]
