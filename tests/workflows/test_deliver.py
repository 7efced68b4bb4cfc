"""One artifact for each of several runtimes, whole: claims, openings, evidence, kills in between."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import inline
import pytest
from studies import config, run

import primum
from primum.artifact.manifest import artifact_digest
from primum.config import OptimizationConfig, OptimizationLevel
from primum.data.ledger import Ledger
from primum.errors import InputError, TrialError
from primum.runtimes.base import Target, get_runtime
from primum.study.recipe import Recipe
from primum.techniques.registry import make
from primum.workflows import confirmation, delivery

BOTH = ("openvino", "onnxruntime")
INT8 = tuple(Recipe(Target(runtime=name, precision="int8", threads=1)) for name in BOTH)


def asked(**more: object) -> OptimizationConfig:
    """Lossless runtimes, and what a test gives by hand."""
    return config(runtimes=(), deliver=BOTH, level=OptimizationLevel.MINIMAL, **more)


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    inline.patch(monkeypatch)
    # Networks this small gain little: every candidate counts as fast enough.
    monkeypatch.setattr("primum.study.select._GAIN", 0.0)


@pytest.fixture(scope="module")
def made(workshop: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory):
    """A study that was asked for both runtimes, with its ledger."""
    with pytest.MonkeyPatch.context() as patch:
        inline.patch(patch)
        patch.setattr("primum.study.select._GAIN", 0.0)
        for name in ("study.runner.TIMED_ROUNDS", "workflows.optimize.FINAL_ROUNDS"):
            patch.setattr(f"primum.{name}", 3)
        patch.setattr("primum.workflows.optimize.STAGE_IMAGES", 12)
        state = tmp_path_factory.mktemp("state")
        patch.setenv("PRIMUM_STATE", str(state))
        out = tmp_path_factory.mktemp("both") / "out"
        yield SimpleNamespace(delivery=run(workshop, out, config=asked(), recipes=INT8), out=out, state=state)


def test_each_runtime_has_a_proven_artifact_of_its_own(made, workshop):
    result, images = made.delivery.result, sorted((workshop.many.parent / "images").iterdir())[:4]
    assert [c.runtime for c in result.claims] == list(BOTH) and not result.not_delivered
    assert set(made.delivery.artifacts) == set(BOTH)
    for claim in result.claims:
        assert claim.accepted and claim.winner.runtime == claim.runtime and not claim.winner.lossless
        place = made.out / "artifacts" / claim.runtime
        assert artifact_digest(place) == made.delivery.digests[claim.runtime]
        with primum.load(place) as predictor:
            assert predictor.manifest.target["runtime"] == claim.runtime
            assert predictor.manifest.verdict == "NON_INFERIOR"
            assert predictor.predict(images).shape == (4, 2)


def test_the_claims_share_the_error_and_every_opening_is_in_the_ledger(made, monkeypatch):
    result = made.delivery.result
    assert result.policy.confidence == pytest.approx(0.975) and result.shared_by == 2
    assert {c.verdict.confidence for c in result.openings} == {result.policy.confidence}
    declared = json.loads((made.out / "study" / "declared.json").read_text())
    keys = [key for name in BOTH for key in declared["claims"][name]["keys"]]
    assert keys == [c.key for c in result.openings] and len(keys) == 2
    monkeypatch.setenv("PRIMUM_STATE", str(made.state))
    openings = Ledger().openings()
    assert [o.hash for o in openings] == [c.entry for c in result.openings]
    assert all(declared["when"] <= o.when for o in openings)
    assert not any(c.prior_openings for c in result.claims), "its own openings are no earlier ones"


def test_the_best_lies_in_artifact_byte_for_byte(made):
    result = made.delivery.result
    best = max(result.claims, key=lambda c: c.winner.speed)
    assert result.runtime == result.overall == best.runtime and result.winner.key == best.winner.key
    assert made.delivery.digest == made.delivery.digests[best.runtime] == artifact_digest(made.out / "artifact")
    assert result.accepted


def test_each_artifacts_evidence_is_its_own(made):
    for claim in made.delivery.result.claims:
        evidence = made.out / "artifacts" / claim.runtime / "evidence"
        validation = json.loads((evidence / "validation.json").read_text())
        assert validation["recipe"] == claim.winner.recipe
        assert validation["verdict"]["confidence"] == pytest.approx(0.975)
        record = json.loads((evidence / "modification_record.json").read_text())
        registered = record["protocol"]["pre_registration"]
        assert registered["sequence"] == [claim.winner.recipe] and registered["claims_that_share_the_error"] == 2
        (other,) = registered["sequences_of_other_claims"]
        assert other == next(name for name in BOTH if name != claim.runtime)
        report = json.loads((evidence / "report.json").read_text())
        assert report["winner"]["key"] == claim.winner.key and report["runtime"] == claim.runtime
        bill = json.loads((evidence / "mlbom.cdx.json").read_text())
        assert claim.winner.recipe in json.dumps(bill)


def test_the_summary_has_one_row_a_runtime(made):
    summary, result = made.delivery.summary(), made.delivery.result
    rows = json.loads(json.dumps(summary["deliveries"]))
    assert [row["runtime"] for row in rows] == list(BOTH) and summary["not_delivered"] == []
    assert summary["objective"] == "latency"
    for row, claim in zip(rows, result.claims):
        assert row["recipe"] == claim.winner.recipe and row["outcome"] == "NON_INFERIOR"
        assert row["speedup"] == result.told_from(claim).speedup == result.final[claim.winner.key].ratio
        assert row["speedup_interval"][0] <= row["speedup"] <= row["speedup_interval"][1]
        assert row["size_bytes"] == claim.winner.size_bytes and row["flips"] == claim.verdict.agreement.flips
        assert artifact_digest(Path(row["artifact"])) == row["digest"]
    assert [row["overall"] for row in rows] == [c.runtime == result.overall for c in result.claims]


class Killed(BaseException):
    """What no step may catch."""


def dies(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, after: int = 0) -> None:
    """The call after `after` others to `owner.name` never returns."""
    honest: Callable[..., object] = getattr(owner, name)
    calls = []

    def deadly(*args: object, **more: object) -> object:
        calls.append(1)
        if len(calls) > after:
            raise Killed
        return honest(*args, **more)

    monkeypatch.setattr(owner, name, deadly)


def test_killed_at_each_step_in_turn_it_ends_as_if_it_never_was(made, workshop, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(made.out / "study", out / "study")
    for name in ("declared.json", "confirmation.json"):
        (out / "study" / name).unlink()
    for scores in (out / "study" / "scores").glob("*-confirmation.npy"):
        scores.unlink()
    study, declared = {"config": asked(), "recipes": INT8}, out / "study" / "declared.json"
    steps = [
        (confirmation._Openings, "open", 0),  # declared, nothing opened
        (Ledger, "record", 1),  # one claim opened, the other not
        (confirmation, "verdict_to_data", 0),  # in the ledger, not yet kept
        (delivery, "seal", 1),  # one artifact sealed, the other not
        (delivery.shutil, "copytree", 0),  # both sealed, the best not yet copied
        (delivery, "render", 0),  # all sealed, no report
    ]
    kept = None
    for owner, name, after in steps:
        with monkeypatch.context() as patch:
            dies(patch, owner, name, after)
            with pytest.raises(Killed):
                run(workshop, out, **study)
        kept = kept or declared.read_bytes()
        assert declared.read_bytes() == kept, name
        assert not (out / "report.html").exists()
    (out / "artifacts" / ".openvino-left").mkdir()
    found = run(workshop, out, **study)
    assert declared.read_bytes() == kept
    assert len(Ledger().openings()) == 2, "a claim is opened once, however often it is killed"
    assert [c.winner.key for c in found.result.claims] == [c.winner.key for c in made.delivery.result.claims]
    assert found.digest == found.digests[found.result.overall]
    assert sorted(p.name for p in (out / "artifacts").iterdir()) == sorted(BOTH), "nothing half-written is left"


def test_a_runtime_that_has_only_its_lossless_form_is_delivered_in_it_and_says_why(workshop, tmp_path, monkeypatch):
    harmful = Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": 2}),))
    result = run(workshop, tmp_path / "out", config=asked(), recipes=(INT8[0], harmful)).result
    vino, ort = result.claims
    assert vino.accepted and not vino.winner.lossless
    assert ort.winner.lossless and not ort.accepted and ort.winner.runtime == "onnxruntime"
    assert "was not accepted (INFERIOR)" in ort.reasons[0] and ort.verdict_recipe == str(harmful)
    assert not ort.confirmations and vino.confirmations
    manifest = json.loads((tmp_path / "out" / "artifacts" / "onnxruntime" / "manifest.json").read_text())
    assert manifest["verdict"] == "NON_INFERIOR" and not manifest["unproven"]
    text = " ".join((tmp_path / "out" / "report.txt").read_text().split())
    assert "ONNX Runtime has the original, lossless" in text


def test_a_runtime_that_cannot_run_is_reported_and_none_at_all_is_an_error(workshop, tmp_path, monkeypatch):
    def broken(*args: object) -> None:
        raise TrialError("its compiler died")

    monkeypatch.setattr(type(get_runtime("openvino")), "build", broken)
    made = run(workshop, tmp_path / "one", config=asked(), recipes=INT8)
    (absent,) = made.result.not_delivered
    assert absent.runtime == "openvino" and "its compiler died" in absent.reason
    assert made.result.shared_by == 2 and made.result.policy.confidence == pytest.approx(0.975)
    assert made.summary()["not_delivered"] == [{"runtime": "openvino", "reason": absent.reason}]
    assert list(made.artifacts) == ["onnxruntime"] and not (tmp_path / "one" / "artifacts" / "openvino").exists()
    assert "No artifact for OpenVINO" in made.report.read_text()
    monkeypatch.setattr(type(get_runtime("onnxruntime")), "build", broken)
    with pytest.raises(InputError, match=r"for openvino: .*died.*; .*for onnxruntime: .*died"):
        run(workshop, tmp_path / "none", config=asked())


def test_other_deliveries_are_another_study(made, workshop, tmp_path):
    shutil.copytree(made.out / "study", tmp_path / "out" / "study")
    with pytest.raises(InputError, match="differs in: deliver, policy, runtimes"):
        run(workshop, tmp_path / "out", config=asked().model_copy(update={"deliver": BOTH[:1]}), recipes=INT8)
    with pytest.raises(InputError, match="differs in: objective"):
        run(workshop, tmp_path / "out", config=asked(objective="size"), recipes=INT8)
