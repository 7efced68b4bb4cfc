import numpy as np
import pytest

from primum.artifact.manifest import Manifest, write_manifest
from primum.artifact.predictor import Predictor, Proven
from primum.data.preprocessing import Preprocessing
from primum.models.signature import Signature


class FakeSession:
    """A runtime whose one logit is the mean of the input times ten; it writes down the batches it is given."""

    proven = Proven("fp32", "fake", 1)

    def __init__(self, batch_invariant=True):
        self.batch_invariant, self.batches, self.closed = batch_invariant, [], False

    def run(self, batch):
        assert batch.dtype == np.float32 and batch.flags.c_contiguous
        self.batches.append(batch.shape)
        return (batch.reshape(len(batch), -1).mean(axis=1, keepdims=True) * 10).astype(np.float32)

    def close(self):
        self.closed = True


@pytest.fixture
def make_manifest():
    def make(**changes):
        fields = {
            "primum_version": "0.1.0",
            "created": "2026-01-01T00:00:00+00:00",
            "signature": Signature(input_shape=(1, 8, 8), outputs=1, classes=("no", "yes")),
            "threshold": 0.6,
            "target": {"runtime": "fake", "precision": "fp32"},
            "runtime_version": "1",
            "precision_proven": "fp32",
            "provider": "fake",
            "recipe": "fake[fp32]",
            "parent_hash": "0" * 64,
            "preprocessing": Preprocessing(size=(8, 8), mean=(0.5,), std=(0.25,)),
        }
        return Manifest(**{**fields, **changes})

    return make


@pytest.fixture
def artifact(tmp_path, make_manifest):
    """A sealed folder with two files."""
    folder = tmp_path / "artifact"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.onnx").write_bytes(b"graph")
    (folder / "golden.npz").write_bytes(b"numbers")
    write_manifest(folder, make_manifest())
    return folder


@pytest.fixture
def session():
    return FakeSession


@pytest.fixture
def predictor(make_manifest):
    def make(batch_invariant=True, **changes):
        return Predictor(make_manifest(**changes), FakeSession(batch_invariant))

    return make
