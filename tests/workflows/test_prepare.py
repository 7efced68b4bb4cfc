"""Parts of a study: a guard part where there is something to guard, and the parts that a study was begun with."""

import json

import clinics
import numpy as np
import pytest
import torch

from primum.config import ClinicalPolicy, OptimizationConfig, OptimizationLevel
from primum.data.options import DataOptions
from primum.data.preprocessing_any import read_preprocessing
from primum.data.split import split
from primum.models.reference import parse_model
from primum.study.store import Store
from primum.task import Task
from primum.workflows.examine import forward
from primum.workflows.optimize import describe_plan, notes, planned
from primum.workflows.prepare import fingerprint
from primum.workflows.request import OptimizeRequest

LEVEL = {"level": OptimizationLevel.MINIMAL, "threads": 1}


@pytest.fixture(params=["binary", "regression", "segmentation"])
def request_of(request, tmp_path):
    """A study of some hundred small cases, not begun."""
    task, options = Task(request.param), {"task": Task(request.param), "patient_column": "patient"}
    (tmp_path / "preprocessing.yaml").write_text(clinics.MASKED if task is Task.SEGMENTATION else clinics.TABLE)
    if task is Task.SEGMENTATION:
        data, model = clinics.masked_images(tmp_path / "scans", 120, seed=6), "bright_spots"
        options |= {"label_column": "mask", "classes": ("background", "lesion")}
    elif task is Task.REGRESSION:
        data, model = clinics.table(tmp_path / "cases.csv", 200, 5, label=clinics.value), "one_value"
    else:
        data, model = clinics.table(tmp_path / "cases.csv", 200, 5, label=clinics.finding(0)), "one_finding"
    return OptimizeRequest(
        model=parse_model(f"nets:{model}", None),
        data=data,
        out=tmp_path / "out",
        options=DataOptions(**options),
        preprocessing=read_preprocessing(tmp_path / "preprocessing.yaml"),
        config=OptimizationConfig(**LEVEL, policy=ClinicalPolicy()),
    )


def test_a_guard_part_is_kept_only_where_the_task_has_decisions_to_guard(request_of):
    found, guardable = planned(request_of), request_of.options.task is Task.BINARY
    parts, lines = {p.name: p for p in found.data.parts}, describe_plan(found)
    assert ("guard" in parts) == guardable == any(line.startswith("guard") for line in lines)
    assert parts["confirmation"].cases == len(found.judging.split.confirmation)
    assert sum(p.cases for p in parts.values()) == found.data.cases
    share = "40%" if guardable else "70%"
    assert share in next(line for line in lines if line.startswith("confirmation"))


def test_a_study_that_an_older_release_began_goes_on_with_its_parts_and_says_so(request_of):
    resolved, store = request_of.config.resolve(request_of.options.task), Store(request_of.out / "study")
    fresh = planned(request_of)
    inputs = fingerprint(fresh, resolved)
    store.keep("study", {name: value for name, value in inputs.items() if name != "parts"})
    found = planned(request_of)
    assert [p.name for p in found.data.parts] == ["calibration", "selection", "guard", "confirmation"]
    patients = found.judging.data.cases.patients
    assert found.judging.split.confirmation.tolist() == split(patients).confirmation.tolist()
    told = [line for line in notes(found) if "begun by an older release, which kept 30% of patients" in line]
    assert len(told) == (request_of.options.task is not Task.BINARY)
    assert store.claim(fingerprint(found, resolved)), "it is the same study"


def test_a_study_of_today_goes_on_with_its_own(request_of):
    resolved, store = request_of.config.resolve(request_of.options.task), Store(request_of.out / "study")
    fresh = planned(request_of)
    store.claim(fingerprint(fresh, resolved))
    again = planned(request_of)
    assert again.data.parts == fresh.data.parts and json.dumps(notes(again)) == json.dumps(notes(fresh))
    assert store.claim(fingerprint(again, resolved))


class Shifting(torch.nn.Module):
    """Changes its input in place."""

    def forward(self, x):
        return x.sub_(5.0)[:, :1]


def test_a_model_that_changes_its_inputs_leaves_the_cases_alone(tmp_path):
    few = np.ones((4, 3), np.float32)
    request = OptimizeRequest(model=parse_model(Shifting()), data=tmp_path, out=tmp_path)
    assert (forward(request, few) == -4).all() and (few == 1).all()
