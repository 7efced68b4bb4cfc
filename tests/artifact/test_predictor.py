import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from primum.data.preprocessing import Preprocessing
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.data.preprocessing_table import TablePreprocessing
from primum.errors import InputError, PrimumError
from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.validation.decisions import Rule


def pictures(n, shape=(8, 8), seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8))


def expected(arrays):
    means = np.array([((a / 255 - 0.5) / 0.25).mean() * 10 for a in arrays])
    second = 1 / (1 + np.exp(-means))
    return np.stack([1 - second, second], axis=1)


@pytest.fixture
def files(tmp_path):
    def write(arrays):
        paths = [tmp_path / f"{i}.png" for i in range(len(arrays))]
        for path, array in zip(paths, arrays):
            Image.fromarray(array).save(path)
        return paths

    return write


def test_paths_pictures_and_arrays_give_the_same_probabilities(predictor, files):
    raw = pictures(4)
    chosen = predictor()
    forms = (raw, files(raw), [str(p) for p in files(raw)], [Image.fromarray(a) for a in raw], tuple(raw))
    for form in forms:
        got = chosen.predict(form)
        assert got.shape == (4, 2) and got.dtype == np.float64
        np.testing.assert_allclose(got, expected(raw), atol=1e-5)


def test_one_input_is_a_batch_of_one(predictor, files):
    (raw,) = pictures(1)
    for form in (raw, files([raw])[0], str(files([raw])[0]), Image.fromarray(raw)):
        np.testing.assert_allclose(predictor().predict(form), expected([raw]), atol=1e-5)


@given(n=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_preprocessed_batch_gives_what_predict_gives(predictor, n, seed):
    chosen, raw = predictor(), pictures(n, (11, 5), seed)
    batch = chosen.preprocess(raw)
    assert batch.shape == (n, 1, 8, 8) and batch.dtype == np.float32
    np.testing.assert_array_equal(chosen.predict_tensor(batch), chosen.predict(raw))
    np.testing.assert_array_equal(chosen.predict_tensor(batch.astype(np.float64)), chosen.predict(raw))
    np.testing.assert_array_equal(chosen.predict_tensor(np.asfortranarray(batch)), chosen.predict(raw))


@pytest.mark.parametrize(("invariant", "batches"), [(True, [(5, 1, 8, 8)]), (False, [(1, 1, 8, 8)] * 5)])
def test_a_session_whose_answers_depend_on_the_batch_runs_one_by_one(predictor, invariant, batches):
    raw, chosen = pictures(5), predictor(batch_invariant=invariant)
    np.testing.assert_allclose(chosen.predict(raw), expected(raw), atol=1e-5)
    assert chosen.session.batches == batches


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 1, 8, 9), (2, 3, 8, 8), (2, 8, 8, 1), (2,), ()])
def test_a_batch_of_another_shape_is_refused(predictor, shape):
    chosen = predictor()
    with pytest.raises(InputError, match=r"\(N, 1, 8, 8\)"):
        chosen.predict_tensor(np.zeros(shape, np.float32))
    assert chosen.session.batches == []


@pytest.mark.parametrize("invariant", [True, False])
def test_nothing_to_predict_is_an_input_error(predictor, invariant):
    chosen = predictor(batch_invariant=invariant)
    with pytest.raises(InputError, match="no inputs"):
        chosen.predict([])
    with pytest.raises(InputError, match="no inputs"):
        chosen.predict_tensor(np.zeros((0, 1, 8, 8), np.float32))
    assert chosen.session.batches == []


@pytest.mark.parametrize("shapes", [[(8, 8), (8, 9)], [(9, 9)]])
def test_images_of_another_size_are_refused_where_nothing_resizes_them(predictor, shapes):
    chosen = predictor(preprocessing=Preprocessing())
    with pytest.raises(InputError, match=r"\(1, 8, 8\)"):
        chosen.predict([np.zeros(s, np.uint8) for s in shapes])


def test_files_that_cannot_be_read_are_named(predictor, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    for name in ("text.png", "none.png", "."):
        with pytest.raises(InputError):
            predictor().predict(tmp_path / name)


@pytest.mark.parametrize("positive", [0, 1])
def test_decisions_compare_the_positive_class_with_the_threshold(predictor, positive):
    signature = Signature(input_shape=(1, 8, 8), outputs=1, classes=("no", "yes"), positive=positive)
    chosen = predictor(signature=signature, threshold=0.6)
    column = np.array([0.59, 0.6, 0.61])
    probabilities = np.stack([column, 1 - column] if positive == 0 else [1 - column, column], axis=1)
    assert chosen.decide(probabilities).tolist() == [False, True, True]
    assert chosen.classes == ("no", "yes")


def test_probabilities_of_the_graph_itself_pass_through(predictor):
    signature = Signature(input_shape=(1, 8, 8), outputs=1, classes=("no", "yes"), activation=Activation.IDENTITY)
    got = predictor(signature=signature).predict_tensor(np.full((1, 1, 8, 8), 0.03, np.float32))
    np.testing.assert_allclose(got, [[0.7, 0.3]], atol=1e-6)


def test_the_session_is_closed_on_the_way_out_even_after_an_error(predictor):
    chosen = predictor()
    with pytest.raises(KeyError), chosen as inside:
        assert inside is chosen and not chosen.session.closed
        raise KeyError
    assert chosen.session.closed


def test_threads_share_a_predictor(predictor):
    chosen, wrong = predictor(), []

    def work(seed):
        raw = pictures(3, seed=seed)
        for _ in range(10):
            if not np.allclose(chosen.predict(raw), expected(raw), atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(chosen.session.batches) == 40


TABLE = TablePreprocessing.model_validate(
    {"columns": [{"name": "BMI", "mean": 28, "std": 6}, {"name": "Sex", "levels": ["F", "M"]}]}
)


def row(bmi, sex):
    return {"BMI": bmi, "Sex": sex, "name": "ignored"}


def of_rows(predictor):
    return predictor(
        preprocessing=TABLE,
        signature=Signature(
            input_shape=(3,), outputs=1, classes=("LVEF",), task=Task.REGRESSION, activation="identity"
        ),
    )


def test_rows_of_a_table_are_predicted(predictor):
    chosen = of_rows(predictor)
    one, two = row("34", "M"), row(22.0, "F")
    np.testing.assert_allclose(chosen.predict([one, two]), [[2 / 3 * 10], [0.0]], atol=1e-5)
    np.testing.assert_allclose(chosen.predict(one), [[2 / 3 * 10]], atol=1e-5)
    with pytest.raises(InputError, match="no column 'Sex'"):
        chosen.predict([{"BMI": 3}])
    with pytest.raises(InputError, match="maps columns"):
        chosen.predict([np.zeros(3)])


@pytest.mark.parametrize("add_channel", [False, True])
def test_arrays_are_predicted_one_or_a_batch(predictor, add_channel):
    shape = (1, 6) if add_channel else (6,)
    chosen = predictor(
        preprocessing=ArrayPreprocessing(add_channel=add_channel, scale=0.5),
        signature=Signature(input_shape=shape, outputs=1, classes=("no", "yes"), activation=Activation.IDENTITY),
    )
    batch = np.random.default_rng(0).random((4, 6)) / 10
    expected = (batch * 0.5).mean(axis=1) * 10
    for form in (batch, list(batch), tuple(batch), batch.tolist()):
        np.testing.assert_allclose(chosen.predict(form)[:, 1], expected, atol=1e-5)
    np.testing.assert_allclose(chosen.predict(batch[2])[:, 1], expected[2:3], atol=1e-5)
    for wrong in (batch[:, :5], [batch[0], batch[1][:5]], batch[None], np.array(0.5)):
        with pytest.raises(InputError):
            chosen.predict(wrong)


def deciding(predictor, task, classes, **more):
    signature = Signature(input_shape=(1, 8, 8), outputs=len(classes), classes=classes, task=task)
    return predictor(signature=signature, **more)


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.ORDINAL])
def test_of_many_classes_the_most_probable_is_decided(predictor, task):
    chosen = deciding(predictor, task, ("a", "b", "c"))
    got = chosen.decide(np.array([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2]]))
    assert got.tolist() == [2, 0] and got.dtype == np.int64
    assert chosen.manifest.rule == Rule(task, ())


def test_each_finding_has_its_own_threshold(predictor):
    probabilities = np.array([[0.3, 0.7], [0.29, 0.69]])
    chosen = deciding(predictor, Task.MULTILABEL, ("a", "b"), thresholds=(0.3, 0.7))
    got = chosen.decide(probabilities)
    assert got.tolist() == [[True, True], [False, False]] and got.dtype == bool
    shared = deciding(predictor, Task.MULTILABEL, ("a", "b"), threshold=0.5)
    assert shared.decide(probabilities).tolist() == [[False, True]] * 2


def test_every_pixel_is_decided(predictor):
    signature = Signature(input_shape=(1, 8, 8), outputs=2, spatial=(2, 2), classes=("0", "1"), task=Task.SEGMENTATION)
    chosen = predictor(signature=signature)
    first = np.array([[[0.9, 0.2], [0.5, 0.1]]])
    assert chosen.decide(np.stack([first, 1 - first], axis=1)).tolist() == [[[0, 1], [0, 1]]]
    assert chosen.manifest.rule is None


def test_a_value_is_no_decision_and_no_answer_is_none(predictor):
    with pytest.raises(PrimumError, match="gives values, not decisions"):
        of_rows(predictor).decide(np.array([[55.0]]))
    for task, classes in ((Task.BINARY, ("a", "b")), (Task.MULTILABEL, ("a", "b")), (Task.MULTICLASS, ("a", "b"))):
        with pytest.raises(PrimumError, match="no finite answer for 1 of 2"):
            deciding(predictor, task, classes).decide(np.array([[0.5, 0.5], [np.nan, 0.5]]))


def test_the_rule_of_a_binary_artifact_is_its_threshold(predictor):
    assert predictor(threshold=0.3).manifest.rule == Rule(Task.BINARY, (0.3,))


def test_a_predictor_says_whether_its_artifact_is_unproven(predictor):
    assert predictor(unproven=True, verdict="INCONCLUSIVE").unproven is True
    assert predictor().unproven is False
