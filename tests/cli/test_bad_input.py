"""Each bad input: one clear line, exit code 2, nothing half-written, nothing run."""

import os
import pickle
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import blobs
import inline
import pytest
import shell


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    blobs.fit(folder / "weights.safetensors")
    blobs.make_manifest(folder / "data", 60, seed=3)
    return folder


@pytest.fixture
def place(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may spoil."""
    inline.patch(monkeypatch)
    return Path(shutil.copytree(good, tmp_path / "place"))


def optimize(place: Path, *more: object, model: str = "nets:build", checkpoint: object = None, data: object = None):
    return inline.primum(
        "optimize", "--threads", 1, "--model", model, "--checkpoint", checkpoint or place / "weights.safetensors",
        "--data", data or place / "data" / "manifest.csv", "--out", place / "out",
        "--preprocessing", place / "data" / "preprocessing.yaml", *more,
        PRIMUM_STATE=str(place / "state"),
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    message = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert len(message) == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in message[0], message[0]


def line_of(place: Path, image: Path) -> int:
    """Where the manifest lists it."""
    lines = (place / "data" / "manifest.csv").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if f"{image.name}," in line)


def test_wrong_paths(place):
    refused(optimize(place, data=place / "nowhere"), "nowhere", "no such file or folder")
    refused(optimize(place, checkpoint=place / "nothing.pt"), "nothing.pt", "no such file")
    refused(optimize(place, model="nets:missing"), "nets", "missing")
    refused(optimize(place, model="no_such_module:build"), "no_such_module")
    refused(optimize(place, model="nets:not_a_module"), "str")


def test_runtimes_that_cannot_be_delivered(place):
    refused(optimize(place, "--deliver", "openvino", "--target", "onnxruntime"), "openvino", "not among the runtimes")
    refused(optimize(place, "--deliver", "openvino", "--deliver", "openvino"), "openvino more than once")
    refused(optimize(place, "--deliver", "abacus"), "no runtime 'abacus'")
    assert not (place / "out").exists()


def test_a_class_without_images(place):
    (place / "folders" / "clear").mkdir(parents=True)
    (place / "folders" / "shadow").mkdir()
    shutil.copy(next((place / "data" / "images").iterdir()), place / "folders" / "clear" / "a.png")
    refused(optimize(place, data=place / "folders"), "only one class folder")


def test_a_corrupt_image_stops_with_its_line_or_is_excluded_by_wish(place):
    victim = next((place / "data" / "images").iterdir())
    victim.write_bytes(victim.read_bytes()[:300])
    done = optimize(place)
    refused(done, f"manifest.csv line {line_of(place, victim)}: ", "truncated or corrupt")
    assert victim.name not in done.stderr, "a file may be called after its patient"
    skipped = optimize(place, "--skip-bad-files", "--plan")
    assert skipped.returncode == 0, skipped.stderr


def test_an_image_header_that_promises_billions_of_pixels(place):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    header = struct.pack("!IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    victim = next((place / "data" / "images").iterdir())
    victim.write_bytes(bomb)
    refused(optimize(place), f"manifest.csv line {line_of(place, victim)}: ", "pixels")


def test_labels_that_do_not_match(place):
    manifest = place / "data" / "manifest.csv"
    text = manifest.read_text()
    manifest.write_text(text.replace(",shadow,", ",other,", 1))
    refused(optimize(place), "3 classes", "other")
    manifest.write_text(text)
    refused(optimize(place, "--label-column", "diagnosis"), "diagnosis", "label")
    refused(optimize(place, "--positive-class", "pneumonia"), "pneumonia", "clear, shadow")
    refused(optimize(place, "--positive-class", "clear"), "AUROC", "--positive-class shadow")


def test_a_checkpoint_whose_keys_do_not_fit(place):
    from safetensors.torch import load_file, save_file

    state = load_file(place / "weights.safetensors")
    state["head.extra"] = state.pop("head.bias")
    save_file(state, place / "other.safetensors")
    refused(optimize(place, checkpoint=place / "other.safetensors"), "1 missing", "head.bias", "head.extra")


class Marker:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".pkl"])
def test_a_pickle_that_would_run_code_does_not_run(place, suffix):
    import torch

    file, marker = place / f"evil{suffix}", place / "it-ran"
    if suffix == ".pkl":
        file.write_bytes(pickle.dumps(Marker(marker)))
        refused(shell.primum("optimize", "--model", file, "--data", place / "data", "--out", place / "out"), "refused")
    else:
        torch.save({"state_dict": {}, "callbacks": Marker(marker)}, file)
        refused(optimize(place, checkpoint=file), "refused", "would run code")
    assert not marker.exists()


def test_a_model_that_gives_nan(place):
    refused(optimize(place, model="nets:nan"), "NaN")


def test_a_patient_in_training_and_judging(place):
    manifest = place / "data" / "manifest.csv"
    lines = manifest.read_text().splitlines()
    (place / "data" / "train.csv").write_text("\n".join([lines[0], lines[1], lines[-1]]) + "\n")
    done = optimize(place, "--patient-column", "patient_id", "--train-data", place / "data" / "train.csv")
    refused(done, "2 patient(s)", "both")


@pytest.mark.parametrize("option", ["--dice-margin", "--error-margin", "--tolerance", "--kappa-margin"])
def test_an_option_of_another_task(place, option):
    refused(optimize(place, option, 0.1), f"{option} is for a", "give --task")
    refused(optimize(place, option, 0.1, "--plan", "--task", "binary"), f"{option} is for a", "not binary")
    assert not (place / "out").exists()


def test_options_out_of_range(place):
    refused(optimize(place, "--margin", "1.5"), "less than 1")
    refused(optimize(place, "--margin", "nan"), "--margin nan", "finite number greater than 0 and less than 1")
    refused(optimize(place, "--level", "medical_critical"), "margins", "auroc")
    refused(optimize(place, "--target", "tensorflow"), "tensorflow")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_leaves_nothing_half_written(place):
    disk = place / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        done = shell.primum(
            "optimize", "--threads", 1, "--model", "nets:build", "--checkpoint", place / "weights.safetensors",
            "--data", place / "data" / "manifest.csv", "--out", disk / "out", "--target", "onnxruntime",
            "--preprocessing", place / "data" / "preprocessing.yaml",
        )  # fmt: skip
        refused(done, "disk is full")
        left = [p for p in disk.rglob("*") if p.is_file() and (p.name.startswith(".") or p.suffix == ".tmp")]
        assert not left and not (disk / "out" / "artifact").exists()
    finally:
        subprocess.run(["umount", disk], check=True)
