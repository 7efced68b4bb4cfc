from pathlib import Path
from types import SimpleNamespace

import blobs
import inline
import pytest


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A fitted network and patients to judge it on."""
    folder = tmp_path_factory.mktemp("workshop")
    return SimpleNamespace(
        weights=blobs.fit(folder / "weights.safetensors"),
        many=blobs.make_manifest(folder / "many", 1200, seed=1),
        few=blobs.make_manifest(folder / "few", 140, seed=2, positives=40),
    )


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger and a pseudonym key of the test's own."""
    monkeypatch.setenv("PRIMUM_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Timing is a benchmark's matter, not a test's; and one study in processes of its own shows that they work."""
    if request.node.get_closest_marker("processes") is None:
        inline.patch(monkeypatch)
    monkeypatch.setattr("primum.study.runner.TIMED_ROUNDS", 3)
    monkeypatch.setattr("primum.study.race.ROUNDS", 2)
    monkeypatch.setattr("primum.workflows.optimize.FINAL_ROUNDS", 3)
    monkeypatch.setattr("primum.workflows.optimize.STAGE_IMAGES", 12)
