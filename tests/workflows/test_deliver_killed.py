"""A study with several claims ends as if it never was killed, and opens each claim once."""

import pytest
from deliveries import BOTH, INT8, Killed, asked, dies, quicken, without_evidence
from studies import run

from primum.artifact.manifest import artifact_digest
from primum.data.ledger import CONFIRMATION, SEARCH, Ledger
from primum.workflows import confirmation, delivery

STEPS = (
    (confirmation._Openings, "open", 0),  # declared, nothing opened
    (Ledger, "record", 2),  # the search told, one claim opened, the other not
    (confirmation, "verdict_to_data", 0),  # in the ledger, not yet kept
    (delivery, "seal", 1),  # one artifact sealed, the other not
    (delivery.shutil, "copytree", 0),  # both sealed, the best not yet copied
    (delivery, "render", 0),  # all sealed, no report
)


@pytest.mark.slow
def test_killed_at_each_step_in_turn(workshop, tmp_path, monkeypatch):
    quicken(monkeypatch)
    without_evidence(monkeypatch)
    out, study = tmp_path / "out", {"config": asked(), "recipes": INT8}
    declared, kept = out / "study" / "declared.json", b""
    for owner, name, after in STEPS:
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
    keys = [opened.key for opened in found.result.openings]
    looks = [opened.look for opened in Ledger().openings()]
    assert len(keys) == len(set(keys)) == 2, "opened once, however often it is killed"
    assert looks == [SEARCH, CONFIRMATION, CONFIRMATION]
    assert all(claim.accepted and not claim.winner.lossless for claim in found.result.claims)
    assert found.digest == found.digests[found.result.overall] == artifact_digest(out / "artifact")
    assert sorted(p.name for p in (out / "artifacts").iterdir()) == sorted(BOTH), "nothing half-written is left"
