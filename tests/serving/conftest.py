import pytest
from served import build_artifact, server


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    """A risk model of 32 features in ONNX Runtime."""
    return build_artifact(tmp_path_factory.mktemp("served") / "artifact")


@pytest.fixture(scope="session")
def port(artifact):
    """Where that artifact is served, as `risk`."""
    with server(f"risk={artifact}") as port:
        yield port
