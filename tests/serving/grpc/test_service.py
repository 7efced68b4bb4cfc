"""The protocol over gRPC: a client that others wrote, the messages' fields against its own, statuses of errors."""

import asyncio

import numpy as np
import pytest
from served import FEATURES, free_port, server

import primum
from primum.serving.grpc.messages import message
from primum.serving.grpc.service import Service
from primum.serving.security.access import ANYBODY, Access, new_key

triton = pytest.importorskip("tritonclient.grpc")
ROWS = np.random.default_rng(1).normal(0, 1, (5, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def client(artifact):
    port = free_port()
    with server(f"risk={artifact}", "--grpc-port", port), triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        yield client


def given(rows=ROWS, name="input", datatype="FP32"):
    tensor = triton.InferInput(name, list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows)
    return tensor


def test_every_field_has_the_number_and_type_that_the_client_has():
    from tritonclient.grpc import service_pb2

    for name in ("ModelInferRequest", "ModelInferResponse", "ModelMetadataResponse", "ServerMetadataResponse"):
        compare(message(name).DESCRIPTOR, getattr(service_pb2, name).DESCRIPTOR)


def compare(ours, theirs, seen=()):
    for field in ours.fields:
        if field.name == "properties":
            continue  # in the protocol, and not in this client's copy of it
        other = theirs.fields_by_name[field.name]
        same = ("number", "type", "is_repeated") if hasattr(field, "is_repeated") else ("number", "type", "label")
        assert [getattr(field, s) for s in same] == [getattr(other, s) for s in same], field.full_name
        if field.message_type is not None and field.message_type.full_name not in seen:
            compare(field.message_type, other.message_type, (*seen, field.message_type.full_name))


def test_answers_are_the_artifacts_own(client, artifact):
    with primum.load(artifact) as predictor:
        expected = predictor.predict_tensor(ROWS)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("risk")
    assert client.get_server_metadata().name == "primum"
    described = client.get_model_metadata("risk")
    assert list(described.inputs[0].shape) == [-1, FEATURES]
    answer = client.infer("risk", [given()], request_id="r1", priority=1, timeout=5_000_000)
    assert answer.get_response().id == "r1"
    np.testing.assert_array_equal(answer.as_numpy("probabilities"), expected)
    np.testing.assert_array_equal(answer.as_numpy("decision"), expected[:, 1] >= 0.5)
    one = client.infer("risk", [given(ROWS[:1])], outputs=[triton.InferRequestedOutput("decision")])
    assert one.as_numpy("probabilities") is None and one.as_numpy("decision").shape == (1,)


@pytest.mark.parametrize(
    ("model", "version", "tensors", "outputs", "status"),
    [
        ("other", "", [given()], None, "NOT_FOUND"),
        ("risk", "9", [given()], None, "NOT_FOUND"),
        ("risk", "", [given(ROWS[:, :3])], None, "INVALID_ARGUMENT"),
        ("risk", "", [given(name="pixels")], None, "INVALID_ARGUMENT"),
        ("risk", "", [given(ROWS.astype(np.float64), datatype="FP64")], None, "INVALID_ARGUMENT"),
        ("risk", "", [given(), given()], None, "INVALID_ARGUMENT"),
        ("risk", "", [given()], [triton.InferRequestedOutput("logits")], "INVALID_ARGUMENT"),
    ],
)
def test_errors_have_the_right_status(client, model, version, tensors, outputs, status):
    with pytest.raises(triton.InferenceServerException) as found:
        client.infer(model, tensors, model_version=version, outputs=outputs)
    assert status in found.value.status()


def test_values_in_the_message_are_the_same_tensor(client):
    request = message("ModelInferRequest")(model_name="risk")
    one = request.inputs.add(name="input", datatype="FP32", shape=[1, FEATURES])
    one.contents.fp32_contents.extend(ROWS[0].tolist())
    raw = bare(client)(request.SerializeToString()).raw_output_contents[0]
    np.testing.assert_array_equal(
        np.frombuffer(raw), client.infer("risk", [given(ROWS[:1])]).as_numpy("probabilities").ravel()
    )


def bare(client):
    """Takes the bytes of a request, of whatever they are."""
    return client._channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        response_deserializer=message("ModelInferResponse").FromString,
    )


def odd_requests():
    def one(**changes):
        request = message("ModelInferRequest")(model_name="risk")
        asked = {"name": "input", "datatype": "FP32", "shape": [1, FEATURES], **changes}
        request.inputs.add(**asked)
        return request

    raw = one()
    raw.raw_input_contents.append(np.full(FEATURES, np.nan, np.float32).tobytes())
    contents = one()
    contents.inputs[0].contents.fp32_contents.extend([1.0] * (FEATURES - 1) + [float("-inf")])
    named = one(name="x" * 20_000)
    named.raw_input_contents.append(ROWS[:1].tobytes())
    huge = one(shape=[2**62, FEATURES])
    huge.raw_input_contents.append(ROWS[:1].tobytes())
    return {
        "not finite": raw.SerializeToString(),
        "or not finite": contents.SerializeToString(),
        "takes one input": named.SerializeToString(),
        "at most": huge.SerializeToString(),
        "cannot be decoded": b"\xff\xff\xff",
    }


@pytest.mark.parametrize(("said", "sent"), odd_requests().items())
def test_odd_requests_are_the_callers_fault(client, said, sent):
    import grpc

    with pytest.raises(grpc.RpcError) as found:
        bare(client)(sent, timeout=20)
    assert found.value.code() == grpc.StatusCode.INVALID_ARGUMENT and said in found.value.details()


def test_callers_without_a_key_are_not_answered(artifact, tmp_path):
    key, entry = new_key("ward-7")
    (tmp_path / "keys.yaml").write_text(entry)
    port = free_port()
    with (
        server(f"risk={artifact}", "--grpc-port", port, "--keys", tmp_path / "keys.yaml"),
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        with pytest.raises(triton.InferenceServerException) as found:
            client.infer("risk", [given()])
        assert "UNAUTHENTICATED" in found.value.status()
        assert (
            client.infer("risk", [given()], headers={"authorization": f"Bearer {key}"}).as_numpy("decision").size == 5
        )


def test_an_unproven_model_says_so_in_metadata_and_answers(client, unproven):
    described = metadata_over("risk", client)
    assert described.properties["unproven"] == "false"
    port = free_port()
    with server(f"inc={unproven}", "--grpc-port", port), triton.InferenceServerClient(f"127.0.0.1:{port}") as other:
        assert metadata_over("inc", other).properties["unproven"] == "true"
        assert other.infer("inc", [given()]).get_response().parameters["unproven"].bool_param
    assert not client.infer("risk", [given()]).get_response().parameters


def metadata_over(model, client):
    """By primum's own messages: this client's copy of the protocol has no properties."""
    asked = client._channel.unary_unary(
        "/inference.GRPCInferenceService/ModelMetadata",
        request_serializer=message("ModelMetadataRequest").SerializeToString,
        response_deserializer=message("ModelMetadataResponse").FromString,
    )
    return asked(message("ModelMetadataRequest")(name=model))


def test_an_id_that_is_too_long_is_refused(client):
    with pytest.raises(triton.InferenceServerException) as found:
        client.infer("risk", [given()], request_id="x" * 257)
    assert "INVALID_ARGUMENT" in found.value.status() and "at most 256" in found.value.message()
    assert client.infer("risk", [given()], request_id="x" * 256).get_response().id == "x" * 256


class Caller:
    """A call's context."""

    def __init__(self, remaining):
        self.remaining = remaining

    def invocation_metadata(self):
        return ()

    def time_remaining(self):
        return self.remaining


class Endless:
    """A data plane whose model never answers."""

    def __init__(self):
        self.ended, self.name, self.access = [], "risk", Access()

    def check_log(self):
        pass

    def admit(self, authorization, api_key, wanted, certificate):
        return ANYBODY

    def model(self, name, version):
        return self

    async def infer(self, inputs, priority, timeout_s):
        await asyncio.sleep(60)

    def take_down(self, who, model, rung, request, status):
        self.ended.append((who, rung, request.id, status))

    def note(self, who, what, note, status, by_caller=True):
        self.ended.append((who, what, status))


@pytest.mark.parametrize(("remaining", "status"), [(None, 1), (5.0, 1), (0.0, 4), (-0.3, 4)])
def test_a_call_that_was_given_up_is_not_taken_down_as_answered(remaining, status):
    plane = Endless()

    async def give_up(call):
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    service, context = Service(plane), Caller(remaining)
    request = message("ModelInferRequest")(model_name="risk", id="r1")
    asyncio.run(give_up(service.ModelInfer(request, context)))
    asyncio.run(give_up(service._administered("load", context, lambda note: asyncio.sleep(60))))
    assert plane.ended == [("anybody", None, "r1", status), ("anybody", "load", status)]
