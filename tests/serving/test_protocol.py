"""Requests and answers of the Open Inference Protocol, as bytes."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.errors import InputError
from primum.serving.protocol import MOST_TEXT, decode, encode, error_body

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
