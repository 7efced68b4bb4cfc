"""How each server is asked about a case, and what its answer says: the same contents in each one's own words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BAD = ("wrong length", "wrong type", "broken JSON")
_JSON, _BYTES = "application/json", "application/octet-stream"


@dataclass(frozen=True)
class Message:
    """One request."""

    path: str
    type: str
    body: bytes
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wire:
    """One server's words. `encode`: (case or flat values, format, deadline in ms or None) to a request."""

    encode: Callable[[NDArray[np.float32], str, float | None], Message]
    read: Callable[[bytes, Callable[[str], str | None]], NDArray[np.float64]]
    """Body and headers of an answer to its two numbers: logits, or probabilities where `probabilities`."""
    probabilities: bool = False

    def bad(self, kind: str, case: NDArray[np.float32], form: str) -> Message | None:
        """A request that is wrong in one of the ways of BAD; None where the format cannot be wrong so."""
        if kind == "wrong length":
            return self.encode(case.reshape(-1)[:-1], form, None)
        if form == "binary":
            return None
        good = self.encode(case, form, None)
        if kind == "broken JSON":
            return Message(good.path, good.type, good.body[: len(good.body) // 2], good.headers)
        first = _numbers(case)[0]
        wrong = good.body.replace(f"[{first}, ".encode(), b'["high", ', 1)
        if wrong == good.body:
            raise ValueError("the first value was not found in the request")
        return Message(good.path, good.type, wrong, good.headers)


def _numbers(case: NDArray[np.float32]) -> list[float]:
    return [round(float(v), 4) for v in case.reshape(-1)]


def _raw(case: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(case, "<f4").tobytes()


def _base64(case: NDArray[np.float32]) -> str:
    return base64.b64encode(_raw(case)).decode()


def _dump(path: str, value: Any) -> Message:
    return Message(path, _JSON, json.dumps(value).encode())


def _plain(case: NDArray[np.float32], form: str, deadline_ms: float | None) -> Message:
    if form == "binary":
        return Message("/predict", _BYTES, _raw(case))
    return _dump("/predict", {"x": _numbers(case)})


def _in_json(case: NDArray[np.float32], form: str, deadline_ms: float | None) -> Message:
    return _dump("/predict", {"x": _base64(case) if form == "binary" else _numbers(case)})


def _listed(case: NDArray[np.float32], form: str, deadline_ms: float | None) -> Message:
    return _dump("/predict", {"x": [_base64(case) if form == "binary" else _numbers(case)]})


def _mlserver(case: NDArray[np.float32], form: str, deadline_ms: float | None) -> Message:
    if form == "binary":
        one: dict[str, Any] = {"name": "input", "shape": [1, 1], "datatype": "BYTES", "data": [_base64(case)]}
    else:
        one = {"name": "input", "shape": [1, case.size], "datatype": "FP32", "data": _numbers(case)}
    return _dump("/v2/models/model/infer", {"inputs": [one]})


def _primum(case: NDArray[np.float32], form: str, deadline_ms: float | None) -> Message:
    """The deadline goes as the protocol has it: `timeout` in microseconds."""
    one: dict[str, Any] = {"name": "input", "shape": [1, *case.shape], "datatype": "FP32"}
    parameters: dict[str, Any] = {} if deadline_ms is None else {"timeout": int(deadline_ms * 1e3)}
    path = "/v2/models/model/infer"
    if form == "json":
        one["data"] = _numbers(case)
        return _dump(path, {"inputs": [one]} | ({"parameters": parameters} if parameters else {}))
    raw = _raw(case)
    one["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [one], "parameters": parameters | {"binary_data_output": True}}).encode()
    return Message(path, _BYTES, head + raw, (f"Inference-Header-Content-Length: {len(head)}",))


def _read_plain(body: bytes, header: Callable[[str], str | None]) -> NDArray[np.float64]:
    return np.asarray(json.loads(body)["y"], np.float64)


def _read_listed(body: bytes, header: Callable[[str], str | None]) -> NDArray[np.float64]:
    return np.asarray(json.loads(body)[0], np.float64)


def _read_protocol(body: bytes, header: Callable[[str], str | None]) -> NDArray[np.float64]:
    """The first output, of JSON or of binary data."""
    length = header("inference-header-content-length")
    if length is None:
        return np.asarray(json.loads(body)["outputs"][0]["data"], np.float64).reshape(-1)
    first = json.loads(body[: int(length)])["outputs"][0]
    size = first["parameters"]["binary_data_size"]
    kind = {"FP64": "<f8", "FP32": "<f4"}[first["datatype"]]
    return np.frombuffer(body[int(length) :][:size], kind).astype(np.float64)


PLAIN = Wire(_plain, _read_plain)
IN_JSON = Wire(_in_json, _read_plain)
LISTED = Wire(_listed, _read_listed)
MLSERVER = Wire(_mlserver, _read_protocol)
PRIMUM = Wire(_primum, _read_protocol, probabilities=True)
