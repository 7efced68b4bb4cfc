import json
import os
from pathlib import Path

import numpy as np
import pytest

from primum.validation.gate import Cases


@pytest.fixture(scope="session")
def oracles():
    """Worked examples from the folder that PRIMUM_ORACLES names; the tests hold the small ones."""
    folder = os.environ.get("PRIMUM_ORACLES")
    if not folder or not (Path(folder) / "statistics.json").is_file():
        pytest.skip("PRIMUM_ORACLES names no folder with statistics.json")
    content = json.loads((Path(folder) / "statistics.json").read_text())
    return {item["id"]: item for item in content["items"]}, content["datasets"]


@pytest.fixture
def make_cases():
    def build(labels, patients=None, groups=None, **more):
        labels = np.asarray(labels)
        ids = np.array([f"c{i}" for i in range(labels.size)])
        own = np.array([f"p{i}" for i in range(labels.size)])
        return Cases(labels, own if patients is None else np.asarray(patients), groups or {}, ids, **more)

    return build


@pytest.fixture
def scored():
    """Labels and two score vectors with given losses and gains: rankings differ, nothing is degenerate."""

    def build(positives, negatives, lost=0, gained=0, false_alarms=0, seed=0):
        rng = np.random.default_rng(seed)
        labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
        high, low = 0.8, 0.2
        reference = np.where(labels == 1, high, low) + rng.uniform(-0.1, 0.1, labels.size)
        # Some cases that both get wrong keep the AUROC below 1.
        both = max(1, positives // 10)
        reference[positives - both : positives] -= 0.6
        reference[labels.size - max(1, negatives // 10) :] += 0.6
        candidate = reference + rng.uniform(-0.005, 0.005, labels.size)
        candidate[:lost] -= 0.6
        reference[lost : lost + gained] -= 0.6
        candidate[positives : positives + false_alarms] += 0.6
        return labels, reference.clip(0, 1), candidate.clip(0, 1)

    return build
