"""Rows of answers against what the artifact's predictor gives, for every task."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.artifact.manifest import Guard, Manifest
from primum.artifact.predictor import Predictor
from primum.data.preprocessing import Preprocessing
from primum.models.signature import Activation, Signature
from primum.serving.executor.answers import Answers
from primum.task import Task
from primum.validation.leads import defers

NAMES = ("a", "b", "c", "d")
SHAPES = {
    Task.BINARY: (1, 2, Activation.SIGMOID, ()),
    Task.MULTICLASS: (4, 4, Activation.SOFTMAX, ()),
    Task.ORDINAL: (3, 3, Activation.SOFTMAX, ()),
    Task.MULTILABEL: (3, 3, Activation.SIGMOID, ()),
    Task.REGRESSION: (2, 2, Activation.IDENTITY, ()),
    Task.SEGMENTATION: (1, 2, Activation.SIGMOID, (3, 2)),
}


def manifest_of(task, band=None, outputs=None):
    count, classes, activation, spatial = SHAPES[task]
    outputs = outputs or count
    if outputs == 2 and task in (Task.BINARY, Task.SEGMENTATION):
        activation = Activation.SOFTMAX
    guard = None
    if band is not None:
        guard = Guard(
            band=band, epsilon=0.01, delta=None, by_class=False, strict=False, patients=9, deferred=0, reference={}
        )
    return Manifest(
        primum_version="0",
        created="now",
        signature=Signature(
            input_shape=(1,),
            outputs=outputs,
            task=task,
            classes=NAMES[:classes],
            activation=activation,
            spatial=spatial,
        ),
        threshold=0.4,
        target={},
        runtime_version="",
        precision_proven="fp32",
        provider="CPU",
        recipe="",
        parent_hash="",
        preprocessing=Preprocessing(),
        guard=guard,
    )


def raw_of(manifest, count, seed):
    signature = manifest.signature
    return (
        np.random.default_rng(seed)
        .normal(0, 2, (count, signature.outputs * int(np.prod(signature.spatial or 1))))
        .astype("f4")
    )


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(list(Task)), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([None, 2]))
def test_rows_hold_what_the_predictor_gives(task, count, seed, outputs):
    two = outputs if task in (Task.BINARY, Task.SEGMENTATION) else None
    manifest = manifest_of(task, outputs=two)
    raw = raw_of(manifest, count, seed)
    answers = Answers(manifest)
    rows = answers.rows(raw)
    assert rows.shape == (count, answers.width)
    named = answers.named(rows)
    wanted = manifest.signature.probabilities(raw)
    if task is Task.REGRESSION:
        assert list(named) == ["values"] and np.array_equal(named["values"], wanted)
        return
    assert np.array_equal(named["probabilities"], wanted)
    assert np.array_equal(named["decision"], Predictor(manifest, None).decide(wanted).astype(np.int64))
    assert answers.decisions(rows).shape == (count, named["decision"].size // count)
    for k in range(count):
        assert np.array_equal(answers.rows(raw[k : k + 1]), rows[k : k + 1])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Task.BINARY, Task.MULTICLASS, Task.MULTILABEL, Task.ORDINAL]),
    st.integers(0, 2**32 - 1),
    st.floats(0.01, 0.6),
)
def test_a_guarded_row_says_whether_the_original_is_asked(task, seed, band):
    manifest = manifest_of(task, band)
    raw = raw_of(manifest, 12, seed)
    raw[3] = np.nan
    answers = Answers(manifest)
    rows = answers.rows(raw)
    with np.errstate(invalid="ignore"):
        scores = manifest.signature.scores(raw)
    assert np.array_equal(answers.deferred(rows), defers(manifest.rule, scores, band))
    assert answers.deferred(rows)[3]


@pytest.mark.parametrize("task", list(Task))
def test_a_case_without_a_finite_answer_has_none(task):
    manifest = manifest_of(task)
    raw = raw_of(manifest, 4, 0)
    raw[2, -1] = np.nan
    rows = Answers(manifest).rows(raw)
    assert np.isnan(rows[2]).all() and np.isfinite(rows[[0, 1, 3]]).all()
