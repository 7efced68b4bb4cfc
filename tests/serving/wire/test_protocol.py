"""Requests and answers of the Open Inference Protocol, as bytes."""

import contextlib
import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.errors import InputError
from primum.serving.wire.body import LARGE as BODY_LARGE
from primum.serving.wire.protocol import MOST_TEXT, decode, encode, error_body

ONE = {"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}
RAW = np.array([[1.0, 2.0]], np.float32).tobytes()
NAN, INFINITE = np.float32("nan").tobytes(), np.float32("-inf").tobytes()
DEEP = b"[" * 50_000 + b"]" * 50_000


def body(**changes):
    return json.dumps({"inputs": [ONE], **changes}).encode()


def binary(size=8, shape=(1, 2), **changes):
    one = {"name": "input", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": size}}
    return json.dumps({"inputs": [one], **changes}).encode()


def test_json_and_binary_bodies_are_the_same_request():
    head = binary(parameters={"binary_data_output": True, "priority": 1, "timeout": 2500})
    one, two = decode(body(), None), decode(head + RAW, len(head))
    np.testing.assert_array_equal(one.inputs["input"], two.inputs["input"])
    assert (one.binary, one.priority, one.timeout_s) == (False, 0, None)
    assert (two.binary, two.priority, two.timeout_s) == (True, 1, 0.0025)


@pytest.mark.parametrize(
    ("sent", "header", "said"),
    [
        (b"", None, "not one of the Open Inference Protocol"),
        (body()[:-4], None, "not one of the Open Inference Protocol"),
        (b"\xff" + body(), None, "not"),
        (b"[]", None, "Expected `object`"),
        (b"{}", None, "missing required field `inputs`"),
        (body(inputs=[ONE, ONE]), None, "given twice"),
        (body(inputs=[{**ONE, "data": None}]), None, "neither data nor"),
        (body(inputs=[{**ONE, "shape": [1, 3]}]), None, "do not fill"),
        (body(inputs=[{**ONE, "shape": [0, 2]}]), None, "at least 1"),
        (body(parameters={"priority": -1}), None, "priority"),
        (body(parameters={"timeout": 1.5}), None, "timeout"),
        (body(parameters={"timeout": True}), None, "timeout"),
        (body(parameters={"binary_data_output": 1}), None, "true or false"),
        (body(parameters={"nested": {}}), None, "got `object`"),
        (body() + RAW, len(body()), "belong to none"),
        (binary() + RAW[:-1], len(binary()), "7 bytes are left"),
        (binary(-1) + RAW, len(binary(-1)), "binary_data_size -1"),
        (binary(4) + RAW, len(binary(4)), "4 bytes, but shape"),
        (body(id="x" * 257), None, "id has 257 characters; at most 256"),
        (body(), len(body()) + 1, "the body has"),
        (body(), 0, "the body has"),
        (body(inputs=[{**ONE, "data": "[0]"}]).replace(b'"[0]"', DEEP), None, "too deep"),
        (body(more=0).replace(b": 0", b": " + DEEP), None, "too deep"),
        (body(parameters={"timeout": 10**400}), None, "timeout"),
        (body(parameters={"priority": 2**63}), None, "priority"),
        (body(inputs=[{**ONE, "shape": [10**4000, 10**4000]}]), None, "at most"),
        (binary(shape=[10**4000, 10**4000]) + RAW, len(binary(shape=[10**4000, 10**4000])), "at most"),
        (binary() + RAW[:4] + NAN, len(binary()), "not finite"),
        (binary() + INFINITE + RAW[4:], len(binary()), "not finite"),
    ],
)
def test_malformed_requests_are_refused(sent, header, said):
    with pytest.raises(InputError, match=said):
        decode(sent, header)


def test_data_beside_binary_data_are_refused():
    both = json.dumps({"inputs": [{**ONE, "parameters": {"binary_data_size": 8}}]}).encode()
    with pytest.raises(InputError, match="has both"):
        decode(both + RAW, len(both))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.none() | st.integers(-5, 250))
def test_any_bytes_are_a_request_or_an_input_error(sent, header):
    with contextlib.suppress(InputError):
        decode(sent, header)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_request_with_bytes_changed_is_a_request_or_an_input_error(data):
    head = binary()
    sent = bytearray(head + RAW)
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        decode(bytes(sent), len(head))


def answer(request, **outputs):
    sent, length = encode("chest", "1", request.id, outputs, request, {})
    head = json.loads(sent if length is None else sent[:length])
    return head, b"" if length is None else sent[length:]


def test_answers_go_as_they_were_asked_for():
    outputs = {"probabilities": np.array([[0.25, 0.75]]), "decision": np.array([1])}
    plain, rest = answer(decode(body(id="a"), None), **outputs)
    assert plain["id"] == "a" and plain["model_name"] == "chest" and not rest
    assert plain["outputs"] == [
        {"name": "probabilities", "shape": [1, 2], "datatype": "FP64", "data": [0.25, 0.75]},
        {"name": "decision", "shape": [1], "datatype": "INT64", "data": [1]},
    ]
    wanted = [{"name": "decision", "parameters": {"binary_data": True}}]
    one, rest = answer(decode(body(outputs=wanted), None), **outputs)
    assert "id" not in one
    assert one["outputs"] == [
        {"name": "decision", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}}
    ]
    assert rest == np.array([1]).tobytes()
    both, rest = answer(decode(body(parameters={"binary_data_output": True}), None), **outputs)
    assert rest == outputs["probabilities"].tobytes() + outputs["decision"].tobytes()
    assert all("data" not in o for o in both["outputs"])


def test_an_unknown_output_is_refused():
    with pytest.raises(InputError, match="no output 'logits'"):
        answer(decode(body(outputs=[{"name": "logits"}]), None), decision=np.array([1]))


def test_the_text_of_an_error_is_cut():
    told = json.loads(error_body("input " + "é" * 20_000))["error"]
    assert told.startswith("input é") and len(told) == MOST_TEXT and told.endswith("…")
    assert json.loads(error_body("short"))["error"] == "short"


def test_an_id_of_the_greatest_length_is_taken():
    assert decode(body(id="é" * 256), None).id == "é" * 256


LARGE_SHAPE = (3, 40, 5, 200)
LARGE = np.random.default_rng(3).normal(0, 1, LARGE_SHAPE).astype(np.float32)


def large(data=None, shape=LARGE_SHAPE, datatype="FP32", **changes):
    one = {
        "name": "input",
        "shape": list(shape),
        "datatype": datatype,
        "data": LARGE.tolist() if data is None else data,
    }
    return json.dumps({"id": "a", "parameters": {"priority": 1}, "inputs": [one], **changes}, indent=1).encode()


@pytest.mark.parametrize("data", [LARGE.tolist(), LARGE.ravel().tolist()])
@pytest.mark.parametrize("separators", [None, (",", ":")])
def test_a_large_body_is_the_same_request_as_a_small_one(data, separators):
    sent = json.dumps(json.loads(large(data)), separators=separators).encode()
    assert len(sent) > 2 * BODY_LARGE
    asked = decode(sent, None)
    np.testing.assert_array_equal(asked.inputs["input"], LARGE)
    assert (asked.id, asked.priority, asked.outputs) == ("a", 1, None)
    asked = decode(large(data, outputs=[{"name": "decision"}]), None)
    assert asked.outputs == {"decision": False}


WHOLE = np.arange(2**63 - 60_000, 2**63 + 60_000, dtype=np.uint64)


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", np.arange(120_000) % 3 == 0),
        ("INT8", np.arange(200_000) % 256 - 128),
        ("UINT64", WHOLE),
        ("FP64", np.random.default_rng(1).normal(size=40_000)),
    ],
)
def test_large_tensors_of_every_kind(datatype, values):
    found = decode(large(values.tolist(), values.shape, datatype), None).inputs["input"]
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (large([*LARGE.ravel().tolist(), 1.0]), "more values"),
        (large(LARGE.ravel().tolist()[1:]), "119999 values do not fill"),
        (large(LARGE.reshape(3, 5, 40, 200).tolist()), "nested otherwise"),
        (large([LARGE.ravel().tolist()]), "nested otherwise"),
        (large([*LARGE.tolist()[:2], 1.0]), "do not fill"),
        (large([[], *LARGE.ravel().tolist()]), "something else than numbers"),
        (large(["1.0"] * LARGE.size), "text or mixed"),
        (large([None] * LARGE.size), "text or mixed"),
        (large([{}] * LARGE.size), "objects"),
        (large(["a,b"] * LARGE.size), "data holds"),
        (large([" " * 600_000, 1.0], (2,)), "something else than numbers"),
        (large(LARGE.tolist(), (10**9, 10**6)), "do not fill"),
        (large([*LARGE.astype(int).tolist(), 0.5], (4,), "INT32"), "more values"),
        (large([0.5] * 120_000, (120_000,), "INT32"), "float64, not INT32"),
        (large([300] * 120_000, (120_000,), "INT8"), "outside INT8"),
        (large([1e39] * 120_000, (120_000,)), "too large for FP32"),
        (large(LARGE.tolist(), datatype="FP16"), "no form in JSON"),
        (large(LARGE.tolist(), datatype="BYTES"), "is not one of"),
        (large(LARGE.tolist())[:-3], "not one of the Open Inference Protocol"),
        (large(parameters={str(k): 1 for k in range(10_000)}), "parameters takes"),
        (large(outputs=[{"name": str(k)} for k in range(10_000)]), "outputs takes"),
        (large(shape=[1] * 100_000), "shape takes"),
        (large(inputs=[ONE] * 10_000), "too many inputs"),
        (b"[" * 400_000, "not one of the Open Inference Protocol"),
        (b'{"inputs":' + b"[" * 400_000, "not one of the Open Inference Protocol"),
    ],
)
def test_malformed_large_requests_are_refused(sent, said):
    assert len(sent) > BODY_LARGE
    with pytest.raises(InputError, match=said):
        decode(sent, None)


def test_a_large_body_with_far_too_many_values_is_refused_with_its_first_piece():
    sent = b'{"inputs":[{"name":"input","shape":[1,32],"datatype":"FP32","data":[' + b"1," * (8 * 2**20) + b"1]}]}"
    start = time.thread_time()
    with pytest.raises(InputError, match="more values"):
        decode(sent, None)
    # All of it took over half a second.
    assert time.thread_time() - start < 0.2


def test_while_a_large_body_is_read_others_get_their_turn():
    sent = large(np.random.default_rng(0).normal(size=2**20).tolist(), (2**20,))
    gaps, reading = [], threading.Thread(target=decode, args=(sent, None))
    start = last = time.monotonic()
    reading.start()
    while reading.is_alive():
        time.sleep(1e-4)
        now = time.monotonic()
        gaps.append(now - last)
        last = now
    assert max(gaps) < 0.4 * (last - start) and len(gaps) > 20
