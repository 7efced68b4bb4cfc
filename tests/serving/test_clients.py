"""Clients that others wrote, over the socket."""

import numpy as np
import pytest
from served import FEATURES

import primum

ROWS = np.random.default_rng(1).normal(0, 1, (5, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(artifact):
    with primum.load(artifact) as predictor:
        return predictor.predict_tensor(ROWS)


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient(port, expected, binary):
    triton = pytest.importorskip("tritonclient.http")
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("risk")
        assert client.get_server_metadata()["name"] == "primum"
        assert client.get_model_metadata("risk")["inputs"][0]["shape"] == [-1, FEATURES]
        given = triton.InferInput("input", list(ROWS.shape), "FP32")
        given.set_data_from_numpy(ROWS, binary_data=binary)
        wanted = triton.InferRequestedOutput("probabilities", binary_data=binary)
        for outputs in ([wanted], None):
            answer = client.infer("risk", [given], outputs=outputs, request_id="r1", priority=1, timeout=5_000_000)
            assert answer.get_response()["id"] == "r1"
            np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-6)
        with pytest.raises(triton.InferenceServerException, match="no model of that name"):
            client.infer("other", [given])


def test_open_inference_openapi(port, expected):
    client = pytest.importorskip("open_inference.openapi.client")
    models = pytest.importorskip("open_inference.openapi.types")
    found = client.OpenInferenceClient(base_url=f"http://127.0.0.1:{port}")
    found.check_server_liveness()
    found.check_server_readiness()
    assert found.read_server_metadata().name == "primum"
    described = found.read_model_metadata("risk")
    assert described.name == "risk" and found.check_model_readiness("risk") is None
    data = models.TensorData.parse_obj(ROWS.ravel().tolist())
    given = models.RequestInput(name="input", shape=list(ROWS.shape), datatype="FP32", data=data)
    answer = found.model_infer("risk", request=models.InferenceRequest(inputs=[given]))
    first = next(o for o in answer.outputs if o.name == "probabilities")
    np.testing.assert_allclose(np.reshape(first.data.dict()["__root__"], (5, 2)), expected, atol=1e-6)
    version = found.model_version_infer("risk", described.versions[0], request=models.InferenceRequest(inputs=[given]))
    assert version.outputs == answer.outputs
