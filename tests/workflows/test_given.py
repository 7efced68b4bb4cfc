"""What a caller of the validator hands in wrongly is told by name, before a model is run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.errors import InputError
from primum.task import Task
from primum.workflows.given import as_numbers, infer_task, read_given
from primum.workflows.validator import QuantizationValidator

N = 40
INPUTS = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
SICK = (INPUTS.sum(axis=1) > 0).astype(int)
WORDS = np.where(SICK, "sick", "well")
MASKS = np.zeros((N, 8, 8), int)


def model(batch):
    total = batch.sum(axis=1)
    return np.stack([-total, total], axis=1)


def masker(batch):
    """Calls the upper left corner the structure."""
    out = np.zeros((len(batch), 2, 8, 8), np.float32)
    out[:, 0] = 3
    out[:, 1, :4, :4] = 4
    return out


def never(batch):
    raise AssertionError("a model was run on data that are wrong")


def validate(data, answer=model, **more):
    return QuantizationValidator().validate_quantization(answer, answer, data=data, **more)


def with_gap(values, gap):
    return [gap, *list(values)[1:]]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ((INPUTS[:0], SICK[:0]), "there are no cases"),
        ((INPUTS, SICK[:-1]), "40 inputs and 39 labels"),
        ((INPUTS, 1), "40 inputs and a single value"),
        ((INPUTS, SICK, np.arange(39)), "patients must have one value for each of the 40 cases"),
        ((INPUTS, SICK, np.zeros((N, 2))), "patients must have one value"),
        ((INPUTS, SICK, None, {"name": [f"Doe {i}" for i in range(40)]}), "names cases or patients rather than groups"),
        ((INPUTS, SICK, None, {"sex": ["f"] * 39}), "group column 'sex' must have one value for each of the 40"),
        ((INPUTS, SICK, None, ["f"] * N), "groups must be a mapping"),
        ((INPUTS, SICK, None, np.full((N, 1), "f")), "groups must be a mapping"),
        ({"inputs": INPUTS, "labels": SICK, "case_ids": ["a"]}, "case ids must have one value"),
        ({"inputs": INPUTS, "labels": SICK, 3: 4}, r"not \['3'\]"),
        ((INPUTS, with_gap(SICK.astype(float), np.nan)), "1 of 40 cases have no label .* first at position 0"),
        ((INPUTS, with_gap(SICK, None)), "1 of 40 cases have no label"),
        ((INPUTS, with_gap(WORDS, None)), "1 of 40 cases have no label"),
        ((INPUTS, with_gap(WORDS, " ")), "1 of 40 cases have no label"),
        ((INPUTS, with_gap(INPUTS[:, 0], np.inf)), "1 of 40 cases have no label"),
        ((INPUTS, np.where(np.arange(2 * N).reshape(N, 2) == 5, np.nan, 1.0)), "first at position 2.*is -1"),
        ((INPUTS, WORDS), "labels are text .2 different names.: name the classes"),
        ((INPUTS, SICK.astype(str)), "labels are text .2 different names.: name the classes"),
        ((INPUTS, np.stack([WORDS, WORDS], 1)), "must be one a case"),
        ((INPUTS, {"a": 1}), "40 inputs and a single value"),
        ((INPUTS[:2], [[1, 2], [3]]), "labels are no array"),
        (([[1, 2], [3]], [0, 1]), "inputs are no array"),
        ((None, SICK), "inputs must"),
        ((WORDS[:, None], SICK), "inputs must be numbers"),
        ((np.arange(N), SICK), r"inputs must have shape \(N, \*shape\)"),
        ((INPUTS, SICK.astype(complex)), "labels must be numbers"),
        ((INPUTS, 2 * SICK - 1), "labels are -1 and 1: of two classes they are 0 and 1"),
        ((INPUTS, MASKS.astype(str)), "labels are text of shape"),
        ((INPUTS, MASKS), "no structure: all 40 are background"),
        ((INPUTS, MASKS.astype(float)), "no structure"),
    ],
)
def test_wrong_data_are_refused_by_name_before_a_model_is_run(data, why):
    with pytest.raises(InputError, match=why):
        validate(data, never)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"task": "triage"}, "task 'triage' is none of binary"),
        ({"activation": "tanh"}, "activation 'tanh' is none of"),
        ({"classes": "ab"}, "must be a list of names"),
        (
            {"classes": ("well", "ill")},
            r"hold 1 different name that no class has, the first at position \d+; classes",
        ),
        ({"classes": ("well", "sick"), "task": "regression"}, "regression needs numbers"),
        ({"classes": ("well", "sick"), "task": "segmentation"}, "segmentation needs numbers"),
    ],
)
def test_wrong_words_are_refused(more, why):
    with pytest.raises(InputError, match=why):
        validate((INPUTS, WORDS), never, **more)


def test_labels_of_one_and_two_are_no_two_classes_of_a_single_output():
    with pytest.raises(InputError, match="one output, which decides between two classes"):
        validate((INPUTS, SICK + 1), lambda batch: batch[:, :1])


@pytest.mark.parametrize("kind", [np.array, list, lambda words: np.array(words, dtype=object), lambda w: w[:, None]])
def test_names_are_judged_as_their_index(kind):
    named = validate((INPUTS, kind(WORDS)), classes=("well", "sick"))
    coded = validate((INPUTS, SICK), classes=("well", "sick"))
    assert named.verdict == coded.verdict and named.verdict.n_positive == SICK.sum()
    turned = validate((INPUTS, kind(WORDS)), lambda batch: model(batch)[:, ::-1], classes=("sick", "well"))
    assert turned.verdict.n_positive == N - SICK.sum() and turned.assessment.retention.reference == 1
    with pytest.raises(InputError, match="ranks 'well' below 'sick'.*the outputs stand for sick, well"):
        validate((INPUTS, kind(WORDS)), classes=("sick", "well"))


def test_names_of_several_classes():
    grades = np.array(["mild", "moderate", "severe"])[np.arange(N) % 3]
    outputs = np.eye(3, dtype=np.float32)[np.arange(N) % 3] * 4
    inputs = np.arange(N, dtype=np.float32)[:, None]

    def answer(batch):
        return outputs[np.clip(batch[:, 0], 0, N - 1).astype(int)]

    for task in (None, Task.ORDINAL):
        report = validate((inputs, grades), answer, classes=("mild", "moderate", "severe"), task=task)
        assert report.verdict.task is (task or Task.MULTICLASS) and report.assessment.retention.reference == 1


def test_masks_are_judged_where_one_of_them_has_a_structure():
    masks = MASKS.copy()
    masks[0, :4, :4] = 1
    report = validate((INPUTS, masks), masker)
    assert report.verdict.task is Task.SEGMENTATION and report.assessment.retention.reference == 1 / N


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.permutations("abc"))
def test_an_index_leads_back_to_its_name(names, classes):
    labels = read_given((np.zeros((len(names), 1)), names)).labels
    task = infer_task(labels, tuple(classes))
    assert [classes[k] for k in as_numbers(labels, task, tuple(classes))] == names and task is Task.MULTICLASS


def test_an_artifact_knows_its_classes():
    from primum.workflows.given import class_names

    assert class_names((), ("well", "sick")) == class_names(("well", "sick"), ("well", "sick")) == ("well", "sick")
    with pytest.raises(InputError, match="the artifact decides well, sick, in this order"):
        class_names(["sick", "well"], ("well", "sick"))


HIDDEN = np.arange(N) == 3


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ((np.ma.masked_array(INPUTS, INPUTS > 1), SICK), "inputs"),
        ((list(np.ma.masked_array(INPUTS, INPUTS > 1)), SICK), "inputs"),
        ((INPUTS, np.ma.masked_array(SICK, HIDDEN)), "labels"),
        ((INPUTS, [np.ma.masked, *SICK[1:].tolist()]), "labels"),
        ((INPUTS, np.ma.masked_array(WORDS, HIDDEN)), "labels"),
        ((INPUTS, SICK, np.ma.masked_array(np.arange(N), HIDDEN)), "patients"),
        ((INPUTS, SICK, None, {"sex": np.ma.masked_array(["f"] * N, HIDDEN)}), "group column 'sex'"),
        ({"inputs": INPUTS, "labels": SICK, "case_ids": np.ma.masked_array(np.arange(N), HIDDEN)}, "case ids"),
    ],
)
def test_masked_values_are_not_judged(data, what):
    with pytest.raises(InputError, match=f"^{what}: some values are masked.*leave .* out, or fill them"):
        validate(data, never)


def test_a_mask_that_hides_nothing_is_no_hindrance():
    plain = validate((INPUTS, SICK), classes=("well", "sick"))
    open_ = (np.ma.masked_array(INPUTS), np.ma.masked_array(SICK, np.zeros(N, bool)))
    assert validate(open_, classes=("well", "sick")).verdict == plain.verdict


def test_labels_that_no_class_has_are_not_named():
    names = np.array([f"SMITH{i}" for i in range(N)])
    for classes in ((), ("well", "sick")):
        with pytest.raises(InputError, match="40 different name") as caught:
            validate((INPUTS, names), never, classes=classes)
        assert "SMITH" not in str(caught.value)
