"""The OpenAPI 3.1 description of the paths, from which clients and tests are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primum.serving.http.openapi_more import IMAGE_BODIES, MORE_SCHEMAS, SCHEDULE, UNPROVEN
from primum.serving.wire.protocol import HEADER, MOST_ID
from primum.serving.wire.tensors import DTYPES
from primum.version import VERSION

_PARAMETERS = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
    "description": "priority (1 highest, 0 default), timeout (microseconds), binary_data_output",
}
_SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "Tensor": {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 16},
            "datatype": {"enum": list(DTYPES)},
            "parameters": _PARAMETERS,
            "data": {"type": "array", "description": "Nested or flat, row-major."},
        },
    },
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "examples": [{"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [0.5, -1.5]}]}],
        "properties": {
            "id": {"type": "string", "maxLength": MOST_ID},
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
                },
            },
        },
    },
    "InferResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object", "properties": {"unproven": UNPROVEN}},
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        },
    },
    "Server": {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
    },
    "Model": {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            **{
                side: {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "datatype", "shape"],
                        "properties": {
                            "name": {"type": "string"},
                            "datatype": {"enum": list(DTYPES)},
                            "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
                        },
                    },
                }
                for side in ("inputs", "outputs")
            },
            "properties": {
                "type": "object",
                "properties": {"unproven": UNPROVEN},
                "additionalProperties": {"type": "string"},
            },
        },
    },
    "Live": {"type": "object", "required": ["live"], "properties": {"live": {"type": "boolean"}}},
    "Ready": {"type": "object", "required": ["ready"], "properties": {"ready": {"type": "boolean"}}},
}
_DENIED = ("401", "403", "429")
_INFER_ERRORS = ("400", "404", "413", "500", "503", "504", *_DENIED)
_WORDS = {
    "400": "The request is not one of the protocol, or does not fit the model",
    "401": "Nobody known",
    "403": "The caller lacks the scope, or a page of another server asks",
    "404": "No such model, version or job",
    "409": "The same is under way already",
    "413": "The body is too large",
    "415": "A format that is not read",
    "429": "Too many requests of this caller",
    "500": "The model failed on this request",
    "503": "Not now: overload, a deadline that cannot be met, an end in preparation; see Retry-After",
    "504": "The deadline has passed",
}


def document(models: Sequence[str], authenticated: bool) -> dict[str, Any]:
    """The description; `models` are offered as examples of names."""
    model = [_path_parameter("model", models)]
    version = [*model, _path_parameter("version", ())]
    known: dict[str, Any] = {} if not authenticated else {"security": [{"bearer": []}, {"key": []}]}
    paths: dict[str, Any] = {
        "/v2": {"get": _get("The server", "Server", _DENIED, known)},
        "/v2/health/live": {"get": _get("Whether the server runs", "Live", (), {})},
        "/v2/health/ready": {"get": _get("Whether every model takes requests", "Ready", ("503",), {})},
        "/metrics": {
            "get": {"summary": "Prometheus", **known, "responses": {"200": _text("text/plain"), **_errors(_DENIED)}}
        },
    }
    for path, parameters in (("/v2/models/{model}", model), ("/v2/models/{model}/versions/{version}", version)):
        paths[path] = {"parameters": parameters, "get": _get("A model", "Model", ("404", *_DENIED), known)}
        ready = _get("Whether a model takes requests", "Ready", ("404", "503", *_DENIED), known)
        paths[f"{path}/ready"] = {"parameters": parameters, "get": ready}
        paths[f"{path}/infer"] = {"parameters": parameters, "post": _infer(known)}
        paths[f"{path}/predict"] = {"parameters": parameters, "post": _predict(known)}
    paths |= _repository(model, known) | _optimization(known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "primum", "version": VERSION, "description": "Open Inference Protocol v2"},
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS | MORE_SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _infer(known: dict[str, Any]) -> dict[str, Any]:
    body = {
        "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
        "application/octet-stream": {},
    }
    answer = {**_body("InferResponse"), "application/octet-stream": {}}
    return {
        "summary": "Answers for named tensors",
        **known,
        "parameters": [
            {
                "name": HEADER,
                "in": "header",
                "required": False,
                "schema": {"type": "integer", "minimum": 0},
                "description": "Bytes of JSON at the head of a body with binary data; 0: it is rows of FP32 alone",
            }
        ],
        "requestBody": {"required": True, "content": body},
        "responses": {"200": {"description": "Named outputs", "content": answer}, **_errors(_INFER_ERRORS)},
    }


def _predict(known: dict[str, Any]) -> dict[str, Any]:
    asked = _post(
        "Answers for images, in a form or one as the body", None, "Predictions", ("415", *_INFER_ERRORS), known
    )
    return {**asked, "parameters": SCHEDULE, "requestBody": {"required": True, "content": IMAGE_BODIES}}


def _repository(model: list[dict[str, Any]], known: dict[str, Any]) -> dict[str, Any]:
    errors = ("400", "413", "503", *_DENIED)
    paths: dict[str, Any] = {
        "/v2/repository/index": {"post": _post("Every model", "IndexRequest", "Index", errors, known, False)}
    }
    for verb, told in (("load", "Read a model's artifacts anew"), ("unload", "Release a model")):
        post = _post(told, "RepositoryRequest", "Empty", ("404", "415", "500", *errors), known, False)
        paths[f"/v2/repository/models/{{model}}/{verb}"] = {"parameters": model, "post": post}
    return paths


def _optimization(known: dict[str, Any]) -> dict[str, Any]:
    asked = _post(
        "A study in the background",
        "OptimizeRequest",
        "Job",
        ("400", "404", "409", "413", "415", "503", *_DENIED),
        known,
    )
    asked["responses"]["202"] = asked["responses"].pop("200")
    batch = _post("Answers for raw cases", "BatchRequest", "BatchPredictions", _INFER_ERRORS, known)
    return {
        "/optimization/status": {"get": _get("The whole service", "Status", _DENIED, known)},
        "/optimization/batch-predict": {"post": batch},
        "/optimization/optimize-model": {"post": asked},
        "/optimization/jobs": {"get": _get("Studies, the latest first", "Jobs", ("404", *_DENIED), known)},
        "/optimization/jobs/{job}": {
            "parameters": [_path_parameter("job", ())],
            "get": _get("A study", "Job", ("404", *_DENIED), known),
            "delete": _get("End a study", "Job", ("404", *_DENIED), known),
        },
    }


def _post(
    summary: str, given: str | None, schema: str, errors: Sequence[str], known: dict[str, Any], required: bool = True
) -> dict[str, Any]:
    good = {"200": {"description": summary, "content": _body(schema)}}
    asked: dict[str, Any] = {"summary": summary, **known, "responses": {**good, **_errors(errors)}}
    return asked if given is None else {**asked, "requestBody": {"required": required, "content": _body(given)}}


def _get(summary: str, schema: str, errors: Sequence[str], known: dict[str, Any]) -> dict[str, Any]:
    good = {"description": summary, "content": _body(schema)}
    unready = {"503": {"description": "Not yet, or no longer", "content": _body(schema)}} if "503" in errors else {}
    return {"summary": summary, **known, "responses": {"200": good, **_errors(errors), **unready}}


def _errors(codes: Sequence[str]) -> dict[str, Any]:
    return {code: {"description": _WORDS[code], "content": _body("Error")} for code in codes}


def _body(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _text(kind: str) -> dict[str, Any]:
    return {"description": "Text", "content": {kind: {"schema": {"type": "string"}}}}


def _path_parameter(name: str, examples: Sequence[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    if examples:
        schema["examples"] = list(examples)
    return {"name": name, "in": "path", "required": True, "schema": schema}
