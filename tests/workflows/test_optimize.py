"""The main job, whole, on small data: real runtimes, real processes, real kills."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import inline
import numpy as np
import pytest
from shell import command, environ
from shell import primum as primum_cli
from studies import RUNTIMES, config, run, run_int8

import primum
from primum.config import ClinicalPolicy, OptimizationLevel
from primum.errors import InputError
from primum.runtimes.base import Target
from primum.study.recipe import Recipe, write_recipes
from primum.techniques.registry import make


@pytest.mark.processes
def test_a_proven_candidate_is_delivered_and_the_harmful_one_is_not(workshop, tmp_path):
    harmful = Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": 2}),))
    delivery = run(workshop, tmp_path / "out", recipes=(harmful,), config=config(runtimes=RUNTIMES))
    result, summary = delivery.result, delivery.summary()
    assert result.accepted and not result.unproven
    assert result.outcome == "NON_INFERIOR" and summary["verdict"] == "NON_INFERIOR"
    assert result.verdict_recipe == result.winner.recipe != str(harmful)
    trial = next(t for t in result.trials if t.recipe == str(harmful))
    assert trial.outcome == "INFERIOR"
    assert trial.verdict.agreement.harmful > 0 and len(trial.verdict.flips) == trial.verdict.agreement.flips
    html = delivery.report.read_text()
    assert any(flip.case_id in html for flip in trial.verdict.flips), "the report names the cases that flipped"
    assert "P0" not in html, "patients are not named in evidence"
    evidence = {p.name for p in (delivery.artifact / "evidence").iterdir()}
    assert {"validation.json", "benchmark.json", "flips.csv", "report.html"} <= evidence
    with primum.load(delivery.artifact) as predictor:
        images = sorted((workshop.many.parent / "images").iterdir())[:6]
        probabilities = predictor.predict(images)
        assert probabilities.shape == (6, 2) and np.allclose(probabilities.sum(axis=1), 1)


def test_forty_positives_are_inconclusive_and_the_lossless_original_is_delivered(workshop, tmp_path):
    out = tmp_path / "out"
    done = primum_optimize(workshop.few, workshop.weights, out, "--json", "--target", "onnxruntime")
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert summary["accepted"] is False and summary["verdict"] == "INCONCLUSIVE"
    assert summary["delivered"]["basis"] == "numeric" and "fp32" in summary["delivered"]["recipe"]
    endpoint = next(c for c in summary["verdict_detail"]["components"] if c["name"] == "sensitivity")
    assert endpoint["n_would_decide"] >= 189, "no fewer positives can decide a margin of 0.02"
    assert "would" in " ".join(summary["reasons"])
    kept = [json.loads(line) for line in next((tmp_path / "state").glob("*ledger.jsonl")).read_text().splitlines()]
    assert [one["look"] for one in kept] == ["search"], "a confirmation that could not decide was not opened"


def test_accepting_an_inconclusive_candidate_says_unproven_on_every_surface(workshop, tmp_path):
    delivery = run(
        workshop, tmp_path / "out", data="few", config=config(policy=ClinicalPolicy(), accept_inconclusive=True)
    )
    assert delivery.result.unproven and not delivery.result.accepted
    assert delivery.summary()["unproven"] is True
    assert "UNPROVEN" in delivery.report.read_text()
    assert "UNPROVEN" in (tmp_path / "out" / "report.txt").read_text()
    assert "UNPROVEN" in primum_cli("inspect", delivery.artifact).stdout


def test_minimal_level_tries_lossless_runtimes_only(workshop, tmp_path):
    result = run(workshop, tmp_path / "out", config=config(level=OptimizationLevel.MINIMAL)).result
    assert all(t.lossless for t in result.trials) and result.winner.lossless and result.accepted
    assert not result.confirmations
    assert any("MINIMAL" in item.why for item in result.left_out)


@pytest.mark.processes
def test_a_killed_study_goes_on_and_no_trial_is_lost_or_repeated(workshop, tmp_path):
    out, arguments = tmp_path / "out", optimize_arguments(workshop.many, workshop.weights, tmp_path / "out")
    arguments += ["--target", "onnxruntime,openvino", "--level", "minimal"]
    records = out / "study" / "trials"
    process = subprocess.Popen(command(*arguments), env=environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(records.glob("*.json"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in records.glob("*.json")}
    assert len(before) >= 2 and not (out / "artifact").exists()
    done = primum_cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert "going on with the study" in done.stderr
    after = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in records.glob("*.json")}
    assert before.items() <= after.items(), "finished trials were kept, not run again"
    assert (out / "artifact" / "manifest.json").exists()


def test_the_same_out_refuses_other_inputs(workshop, tmp_path):
    run(workshop, tmp_path / "out", config=config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",)))
    with pytest.raises(InputError, match="other inputs.*level"):
        run(workshop, tmp_path / "out")


def test_a_live_module_is_optimized_without_a_factory(workshop, tmp_path):
    import nets
    from safetensors.torch import load_file

    net = nets.build()
    net.load_state_dict(load_file(workshop.weights))
    delivery = primum.optimize(
        net,
        workshop.many,
        tmp_path / "out",
        patient_column="patient_id",
        preprocessing=workshop.many.parent / "preprocessing.yaml",
        config=config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",)),
    )
    assert delivery.result.winner.recipe == "onnxruntime[fp32, threads=1]" and delivery.result.speedup > 0


def test_a_second_candidate_on_the_same_confirmation_cases_is_reported(workshop, tmp_path):
    first = run_int8(workshop, tmp_path / "one")
    assert first.result.confirmations and not first.result.prior_openings
    second = run_int8(workshop, tmp_path / "two", "openvino")
    assert second.result.confirmations and second.result.prior_openings
    assert "100%" in second.result.prior_openings[0]
    assert "NOT A FIRST LOOK" in second.report.with_suffix(".txt").read_text().upper()[:2000], "where everybody reads"
    assert "NOT A FIRST LOOK" not in first.report.with_suffix(".txt").read_text().upper()


def test_the_same_candidate_judged_otherwise_on_the_same_cases_is_another_opening(workshop, tmp_path):
    first = run_int8(workshop, tmp_path / "one")
    other = run_int8(workshop, tmp_path / "two", group_columns=())
    before, now = ({c.key: c.frozen for c in done.result.confirmations} for done in (first, other))
    both = before.keys() & now.keys()
    assert both and not {before[key] for key in both} & {now[key] for key in both}, "the same recipe, another opening"
    assert not first.result.prior_openings and other.result.prior_openings and "100%" in other.result.prior_openings[0]
    assert "NOT A FIRST LOOK" in (tmp_path / "two" / "report.txt").read_text().upper()
    evidence = other.artifact / "evidence"
    told = json.loads((evidence / "validation.json").read_text())
    assert told["earlier_openings"] == list(other.result.earlier_openings) and told["uncomparable_openings"] == []
    for name in ("MODEL_CARD.md", "mlbom.cdx.json"):
        text = (evidence / name).read_text()
        assert "Not a first look: the confirmation cases were opened" in text and "100% of these" in text, name


def test_patients_who_are_called_otherwise_do_not_unlock_cases_unseen(workshop, tmp_path):
    """Other names put other patients into the locked part: among them those that the first study searched on."""
    assert not run_int8(workshop, tmp_path / "one").result.earlier_openings
    header, *rows = workshop.many.read_text().splitlines()
    place = header.split(",").index("patient_id")
    renamed = [",".join("x" + c if i == place else c for i, c in enumerate(row.split(","))) for row in rows]
    other = SimpleNamespace(many=workshop.many.with_name("renamed.csv"), weights=workshop.weights)
    other.many.write_text("\n".join([header, *renamed]) + "\n")
    told = run_int8(other, tmp_path / "two").result.earlier_openings
    assert any("searched on, for calibration or selection" in text for text in told), told


def test_a_studys_own_search_is_no_earlier_look_at_patients_with_equal_inputs(workshop, tmp_path):
    """A copy of each picture belongs to another patient: some pairs lie in a searched and in a locked part."""
    folder = shutil.copytree(workshop.many.parent, tmp_path / "many")
    header, *rows = workshop.many.read_text().splitlines()
    path, patient = (header.split(",").index(name) for name in ("path", "patient_id"))
    twins = []
    for number, cells in enumerate(row.split(",") for row in rows):
        source = Path(cells[path])
        cells[path], cells[patient] = str(source.with_stem(f"{source.stem}-twin")), f"twin-{number}"
        shutil.copyfile(folder / source, folder / cells[path])
        twins.append(",".join(cells))
    doubled = SimpleNamespace(many=folder / "doubled.csv", weights=workshop.weights)
    doubled.many.write_text("\n".join([header, *rows, *twins]) + "\n")
    result = run_int8(doubled, tmp_path / "out").result
    assert result.confirmations and not result.earlier_openings, result.earlier_openings
    other = run_int8(workshop, tmp_path / "other").result.earlier_openings
    assert any("searched on, for calibration or selection" in text for text in other), "another study's search is one"


def test_pseudonyms_can_be_resolved_on_site_only(workshop, tmp_path):
    run(workshop, tmp_path / "out", config=config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",)))
    with (tmp_path / "out" / "study" / "case-names.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["case"].startswith("images/") and rows[0]["case_id"].startswith("case-")
    assert not (tmp_path / "out" / "artifact" / "case-names.csv").exists()


def test_recipes_come_from_a_file(workshop, tmp_path):
    recipes = tmp_path / "recipes.yaml"
    plain = Recipe(Target(runtime="onnxruntime"), (make("round_weights", {"bits": 8}),))
    recipes.write_text(write_recipes((plain,)))
    done = primum_optimize(
        workshop.many, workshop.weights, tmp_path / "out", "--recipes", recipes, "--level", "minimal",
        "--target", "onnxruntime", "--json",
    )  # fmt: skip
    ran = [t["recipe"] for t in json.loads(done.stdout)["trials"]]
    assert "round_weights(bits=8) -> onnxruntime[fp32, threads=1]" in ran, "with the threads that all candidates get"


def optimize_arguments(manifest: Path, weights: Path, out: Path) -> list[object]:
    return [
        "optimize", "--model", "nets:build", "--checkpoint", weights, "--data", manifest, "--out", out,
        "--threads", 1, "--patient-column", "patient_id", "--preprocessing", manifest.parent / "preprocessing.yaml",
    ]  # fmt: skip


def primum_optimize(manifest: Path, weights: Path, out: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return inline.primum(*optimize_arguments(manifest, weights, out), *more)


def test_a_deleted_candidate_is_built_again(workshop, tmp_path):
    level = config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",))
    first = run(workshop, tmp_path / "out", config=level)
    shutil.rmtree(tmp_path / "out" / "study" / "candidates" / first.result.winner.key)
    again = run(workshop, tmp_path / "out", config=level)
    assert again.result.winner.key == first.result.winner.key and again.artifact.exists()


def test_an_edited_confirmation_record_decides_nothing(workshop, tmp_path):
    level = config()
    first = run(workshop, tmp_path / "out", config=level)
    record = tmp_path / "out" / "study" / "confirmation.json"
    assert first.result.accepted and "NON_INFERIOR" in record.read_text()
    record.write_text(record.read_text().replace("NON_INFERIOR", "INFERIOR"))
    assert run(workshop, tmp_path / "out", config=level).result.accepted
    record.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        run(workshop, tmp_path / "out", config=level)


def test_a_network_whose_code_was_changed_is_noticed(workshop, tmp_path, monkeypatch):
    import nets

    level = config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",))
    run(workshop, tmp_path / "out", config=level)
    original = nets.Blob.forward
    monkeypatch.setattr(nets.Blob, "forward", lambda self, x: 0.5 * original(self, x) - 0.3)
    with pytest.raises(InputError, match="answers differently"):
        run(workshop, tmp_path / "out", config=level)


def test_excluded_cases_are_pseudonyms_in_evidence(workshop, tmp_path):
    text = workshop.many.read_text().splitlines()
    manifest = workshop.many.parent / "blank.csv"
    manifest.write_text("\n".join([text[0], text[1].replace(",shadow,", ",,"), *text[2:]]) + "\n")
    changed = SimpleNamespace(blank=manifest, weights=workshop.weights)
    delivery = run(
        changed,
        tmp_path / "out",
        data="blank",
        config=config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",)),
    )
    assert len(delivery.result.data.excluded) == 1 and "no label" in delivery.report.read_text()
    for surface in (tmp_path / "out").glob("report.*"):
        assert "images/" not in surface.read_text(), surface.name
