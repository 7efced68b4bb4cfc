import pytest
from served import build_artifact, server

from primum.data.preprocessing_array import ArrayPreprocessing


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    """A risk model of 32 features in ONNX Runtime."""
    return build_artifact(tmp_path_factory.mktemp("served") / "artifact")


@pytest.fixture(scope="session")
def port(artifact):
    """Where that artifact is served, as `risk`."""
    with server(f"risk={artifact}") as port:
        yield port


@pytest.fixture(scope="session")
def unproven(tmp_path_factory):
    """One delivered with --accept-inconclusive."""
    folder = tmp_path_factory.mktemp("unproven") / "artifact"
    changes = {"verdict": "INCONCLUSIVE", "unproven": True, "preprocessing": ArrayPreprocessing()}
    return build_artifact(folder, **changes)
