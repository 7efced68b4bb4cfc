"""Requests as they arrive over gRPC: whole within a time, and held within a room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from primum.errors import InputError, PrimumError
from primum.serving.limits import Limits, Room

Answer = Callable[[Any, Any], Awaitable[Any]]
"""Takes a request message and the call's context, returns a response message."""


class ArrivalTimeout(PrimumError):
    """A request took longer to arrive than it may."""


class Arrived(NamedTuple):
    """A request message, and how many bytes it took."""

    message: Any
    size: int


def reading(kind: Any) -> Callable[[bytes], Arrived]:
    """From bytes to a message of that kind."""

    def read(raw: bytes) -> Arrived:
        try:
            return Arrived(kind.FromString(raw), len(raw))
        except DecodeError:
            return Arrived(_Undecodable(), len(raw))

    return read


def arriving(answer: Answer, limits: Limits, room: Room) -> Answer:
    """The answer to a request that is read here, as the first message of a stream: the library begins a call of one
    message only when that is whole, however long it takes. Its bytes are counted once they are here, as the library
    tells nothing of them before.

    Raises ArrivalTimeout, Unavailable, InputError where there is no message, and as `answer`.
    """

    async def answered(_: Any, context: Any) -> Any:
        try:
            async with asyncio.timeout(limits.arrival_s):
                arrived = await context.read()
        except TimeoutError as error:
            raise ArrivalTimeout(f"the request took over {limits.arrival_s:g} s to arrive") from error
        if arrived is grpc.aio.EOF:
            raise InputError("the call ended before its request")
        with room.holding(arrived.size):
            return await answer(arrived.message, context)

    return answered


class _Undecodable:
    """Stands for a request whose bytes are no message, so that who sent it is told so, once it is known who that is:
    what a deserializer raises gRPC calls an error of the server.
    """

    def __getattr__(self, field: str) -> Any:
        raise InputError("the request is not one of the Open Inference Protocol: its bytes cannot be decoded")
