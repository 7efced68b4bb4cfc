"""`inference.GRPCInferenceService` in the server's own event loop, on the same data plane as HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import prod
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from primum.errors import ExecutorDied, ExecutorHung, InputError, PrimumError, RequestExpired, RequestRejected
from primum.serving.control import load, unload
from primum.serving.dataplane import DataPlane, Note, NotFound, Unavailable
from primum.serving.grpc.arrival import Answer, ArrivalTimeout, arriving, reading
from primum.serving.grpc.messages import SERVICE, message
from primum.serving.ladder.rung import Rung
from primum.serving.limits import Limits, Room
from primum.serving.model import ServedModel
from primum.serving.observability.tracing import Tracing
from primum.serving.security.access import AccessDenied, Scope
from primum.serving.security.certificates import holder
from primum.serving.wire.body import Parameters
from primum.serving.wire.protocol import EXTENSIONS, Request, check_id, schedule, shortened
from primum.serving.wire.tensors import check_finite, checked_shape, datatype_of, dtype_of, from_bytes, to_bytes
from primum.version import VERSION

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
_CLOCKS_S = 0.02
"""A client whose deadline has passed cancels its call, and is that much ahead of the server's clock at most."""
_METHODS = (
    *("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"),
    *("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
)


class Service:
    """The methods; each takes a request message and returns a response message."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def ServerLive(self, request: Any, context: Any) -> Any:
        """Whether the server runs."""
        return message("ServerLiveResponse")(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        """Whether every model takes requests."""
        return message("ServerReadyResponse")(ready=self._plane.repository.ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        """Whether a model takes requests."""
        self._admit(context)
        model = self._plane.model(request.name, request.version)
        return message("ModelReadyResponse")(ready=self._plane.repository.started and model.alive)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        """Name, version and extensions."""
        self._admit(context)
        return message("ServerMetadataResponse")(name="primum", version=VERSION, extensions=EXTENSIONS)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        """A model's tensors and what is known of it."""
        self._admit(context)
        told = self._plane.model(request.name, request.version).metadata()
        # Here properties are text: a truth value is the word that JSON has for it.
        told["properties"] = {k: v if isinstance(v, str) else json.dumps(v) for k, v in told["properties"].items()}
        return message("ModelMetadataResponse")(**told)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """Answers for named tensors."""
        self._plane.check_log()
        who, model, asked, rung, status = "", None, None, None, grpc.StatusCode.OK
        try:
            who = self._admit(context).name
            model = self._plane.model(request.model_name, request.model_version)
            asked = _asked(request, context.time_remaining())
            outputs, rung = await model.infer(asked.inputs, asked.priority, asked.timeout_s)
            return _answer(model, rung, asked, outputs)
        except Exception as error:
            status = status_of(error)
            raise
        except asyncio.CancelledError:
            rung, status = None, _ended_early(context)
            raise
        finally:
            self._plane.take_down(who, model, rung, asked, int(status.value[0]))

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        """Every model, and whether it answers."""

        async def listed(note: Note) -> Any:
            response = message("RepositoryIndexResponse")()
            for one in self._plane.repository.index():
                if one.state == "READY" or not request.ready:
                    response.models.add(**one._asdict())
            return response

        return await self._administered("index", context, listed)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:
        """Read a model's artifacts anew, or open one that was unloaded."""

        async def loaded(note: Note) -> Any:
            if request.parameters:
                raise InputError("load takes no parameters here: what is served is the operator's choice")
            await load(self._plane, request.model_name, note)
            return message("RepositoryModelLoadResponse")()

        return await self._administered("load", context, loaded)

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:
        """Release a model."""

        async def unloaded(note: Note) -> Any:
            await unload(self._plane, request.model_name, note)
            return message("RepositoryModelUnloadResponse")()

        return await self._administered("unload", context, unloaded)

    async def _administered(self, what: str, context: Any, answer: Callable[[Note], Awaitable[Any]]) -> Any:
        """The answer to one who may administer; how it ended is taken down."""
        self._plane.check_log()
        who, note, status = "", Note(), grpc.StatusCode.OK
        try:
            who = self._admit(context, Scope.ADMIN).name
            return await answer(note)
        except Exception as error:
            status = status_of(error)
            raise
        except asyncio.CancelledError:
            status = _ended_early(context)
            raise
        finally:
            self._plane.note(who, what, note, int(status.value[0]))

    def _admit(self, context: Any, wanted: Scope = Scope.INFER) -> Any:
        sent = {key: value.encode() for key, value in context.invocation_metadata() if isinstance(value, str)}
        certificates = () if self._plane.access.open else context.auth_context().get("x509_pem_cert", ())
        certificate = next((holder(one) for one in certificates), None)
        return self._plane.admit(sent.get("authorization"), sent.get("x-api-key"), wanted, certificate)


def handlers(service: Service, limits: Limits, room: Room, tracing: Tracing | None = None) -> Any:
    """What a gRPC server is given to serve the methods."""
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            name: grpc.stream_unary_rpc_method_handler(
                _told(arriving(_traced(name, getattr(service, name), tracing), limits, room)),
                request_deserializer=reading(message(f"{name}Request")),
                response_serializer=message(f"{name}Response").SerializeToString,
            )
            for name in _METHODS
        },
    )


def status_of(error: Exception) -> grpc.StatusCode:
    """The status that an error has over gRPC."""
    codes = grpc.StatusCode
    if isinstance(error, AccessDenied):
        if error.retry_after_s is not None:
            return codes.RESOURCE_EXHAUSTED
        return codes.PERMISSION_DENIED if error.known else codes.UNAUTHENTICATED
    if isinstance(error, RequestRejected):
        return codes.INVALID_ARGUMENT if error.reason in ("invalid", "too_large") else codes.UNAVAILABLE
    kinds: Sequence[tuple[type[Exception], grpc.StatusCode]] = (
        (RequestExpired, codes.DEADLINE_EXCEEDED),
        (ArrivalTimeout, codes.DEADLINE_EXCEEDED),
        (NotFound, codes.NOT_FOUND),
        (Unavailable, codes.UNAVAILABLE),
        (ExecutorHung, codes.UNAVAILABLE),
        (ExecutorDied, codes.UNAVAILABLE),
        (InputError, codes.INVALID_ARGUMENT),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), codes.INTERNAL)


def _ended_early(context: Any) -> grpc.StatusCode:
    """Of a call that was cancelled: by its deadline, or by whoever asked, who may have left."""
    remaining = context.time_remaining()
    passed = remaining is not None and remaining < _CLOCKS_S
    return grpc.StatusCode.DEADLINE_EXCEEDED if passed else grpc.StatusCode.CANCELLED


def _traced(name: str, method: Answer, tracing: Tracing | None) -> Answer:
    """The method, with a trace of each call."""
    if tracing is None:
        return method
    called = {"rpc__system": "grpc", "rpc__service": SERVICE, "rpc__method": name}

    async def answer(request: Any, context: Any) -> Any:
        carrier = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        with tracing.request(f"{SERVICE}/{name}", carrier, **called) as traced:
            try:
                response = await method(request, context)
            except Exception as error:
                traced.tell(rpc__grpc__status_code=int(status_of(error).value[0]))
                if status_of(error) in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE):
                    traced.fail()
                raise
            traced.tell(rpc__grpc__status_code=0)
            return response

    return answer


def _told(method: Answer) -> Answer:
    """The method, with its errors as statuses; what a model raised is not quoted."""

    async def answer(request: Any, context: Any) -> Any:
        try:
            return await method(request, context)
        except Exception as error:  # noqa: BLE001  whatever it is, it is this call's alone
            told = str(error) if isinstance(error, PrimumError) else f"the model failed ({type(error).__name__})"
            await context.abort(status_of(error), shortened(told))

    return answer


def _asked(sent: Any, remaining: float | None) -> Request:
    check_id(sent.id)
    raw = list(sent.raw_input_contents)
    if raw and len(raw) != len(sent.inputs):
        raise InputError(f"{len(raw)} raw_input_contents for {len(sent.inputs)} inputs: give one for each, or none")
    inputs: dict[str, NDArray[Any]] = {}
    for number, one in enumerate(sent.inputs):
        if one.name in inputs:
            raise InputError(f"input {one.name!r} is given twice")
        shape = checked_shape(one.name, list(one.shape))
        if raw and one.HasField("contents"):
            raise InputError(f"input {one.name!r} has contents beside raw_input_contents")
        inputs[one.name] = from_bytes(one.name, one.datatype, shape, raw[number]) if raw else _contents(one, shape)
    priority, timeout = schedule(_plain(sent.parameters))
    limits = [limit for limit in (timeout, remaining) if limit is not None]
    wanted = dict.fromkeys((one.name for one in sent.outputs), True) or None
    return Request(inputs, sent.id or None, wanted, True, priority, min(limits, default=None))


def _contents(one: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = dtype_of(one.name, one.datatype)
    if one.datatype not in _CONTENTS:
        raise InputError(f"input {one.name!r}: {one.datatype} goes as raw_input_contents")
    # Of large integers beside small ones numpy would make floats.
    wide = np.uint64 if one.datatype == "UINT64" else None
    values = getattr(one.contents, _CONTENTS[one.datatype])
    if len(values) != prod(shape):
        raise InputError(f"input {one.name!r}: {len(values)} values do not fill shape {list(shape)}")
    array = np.asarray(values, dtype=wide)
    if dtype.kind in "iu" and (array.min() < np.iinfo(dtype).min or array.max() > np.iinfo(dtype).max):
        raise InputError(f"input {one.name!r}: a value is outside {one.datatype}")
    cast = array.astype(dtype)
    check_finite(one.name, one.datatype, cast)
    return cast.reshape(shape)


def _plain(parameters: Mapping[str, Any]) -> Parameters:
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
        for name, value in parameters.items()
    }


def _answer(model: ServedModel, rung: Rung, asked: Request, outputs: Mapping[str, NDArray[Any]]) -> Any:
    response = message("ModelInferResponse")(model_name=model.name, model_version=rung.version, id=asked.id or "")
    for name, value in rung.said.items():
        response.parameters[name].bool_param = value
    for name in asked.outputs or outputs:
        if name not in outputs:
            raise InputError(f"no output {name!r}; the model gives {', '.join(outputs)}")
        array = outputs[name]
        response.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        response.raw_output_contents.append(to_bytes(array))
    return response
