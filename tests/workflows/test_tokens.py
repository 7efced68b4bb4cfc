"""Models that read indices: an encoder of token ids goes through a whole study; wrong ids are called by their name."""

from dataclasses import replace
from pathlib import Path

import inline
import nets
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import primum
from primum.artifact.golden import replay
from primum.config import ClinicalPolicy, Margins, OptimizationConfig, OptimizationLevel
from primum.data.options import DataOptions
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.errors import InputError
from primum.models.reference import parse_model
from primum.models.signature import Activation
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.workflows.optimize import planned
from primum.workflows.request import OptimizeRequest

LOSSLESS, RUNTIMES = OptimizationLevel.MINIMAL, ("onnxruntime",)
WIDE = Margins(sensitivity=0.3, specificity=0.3, auroc=0.3, brier=0.3)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    inline.patch(monkeypatch)


def written(folder: Path, dtype: str, beyond: int = 0) -> tuple[Path, Path]:
    """Notes labelled as the encoder itself decides on them, and its weights."""
    network, generator = nets.notes(), np.random.default_rng(4)
    ids = generator.integers(1, nets.WORDS, (500, 12))
    ids[generator.random(ids.shape) < 0.2] = 0
    with torch.inference_mode():
        logits = network(torch.from_numpy(ids))[:, 0].numpy()
        network.head.bias -= float(np.median(logits))
    labels = (logits > np.median(logits)).astype(np.int64)
    np.savez(folder / "notes.npz", x=(ids + beyond).astype(dtype), y=labels, p=np.array([f"p{i}" for i in range(500)]))
    save_file(network.state_dict(), folder / "notes.safetensors")
    return folder / "notes.npz", folder / "notes.safetensors"


def study(model: str, data: Path, weights: Path, out: Path, **more: object):
    given = {
        "config": OptimizationConfig(level=LOSSLESS, runtimes=RUNTIMES, threads=1, policy=ClinicalPolicy(margins=WIDE)),
        "checkpoint": weights,
        "patient_column": "p",
        "path_column": "x",
        "label_column": "y",
    }
    return primum.optimize(f"nets:{model}", data, out, **(given | more))


def test_an_encoder_of_token_ids_goes_through_a_whole_study(tmp_path):
    data, weights = written(tmp_path, "int64")
    dynamic = Recipe(Target(runtime="onnxruntime", precision="int8-dynamic", threads=1))
    eager = Recipe(Target(runtime="torchscript", threads=1))
    delivery = study("notes", data, weights, tmp_path / "out", recipes=(dynamic, eager))
    trials = {t.recipe: t for t in delivery.result.trials}
    assert all(trials[str(r)].ok for r in (dynamic, eager)), [(t.recipe, t.reason) for t in trials.values()]
    assert any("within the range of the data" in note for note in delivery.result.model.notes)
    assert delivery.result.outcome in ("NON_INFERIOR", "INCONCLUSIVE")
    with np.load(delivery.artifact / "golden.npz") as golden:
        ids = golden["inputs"]
    assert np.array_equal(ids, ids.round()) and ids.min() >= 0 and ids.max() < nets.WORDS
    assert len(np.unique(ids)) > nets.WORDS / 2, "golden vectors that ask for few words would show little"
    with primum.load(delivery.artifact) as predictor:
        assert replay(delivery.artifact, predictor).passed
        assert predictor.predict(np.arange(12)[None]).shape == (1, 2)


def test_an_activation_that_is_given_needs_no_probe(tmp_path):
    data, weights = written(tmp_path, "float32")
    request = OptimizeRequest(
        model=parse_model("nets:notes", str(weights)),
        data=data,
        out=tmp_path / "out",
        options=DataOptions(path_column="x", label_column="y", patient_column="p"),
        config=OptimizationConfig(level=LOSSLESS, threads=1),
    )
    notes = [planned(replace(request, activation=given)).model.notes for given in (None, Activation.SIGMOID)]
    assert [any("range of the data" in note for note in found) for found in notes] == [True, False]


def test_ids_beyond_the_vocabulary_are_told_with_their_range(tmp_path):
    data, weights = written(tmp_path, "int64", beyond=5)
    with pytest.raises(InputError, match=r"shape \(12,\) with values from 5 to 44: index out of range"):
        study("notes", data, weights, tmp_path / "out")


def test_a_model_that_demands_int64_is_told_what_to_do(tmp_path):
    data, weights = written(tmp_path, "int64")
    with pytest.raises(InputError, match=r"float32.*wrap it in a module.*\.long\(\)"):
        study("whole_only", data, weights, tmp_path / "out")


def test_whole_numbers_that_float32_would_change_are_refused():
    kept = np.array([2**24, -(2**24)])
    assert ArrayPreprocessing()(kept).astype(np.int64).tolist() == kept.tolist()
    with pytest.raises(InputError, match="16,777,217.*float32"):
        ArrayPreprocessing()(kept + np.array([1, 0]))
    assert ArrayPreprocessing(scale=1e-6)(kept + np.array([1, 0])).shape == (2,)
