"""Which students of fewer blocks a network has, as the search asks."""

from types import SimpleNamespace

import nets
import numpy as np
import pytest
from safetensors.torch import save_file

from primum.models.reference import ModelReference
from primum.models.signature import Signature
from primum.study.beyond import shallower
from primum.study.stages import Workshop

SIGNATURE = Signature(input_shape=(1, 32, 32), outputs=1, classes=("clear", "shadow"))


@pytest.mark.parametrize(("name", "depths"), [("rows", {0.5}), ("build", set())])
def test_repeated_blocks_give_students_and_nothing_else_does(name, depths, tmp_path):
    save_file(getattr(nets, name)().state_dict(), tmp_path / "weights.safetensors")
    reference = ModelReference(factory=f"nets:{name}", checkpoint=tmp_path / "weights.safetensors")
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).normal(size=(8, 1, 32, 32)).astype(np.float32))
    original = SimpleNamespace(signature=SIGNATURE, reference=reference)
    found = shallower(original, Workshop(tmp_path, tmp_path / "inputs.npy", np.arange(8)))
    assert {depth for _, depth in found} == depths
    assert all(width <= 1 for width, _ in found)
