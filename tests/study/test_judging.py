"""What a judgement is made with, as one digest: the ledger tells a second judgement by other labels from the first."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from primum.data.evaluation import EvaluationSet, Materialized
from primum.data.sources import ArraySource
from primum.models.signature import Signature
from primum.study.judging import judged_cases, judgement_digest

N = 8
ROWS = np.arange(N)


@pytest.fixture
def data() -> Materialized:
    cases = EvaluationSet(
        source=ArraySource(np.zeros((N, 2))),
        index=ROWS,
        labels=ROWS % 2,
        classes=("no", "yes"),
        case_ids=np.array([f"c{i}" for i in range(N)]),
        patients=np.array([f"p{i // 2}" for i in range(N)]),
        groups={"sex": np.array(["F", "M"] * (N // 2)), "site": np.array(["A"] * N)},
    )
    return Materialized(cases, Path("unread.npy"), tuple(f"{i:016x}" for i in range(N)))


def changed(data: Materialized, **fields: object) -> str:
    return judgement_digest(replace(data, cases=replace(data.cases, **fields)), ROWS)


def test_other_labels_groups_or_patients_make_another_judgement(data):
    first = judgement_digest(data, ROWS)
    labels = data.cases.labels.copy()
    labels[0] = 1 - labels[0]
    others = [
        changed(data, labels=labels),
        changed(data, classes=("yes", "no")),
        changed(data, groups={"sex": data.cases.groups["sex"]}),
        changed(data, groups={**data.cases.groups, "site": np.array(["B"] + ["A"] * (N - 1))}),
        changed(data, groups={"sex": data.cases.groups["site"], "site": data.cases.groups["sex"]}),
        changed(data, patients=None),
        changed(data, patients=np.array(["p0"] * N)),
        judgement_digest(data, ROWS[1:]),
    ]
    assert len({first, *others}) == 1 + len(others)
    regrouped = changed(data, patients=np.array([f"p{i % 4}" for i in range(N)]))
    assert regrouped != first, "as many patients, with other cases"


def test_order_and_names_of_patients_make_none(data):
    first = judgement_digest(data, ROWS)
    turned = replace(data, cases=data.cases.take(ROWS[::-1]), digests=data.digests[::-1])
    assert judgement_digest(turned, ROWS) == first == judgement_digest(data, ROWS[::-1])
    assert changed(data, patients=np.array([f"renamed {i // 2}" for i in range(N)])) == first
    assert changed(data, groups=dict(reversed(data.cases.groups.items()))) == first
    assert changed(data, case_ids=data.cases.case_ids[::-1]) == first


def test_masks_are_labels(data, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((N, 2, 2), np.uint8))
    other = np.zeros((N, 2, 2), np.uint8)
    other[3, 0, 1] = 1
    np.save(tmp_path / "b.npy", other)
    one, two = (judgement_digest(replace(data, mask_path=tmp_path / f"{name}.npy"), ROWS) for name in "ab")
    assert len({judgement_digest(data, ROWS), one, two}) == 3


@pytest.mark.parametrize("positive", [0, 1])
def test_of_two_classes_the_names_go_with_the_labels(data, positive):
    """Label 1 is the positive class, whichever of the two names that is."""
    signature = Signature(input_shape=(2,), outputs=1, classes=("no", "yes"), positive=positive)
    cases = judged_cases(data.cases, np.array(data.digests), data.cases.case_ids, signature)
    assert [cases.classes[k] for k in cases.labels] == [("no", "yes")[k] for k in data.cases.labels]
