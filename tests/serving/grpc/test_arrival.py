"""Requests that arrive slowly, not at all, too many or too large, over gRPC on a real socket."""

import asyncio
import threading
import time
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from served import FEATURES, free_port, server

from primum.errors import InputError
from primum.serving.dataplane import Unavailable
from primum.serving.grpc.arrival import Arrived, arriving
from primum.serving.grpc.messages import message
from primum.serving.limits import AT_ONCE, Limits, Room

INFER = "/inference.GRPCInferenceService/ModelInfer"
ANSWER = message("ModelInferResponse").FromString


def asked(pad=0):
    request = message("ModelInferRequest")(model_name="risk", id="r")
    request.inputs.add(name="input", datatype="FP32", shape=[1, FEATURES])
    request.raw_input_contents.append(np.zeros(FEATURES, np.float32).tobytes())
    if pad:
        request.parameters["pad"].string_param = "x" * pad
    return request.SerializeToString()


@contextmanager
def stalled(channel, how_many):
    """Calls that send their heads and then nothing, until the end."""
    end = threading.Event()

    def nothing():
        end.wait(30)
        yield from ()

    calls = [channel.stream_unary(INFER).future(nothing(), timeout=30) for _ in range(how_many)]
    try:
        yield calls
    finally:
        end.set()
        for call in calls:
            call.cancel()


@pytest.fixture(scope="module")
def channel(artifact):
    port = free_port()
    options = ("--grpc-port", port, "--arrival-s", 1, "--max-connections", 8, "--max-body-mb", 1)
    with server(f"risk={artifact}", *options), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


def test_a_request_that_does_not_arrive_is_ended_and_others_are_answered_meanwhile(channel):
    infer = channel.unary_unary(INFER, response_deserializer=ANSWER)
    assert infer(asked(), timeout=20).id == "r"
    since = time.monotonic()
    with stalled(channel, 3) as calls:
        assert infer(asked(), timeout=20).id == "r"
        for call in calls:
            error = call.exception(timeout=20)
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and "over 1 s to arrive" in error.details()
    assert 1 <= time.monotonic() - since < 15


def test_more_calls_at_once_than_allowed_are_refused_and_later_taken(channel):
    infer = channel.unary_unary(INFER, response_deserializer=ANSWER)
    with stalled(channel, 8):
        codes = []
        for _ in range(100):
            try:
                infer(asked(), timeout=20)
            except grpc.RpcError as error:
                codes.append(error.code())
                break
    assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    for _ in range(100):
        try:
            assert infer(asked(), timeout=20).id == "r"
            return
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            time.sleep(0.05)
    pytest.fail("never taken again")


def test_a_call_without_a_request_and_one_that_is_too_large_are_the_callers_fault(channel):
    for sent, code in (([], "INVALID_ARGUMENT"), ([asked(2**20)], "RESOURCE_EXHAUSTED")):
        with pytest.raises(grpc.RpcError) as found:
            channel.stream_unary(INFER)(iter(sent), timeout=20)
        assert found.value.code().name == code


class Sent:
    """A call's context, whose request has arrived."""

    def __init__(self, size):
        self.size = size

    async def read(self):
        return Arrived("request", self.size)


def test_bytes_are_held_until_the_answer_however_it_ends():
    room = Room(most_bytes=10)

    async def run():
        end = asyncio.Event()

        async def answer(request, context):
            await end.wait()
            if context.size == 9:
                raise InputError("no")
            return request

        handler = arriving(answer, Limits(), room)
        held = [asyncio.ensure_future(handler(None, Sent(size))) for size in (10, 9) * (AT_ONCE // 2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        room.take(AT_ONCE // 2)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(handler(None, Sent(1)), 5)
        room.give_back(AT_ONCE // 2)
        held.pop().cancel()
        end.set()
        ended = await asyncio.gather(*held, return_exceptions=True)
        assert [type(one) for one in ended] == [str, InputError] * (AT_ONCE // 2 - 1) + [str]

    asyncio.run(run())
    room.take(AT_ONCE * 10)
    with pytest.raises(Unavailable):
        room.take(1)
