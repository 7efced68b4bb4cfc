"""A study is not run on labels that speak of other classes than the outputs."""

from pathlib import Path

import numpy as np
import pytest

from primum.config import ClinicalPolicy
from primum.data.evaluation import EvaluationSet, Materialized
from primum.data.sources import ArraySource
from primum.data.split import Split
from primum.errors import TrialError
from primum.models.signature import Activation, Signature
from primum.study.judging import Judging
from primum.study.labelling import check_labels
from primum.task import Task

N = 60
ROWS, NONE = np.arange(N), np.arange(0)


def judging(labels, classes, task, masks: Path | None = None) -> Judging:
    ids = np.array([f"c{i}" for i in range(N)])
    cases = EvaluationSet(ArraySource(np.zeros((N, 2))), ROWS, np.asarray(labels), classes, ids, None, {}, task)
    data = Materialized(cases, Path("unread.npy"), tuple(f"{i:016x}" for i in range(N)), masks)
    return Judging(data, Split(NONE, ROWS, NONE, NONE), ClinicalPolicy(), ids)


def signature(task, classes, outputs, **more):
    return Signature(input_shape=(2,), outputs=outputs, task=task, classes=classes, **more)


def test_two_classes_are_told_how_a_single_output_is_named():
    one = signature(Task.BINARY, ("sick", "well"), 1, positive=0)
    logits = np.where(ROWS % 2, -3.0, 3.0).astype(np.float32)[:, None]
    assert check_labels(judging(ROWS % 2, ("sick", "well"), Task.BINARY), one, logits) == ()
    with pytest.raises(TrialError, match="it ranks 'sick' below 'well' .AUROC 0.000.: .*--positive-class well"):
        check_labels(judging(ROWS % 2, ("sick", "well"), Task.BINARY), one, -logits)


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.ORDINAL])
def test_two_of_three_outputs_exchanged(task):
    labels = ROWS % 3
    raw = 4 * np.eye(3, dtype=np.float32)[labels]
    three = signature(task, ("a", "b", "c"), 3, activation=Activation.SOFTMAX)
    assert check_labels(judging(labels, ("a", "b", "c"), task), three, raw) == ()
    with pytest.raises(TrialError, match="fits the labels far better .* --classes b,a,c"):
        check_labels(judging(labels, ("a", "b", "c"), task), three, raw[:, [1, 0, 2]])


def test_labels_in_another_order_than_the_outputs():
    labels = np.stack([ROWS % 2, ROWS % 3 == 0], 1).astype(np.int64)
    raw = (6.0 * labels - 3).astype(np.float32)
    two = signature(Task.MULTILABEL, ("cold", "flu"), 2)
    assert check_labels(judging(labels, ("cold", "flu"), Task.MULTILABEL), two, raw) == ()
    with pytest.raises(TrialError, match="--classes flu,cold"):
        check_labels(judging(labels, ("cold", "flu"), Task.MULTILABEL), two, raw[:, ::-1])
    turned = raw * [1, -1]
    with pytest.raises(TrialError, match="ranks cases with 'flu' below those without.*mend the labels"):
        check_labels(judging(labels, ("cold", "flu"), Task.MULTILABEL), two, turned.astype(np.float32))


def test_masks(tmp_path):
    truth = np.zeros((N, 8, 8), np.uint8)
    truth[:, 2:5, 2:5] = 1
    np.save(tmp_path / "masks.npy", truth)
    given = judging(np.zeros((N, 0)), ("background", "lesion"), Task.SEGMENTATION, tmp_path / "masks.npy")
    one = signature(Task.SEGMENTATION, ("background", "lesion"), 1, spatial=(8, 8))
    raw = (6.0 * truth - 3).astype(np.float32).reshape(N, -1)
    assert check_labels(given, one, raw) == ()
    with pytest.raises(TrialError, match="in their order, lesion, background.*numbers of the masks"):
        check_labels(given, one, -raw)
    (note,) = check_labels(given, one, np.full_like(raw, -3))
    assert "mean Dice of 'lesion' is 0.000 on the 60 cases" in note


def test_values_pass_with_a_note():
    labels = ROWS[:, None].astype(np.float64)
    one = signature(Task.REGRESSION, ("age",), 1, activation=Activation.IDENTITY)
    raw = labels.astype(np.float32)
    assert check_labels(judging(labels, ("age",), Task.REGRESSION), one, raw) == ()
    assert "correlation -1.00" in check_labels(judging(labels, ("age",), Task.REGRESSION), one, 60 - raw)[0]
