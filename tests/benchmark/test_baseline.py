import json
import shutil

import pytest

from primum.benchmark import run_baseline_benchmark
from primum.errors import InputError


def test_labels_come_from_class_folders(xrays, network, tmp_path):
    results = run_baseline_benchmark(
        image_dir=str(xrays), checkpoint_path=network, num_samples=1000, output_dir=str(tmp_path / "out")
    )
    assert results["num_samples"] == 32
    assert results["accuracy_metrics"]["accuracy"] == 30 / 32
    assert any("positive: PNEUMONIA" in note for note in results["notes"])
    assert set(results["files"]) == {"json", "txt", "timings", "confusion_matrix", "metrics"}
    saved = json.loads((tmp_path / "out" / "results.json").read_text())["results"][0]
    assert saved["total_time_avg"] == results["total_time_avg"] > 0
    assert "positive class: PNEUMONIA" in (tmp_path / "out" / "results.txt").read_text()


def test_a_smaller_sample_still_holds_both_classes(xrays, network, tmp_path):
    metrics = run_baseline_benchmark(xrays, network, num_samples=8, output_dir=tmp_path)["accuracy_metrics"]
    assert metrics["true_negatives"] + metrics["false_positives"] == 4


def test_classes_say_which_folder_is_positive(xrays, network, tmp_path):
    swapped = run_baseline_benchmark(xrays, network, output_dir=tmp_path, classes=("PNEUMONIA", "NORMAL"))
    assert swapped["accuracy_metrics"]["accuracy"] == 2 / 32
    with pytest.raises(InputError, match="class folders are NORMAL, PNEUMONIA"):
        run_baseline_benchmark(xrays, network, output_dir=tmp_path, classes=("sick", "well"))


def test_without_class_folders_there_is_no_accuracy_and_the_notes_say_why(xrays, network, tmp_path):
    results = run_baseline_benchmark(xrays / "NORMAL", network, output_dir=tmp_path)
    assert results["accuracy_metrics"] == {}
    assert any("no accuracy" in note for note in results["notes"])
    assert set(results["files"]) == {"json", "txt", "timings"}


def test_three_class_folders_are_not_judged_as_two(xrays, network, tmp_path):
    root = shutil.copytree(xrays, tmp_path / "three")
    shutil.copytree(root / "NORMAL", root / "OTHER")
    results = run_baseline_benchmark(root, network, output_dir=tmp_path / "out")
    assert results["accuracy_metrics"] == {}


def test_an_unreadable_image_is_left_out_and_counted(xrays, network, tmp_path):
    root = shutil.copytree(xrays, tmp_path / "images")
    (root / "NORMAL" / "00.png").write_bytes(b"not a picture")
    results = run_baseline_benchmark(root, network, output_dir=tmp_path / "out")
    assert results["num_samples"] == 31
    assert any("1 image(s) could not be read" in note for note in results["notes"])
    assert "00.png" not in (tmp_path / "out" / "results.txt").read_text()


def test_only_unreadable_images_are_an_error_that_names_one(network, tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match="image 1 of "):
        run_baseline_benchmark(tmp_path, network, output_dir=tmp_path / "out")


def test_a_checkpoint_without_a_class_leaves_nothing_behind(xrays, network, tmp_path):
    with pytest.raises(InputError, match="module:factory"):
        run_baseline_benchmark(xrays, network.split("@")[1], output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()
