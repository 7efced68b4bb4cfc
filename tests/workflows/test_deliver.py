"""One artifact for each of several runtimes, whole: claims, openings, evidence."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from deliveries import BOTH, INT8, asked, quicken
from studies import run

import primum
from primum.artifact.manifest import artifact_digest
from primum.data.ledger import Ledger
from primum.errors import InputError


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture(scope="module")
def made(workshop: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory):
    """A study that was asked for both runtimes, with its ledger."""
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
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
    assert openings[0].look == "search", "which cases were searched on is recorded before"
    assert [o.hash for o in openings[1:]] == [c.entry for c in result.openings]
    assert all(declared["when"] <= o.when for o in openings[1:])
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


def test_other_deliveries_are_another_study(made, workshop, tmp_path):
    shutil.copytree(made.out / "study", tmp_path / "out" / "study")
    with pytest.raises(InputError, match="differs in: deliver, policy, runtimes"):
        run(workshop, tmp_path / "out", config=asked(deliver=BOTH[:1]), recipes=INT8)
    with pytest.raises(InputError, match="differs in: objective"):
        run(workshop, tmp_path / "out", config=asked(objective="size"), recipes=INT8)
