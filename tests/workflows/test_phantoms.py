import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from primum.errors import InputError
from primum.workflows import demo_network
from primum.workflows.phantoms import COLUMNS, LABELS, PNG_NOTE, make_phantoms


def _rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="") as handle:
        return list(csv.DictReader(handle))


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantoms(tmp_path_factory.mktemp("phantoms") / "set", patients=120, seed=5)


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        make_phantoms(tmp_path / name, patients=12, seed=seed, size=32)
    assert _digests(tmp_path / "one") == _digests(tmp_path / "two")
    one, other = (_digests(tmp_path / name) for name in ("one", "other"))
    shared = [name for name in one if name.startswith("images/") and name in other]
    assert shared and all(one[name] != other[name] for name in shared)


def test_the_manifest_lists_every_image_once(phantoms: Path) -> None:
    rows = _rows(phantoms)
    assert tuple(rows[0]) == COLUMNS
    listed = [row["path"] for row in rows]
    written = {f"images/{path.name}" for path in (phantoms.parent / "images").iterdir()}
    assert len(set(listed)) == len(listed) and set(listed) == written


def test_a_patient_has_one_label_sex_and_site_and_some_have_two_images(phantoms: Path) -> None:
    rows = _rows(phantoms)
    facts = {(row["patient_id"], row["label"], row["sex"], row["site"]) for row in rows}
    assert len(facts) == len({row["patient_id"] for row in rows}) == 120
    images = Counter(Counter(row["patient_id"] for row in rows).values())
    assert set(images) == {1, 2} and 0.02 < images[2] / 120 < 0.25


def test_two_images_of_a_patient_differ(phantoms: Path) -> None:
    rows = _rows(phantoms)
    twice = next(row for row in rows if row["path"].endswith("-2.png"))
    first, second = (
        np.asarray(Image.open(phantoms.parent / twice["path"].replace("-2.png", f"-{which}.png")), float)
        for which in (1, 2)
    )
    assert np.abs(first - second).mean() > 1


@pytest.mark.parametrize("patients", [4, 7, 120])
def test_both_labels_occur_in_each_sex_and_half_are_positive(tmp_path: Path, patients: int) -> None:
    rows = _rows(make_phantoms(tmp_path / "set", patients, seed=1, size=16))
    of_patient = {row["patient_id"]: (row["sex"], row["label"]) for row in rows}
    assert set(of_patient.values()) == {(sex, label) for sex in ("female", "male") for label in LABELS}
    positive = sum(label == "opacity" for _, label in of_patient.values())
    assert abs(positive - patients / 2) <= 1


@pytest.mark.parametrize("size", [16, 64, 97])
def test_images_are_eight_bit_grey_of_the_asked_size_and_say_that_they_are_synthetic(tmp_path: Path, size: int) -> None:
    manifest = make_phantoms(tmp_path / "set", 4, seed=2, size=size)
    for row in _rows(manifest):
        with Image.open(manifest.parent / row["path"]) as image:
            assert (image.mode, image.size, image.text["Description"]) == ("L", (size, size), PNG_NOTE)
            assert np.asarray(image).std() > 20
        assert row["patient_id"].startswith("synthetic-")
    assert "SYNTHETIC" in (manifest.parent / "README.txt").read_text()


def test_opacities_lighten_the_lungs(phantoms: Path) -> None:
    brightness: dict[str, list[float]] = {label: [] for label in LABELS}
    for row in _rows(phantoms):
        picture = np.asarray(Image.open(phantoms.parent / row["path"]), float)
        # Against the picture's own brightness, or gain and offset drown the difference.
        brightness[row["label"]].append(picture[15:48, 12:52].mean() / picture.mean())
    assert np.mean(brightness["opacity"]) > np.mean(brightness["normal"]) + 0.02


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="already holds"):
        make_phantoms(tmp_path / "set", 4, seed=0)
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(RuntimeError, match="broken"):
        make_phantoms(tmp_path / "set", 4, seed=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("patients", "size"), [(3, 64), (4, 15), (-1, 64)])
def test_too_few_patients_or_pixels_are_refused(tmp_path: Path, patients: int, size: int) -> None:
    with pytest.raises(InputError, match="at least 4 patients"):
        make_phantoms(tmp_path / "set", patients, seed=0, size=size)


def test_the_network_gives_one_logit_an_image_and_is_large_enough_to_quantize() -> None:
    network = demo_network.build().eval()
    with torch.inference_mode():
        logits = network(torch.randn(3, 1, 64, 64))
    assert logits.shape == (3, 1) and logits.dtype == torch.float32 and logits.std() > 0
    assert 2_500_000 < sum(parameter.numel() for parameter in network.parameters()) < 3_000_000


def test_training_learns_saves_loadable_weights_and_leaves_the_random_state(
    tmp_path: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_network, "MAX_EPOCHS", 6)
    before, said = torch.get_rng_state(), list[str]()
    result = demo_network.train(phantoms, tmp_path, seed=0, budget_s=60, progress=said.append)
    assert torch.equal(before, torch.get_rng_state())
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
    network = demo_network.build()
    network.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert set(result) == {"train_auroc", "held_out_auroc", "epochs", "seconds"}
    assert result["epochs"] == len(said) == 6
    assert result["train_auroc"] > 0.6 and 0 <= result["held_out_auroc"] <= 1


def test_training_keeps_to_a_small_budget(tmp_path: Path, phantoms: Path) -> None:
    result = demo_network.train(phantoms, tmp_path, seed=0, budget_s=0.0, progress=lambda _: None)
    assert result["epochs"] == 1


def test_held_out_patients_are_whole_patients_of_both_labels(phantoms: Path) -> None:
    rows = _rows(phantoms)
    patients = np.array([row["patient_id"] for row in rows])
    labels = np.array([float(row["label"] == "opacity") for row in rows], np.float32)
    held_out = demo_network._draw_held_out(patients, labels, seed=0).numpy()
    assert len(set(patients[held_out])) == 12
    assert not set(patients[held_out]) & set(patients[~held_out])
    assert len(set(patients[held_out & (labels == 1)])) == 6


def test_training_refuses_too_few_patients_and_a_foreign_manifest(tmp_path: Path) -> None:
    few = make_phantoms(tmp_path / "few", 8, seed=0)
    with pytest.raises(InputError, match="at least 20 patients of each label"):
        demo_network.train(few, tmp_path / "out", 0, 1.0, lambda _: None)
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("path,label\na.png,1\n")
    with pytest.raises(InputError, match="make_phantoms"):
        demo_network.train(foreign, tmp_path / "out", 0, 1.0, lambda _: None)
    assert not (tmp_path / "out").exists()
