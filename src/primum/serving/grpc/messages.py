"""Messages of `inference.GRPCInferenceService`, made from the Open Inference Protocol's table of fields.

In a pool of their own, so that a client's generated messages of the same names may be loaded beside them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_ONE = {"bool": 8, "int32": 5, "int64": 3, "uint32": 13, "uint64": 4, "float": 2, "double": 1, "string": 9, "bytes": 12}
"""Protocol buffers' numbers of scalar types."""
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3
_PARAMETERS = "map InferParameter"
_TENSOR = {"name": "string", "datatype": "string", "shape": "[] int64"}
_CHANGE = {"repository_name": "string", "model_name": "string", "parameters": "map ModelRepositoryParameter"}
_FIELDS: dict[str, dict[str, str]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": "bool"},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": "bool"},
    "ModelReadyRequest": {"name": "string", "version": "string"},
    "ModelReadyResponse": {"ready": "bool"},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": "string", "version": "string", "extensions": "[] string"},
    "ModelMetadataRequest": {"name": "string", "version": "string"},
    "ModelMetadataResponse": {
        "name": "string",
        "versions": "[] string",
        "platform": "string",
        "inputs": "[] ModelMetadataResponse.TensorMetadata",
        "outputs": "[] ModelMetadataResponse.TensorMetadata",
        "properties": "map string",
    },
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": {
        "bool_param": "one bool",
        "int64_param": "one int64",
        "string_param": "one string",
        "double_param": "one double",
        "uint64_param": "one uint64",
    },
    "InferTensorContents": {
        "bool_contents": "[] bool",
        "int_contents": "[] int32",
        "int64_contents": "[] int64",
        "uint_contents": "[] uint32",
        "uint64_contents": "[] uint64",
        "fp32_contents": "[] float",
        "fp64_contents": "[] double",
        "bytes_contents": "[] bytes",
    },
    "ModelInferRequest": {
        "model_name": "string",
        "model_version": "string",
        "id": "string",
        "parameters": _PARAMETERS,
        "inputs": "[] ModelInferRequest.InferInputTensor",
        "outputs": "[] ModelInferRequest.InferRequestedOutputTensor",
        "raw_input_contents": "[] bytes",
    },
    "ModelInferRequest.InferInputTensor": {**_TENSOR, "parameters": _PARAMETERS, "contents": "InferTensorContents"},
    "ModelInferRequest.InferRequestedOutputTensor": {"name": "string", "parameters": _PARAMETERS},
    "ModelInferResponse": {
        "model_name": "string",
        "model_version": "string",
        "id": "string",
        "parameters": _PARAMETERS,
        "outputs": "[] ModelInferResponse.InferOutputTensor",
        "raw_output_contents": "[] bytes",
    },
    "ModelInferResponse.InferOutputTensor": {**_TENSOR, "parameters": _PARAMETERS, "contents": "InferTensorContents"},
    "ModelRepositoryParameter": {
        "bool_param": "one bool",
        "int64_param": "one int64",
        "string_param": "one string",
        "bytes_param": "one bytes",
    },
    "RepositoryIndexRequest": {"repository_name": "string", "ready": "bool"},
    "RepositoryIndexResponse": {"models": "[] RepositoryIndexResponse.ModelIndex"},
    "RepositoryIndexResponse.ModelIndex": dict.fromkeys(("name", "version", "state", "reason"), "string"),
    "RepositoryModelLoadRequest": _CHANGE,
    "RepositoryModelLoadResponse": {},
    "RepositoryModelUnloadRequest": _CHANGE,
    "RepositoryModelUnloadResponse": {},
}
"""Each message's fields in the order of their numbers, from 1."""


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="primum/open_inference.proto", package=PACKAGE, syntax="proto3")
    found: dict[str, Any] = {}
    for path in sorted(_FIELDS, key=lambda path: path.count(".")):
        outer, _, name = path.rpartition(".")
        place = found[outer].nested_type if outer else file.message_type
        found[path] = place.add(name=name)
    for path, fields in _FIELDS.items():
        for number, (name, kind) in enumerate(fields.items(), 1):
            _add(found[path], path, name, number, kind)
    return file


def _add(message: Any, path: str, name: str, number: int, kind: str) -> None:
    *how, kind = kind.split()
    field = message.field.add(name=name, number=number, label=_REPEATED if how in (["[]"], ["map"]) else _OPTIONAL)
    if how == ["map"]:
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_OPTIONAL, type=_ONE["string"])
        _type(entry.field.add(name="value", number=2, label=_OPTIONAL), kind)
        field.type, field.type_name = _MESSAGE, f".{PACKAGE}.{path}.{entry.name}"
        return
    if how == ["one"]:
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    _type(field, kind)


def _type(field: Any, kind: str) -> None:
    field.type = _ONE.get(kind, _MESSAGE)
    if kind not in _ONE:
        field.type_name = f".{PACKAGE}.{kind}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_described())


def message(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
