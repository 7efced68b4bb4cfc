"""Many raw cases at once: answered as the artifact's own predictor does, a bad one alone, and what batching did."""

import numpy as np
import pytest
from pictures import picture_artifact
from served import FEATURES, build_artifact, call, coarse_model, risk_model, server
from torch import nn

import primum
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.data.preprocessing_table import CategoricalColumn, NumericColumn, TablePreprocessing
from primum.models.signature import Activation, Signature
from primum.task import Task

PATH = "/optimization/batch-predict"
ROWS = np.random.default_rng(4).normal(5, 2, (70, FEATURES)).round(3)
TABLE = TablePreprocessing(
    columns=(NumericColumn(name="age", mean=50, std=10, missing=50), CategoricalColumn(name="sex", levels=("f", "m")))
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("batches")
    array = ArrayPreprocessing(mean=(5.0,), std=(2.0,))
    three = Signature(
        input_shape=(3,), outputs=3, task=Task.MULTICLASS, classes=("a", "b", "c"), activation=Activation.SOFTMAX
    )
    values = Signature(
        input_shape=(3,), outputs=2, task=Task.REGRESSION, classes=("ef", "age"), activation=Activation.IDENTITY
    )
    return {
        "risk": build_artifact(root / "risk", preprocessing=array),
        "guarded": build_artifact(
            root / "guarded", coarse_model(), reference=risk_model(), preprocessing=array, band=0.05
        ),
        "three": build_artifact(root / "three", nn.Linear(3, 3), (3,), preprocessing=TABLE, signature=three),
        "values": build_artifact(root / "values", nn.Linear(3, 2), (3,), preprocessing=TABLE, signature=values),
        "chest": picture_artifact(root / "chest"),
    }


@pytest.fixture(scope="module")
def port(folders):
    with server(*(f"{name}={folder}" for name, folder in folders.items())) as port:
        yield port


def asked(port, model, data, **more):
    return call(port, "POST", PATH, {"model_name": model, "data": data, **more})


@pytest.mark.parametrize("batched", [True, False])
def test_answers_are_the_artifacts_own_and_batching_is_told(port, folders, batched):
    with primum.load(folders["risk"]) as predictor:
        expected = predictor.predict(list(ROWS))
    status, _, answer = asked(port, "risk", ROWS.tolist(), enable_batching=batched, priority=2, timeout_ms=60_000)
    assert status == 200
    found = answer["predictions"]
    assert [one["index"] for one in found] == list(range(70))
    np.testing.assert_allclose([one["probabilities"]["high"] for one in found], expected[:, 1], atol=1e-6)
    assert [one["decision"] for one in found] == ["high" if p >= 0.5 else "low" for p in expected[:, 1]]
    told = answer["performance"]
    sizes = {int(size): n for size, n in told["batch_sizes"].items()}
    assert told["cases"] == told["requests"] == sum(size * n for size, n in sizes.items()) == 70
    assert told["failed"] == 0 and told["batches"] == sum(sizes.values())
    assert (told["batches"] == 70) is not batched
    assert 0 < told["compute_ms"] < told["total_ms"] and told["mean_queue_ms"] < told["total_ms"]
    assert told["throughput_cases_per_s"] == pytest.approx(70e3 / told["total_ms"], rel=0.05)


def test_a_bad_case_fails_alone_and_is_named_by_its_index(port):
    data = ROWS[:6].tolist()
    data[1] = data[1][:-1]
    data[3][0] = "Quillfeather"
    data[4] = None
    status, _, answer = asked(port, "risk", data)
    assert status == 200 and answer["performance"]["failed"] == 3
    assert [k for k, one in enumerate(answer["predictions"]) if "error" in one] == [1, 3, 4]
    assert "[31] after preprocessing" in answer["predictions"][1]["error"]
    assert "Quill" not in str(answer)


def test_where_no_case_is_answered_the_request_fails_as_the_first_did(port):
    status, _, answer = asked(port, "risk", [[1, 2], [3]])
    assert status == 400 and "case 0: it is [2]" in answer["error"]
    assert asked(port, "risk", ROWS[:2].tolist(), timeout_ms=0.001)[0] == 504


def test_rows_of_tables_as_objects_and_as_lists(port, folders):
    rows = [{"age": 61, "sex": "m"}, {"age": None, "sex": "f"}]
    with primum.load(folders["three"]) as predictor:
        expected = predictor.predict(rows)
    for data in (rows, [[61, "m"], [None, "f"]]):
        _, _, answer = asked(port, "three", data)
        for one, row in zip(answer["predictions"], expected, strict=True):
            np.testing.assert_allclose(list(one["probabilities"].values()), row, atol=1e-6)
            assert one["decision"] == "abc"[row.argmax()]
    _, _, answer = asked(port, "three", [[61], {"age": 1, "sex": "Zebedee"}, [61, "m"]])
    first, second, _ = answer["predictions"]
    assert "2 columns, not 1" in first["error"] and "'sex'" in second["error"] and "Zebedee" not in str(answer)


def test_values_of_a_regression_have_their_names(port, folders):
    with primum.load(folders["values"]) as predictor:
        expected = predictor.predict([{"age": 61, "sex": "m"}])[0]
    (found,) = asked(port, "values", [[61, "m"]])[2]["predictions"]
    assert found["values"] == pytest.approx(dict(zip(("ef", "age"), expected)), abs=1e-6) and "decision" not in found


def test_deferred_cases_are_told(port, folders):
    with primum.load(folders["guarded"]) as predictor:
        expected = predictor.predict_guarded(list(ROWS))
    assert expected.deferred.any()
    answer = asked(port, "guarded", ROWS.tolist())[2]
    assert [one["deferred"] for one in answer["predictions"]] == expected.deferred.tolist()
    assert answer["performance"]["requests"] == 70 + expected.deferred.sum()


def test_images_are_of_8_bits(port, folders):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 25)).astype(np.uint8)
    with primum.load(folders["chest"]) as predictor:
        expected = predictor.predict(pixels)[0, 1]
    answer = asked(port, "chest", [pixels.tolist(), (pixels * 16.0).tolist(), [[1, 2], [3]], [[-1]], [[256]]])[2][
        "predictions"
    ]
    assert answer[0]["probabilities"]["high"] == pytest.approx(expected, abs=1e-6)
    assert ["error" in one for one in answer] == [False, *[True] * 4]
    assert all("0 to 255" in answer[k]["error"] for k in (1, 3, 4))


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"model_name": "none", "data": [[1]]}, 404, "there are"),
        ({"model_name": "risk", "data": []}, 400, "0 cases"),
        ({"model_name": "risk", "data": [[0]] * 10_001}, 400, "10001 cases"),
        ({"model_name": "risk"}, 400, "data"),
        ({"model_name": "risk", "data": [[1]], "priority": -1}, 400, "priority"),
        ({"model_name": "risk", "data": [[1]], "timeout_ms": 0}, 400, "timeout_ms"),
        (b"{", 400, "body"),
        (b"\xff", 400, "body"),
        (b'{"model_name": "risk", "data": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "too deep"),
        ({"model_name": "risk", "data": [[1e300] * FEATURES]}, 400, "too large"),
    ],
)
def test_errors_have_the_right_status(port, body, status, said):
    found, _, answer = call(port, "POST", PATH, body)
    assert found == status and said in answer["error"]


def test_answers_of_an_unproven_artifact_say_so(unproven):
    with server(f"risk={unproven}") as port:
        answer = asked(port, "risk", ROWS[:2].tolist())[2]
        assert answer["unproven"] is True
        described = call(port, "GET", "/openapi.json")[2]["components"]["schemas"]
    assert described["BatchPredictions"]["properties"]["unproven"]["type"] == "boolean"
    assert "unproven" in described["BatchPredictions"]["required"]


def test_answers_of_a_proven_artifact_say_so_too(port):
    assert asked(port, "risk", ROWS[:2].tolist())[2]["unproven"] is False


def test_a_case_that_is_no_readable_json_fails_alone(port):
    body = b'{"model_name": "risk", "data": [%b, [1e400], ["\xff"], %b]}' % (2 * (str(ROWS[0].tolist()).encode(),))
    status, _, answer = call(port, "POST", PATH, body)
    assert status == 200
    good, large, garbled, again = answer["predictions"]
    assert good["probabilities"] == again["probabilities"]
    assert "Number out of range" in large["error"] and "not valid UTF-8" in garbled["error"]
