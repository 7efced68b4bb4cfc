"""The end of the main job: every claim's artifact sealed, the report written."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import artifact_digest
from primum.files import folder
from primum.progress import Progress
from primum.reporting import render
from primum.reporting.evidence import write_evidence
from primum.study.deliveries import delivered_rows
from primum.study.original import Original
from primum.study.result import StudyResult, summary
from primum.study.store import Store
from primum.workflows.seal import seal


@dataclass(frozen=True)
class Delivery:
    """What optimize left on disk, and the result behind it."""

    result: StudyResult
    artifact: Path
    report: Path
    digest: str
    """Of the sealed artifact; kept elsewhere, it shows that nobody changed it."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of the artifact of each runtime that one was asked for; they lie in artifacts/ beside `artifact`."""

    @property
    def artifacts(self) -> dict[str, Path]:
        """The artifact of each runtime that one was asked for."""
        return {c.runtime: self.artifact.parent / c.place for c in self.result.claims if c.runtime}

    def summary(self) -> dict[str, Any]:
        """Plain data, as `primum optimize --json` prints it."""
        return {**summary(self.result, self.artifact, self.report), "digest": self.digest, **self._by_runtime()}

    def _by_runtime(self) -> dict[str, Any]:
        rows = [row for row in delivered_rows(self.result) if row.runtime]
        return {
            "deliveries": [
                {**asdict(r), "artifact": str(self.artifacts[r.runtime]), "digest": self.digests[r.runtime]}
                for r in rows
            ],
            "not_delivered": [asdict(item) for item in self.result.not_delivered],
        }


def seal_all(
    result: StudyResult,
    store: Store,
    original: Original,
    sample: NDArray[np.float32],
    out: Path,
    progress: Progress,
) -> Delivery:
    """Seal every claim's artifact below `out`; the best of several lies in artifact/ too, byte for byte.

    `sample`: some inputs of the data; golden vectors keep to their range where these are whole numbers.
    """
    progress.stage("Report and seal", len(result.claims))
    for number, claim in enumerate(result.claims):
        _seal_one(result.told_from(claim), store, original, sample, out / claim.place)
        progress.advance(number + 1)
    if result.runtime:
        with folder(out / "artifact") as place:
            shutil.copytree(out / result.place, place, dirs_exist_ok=True)
    render(result, out)
    digests = {claim.runtime: artifact_digest(out / claim.place) for claim in result.claims if claim.runtime}
    return Delivery(result, out / "artifact", out / "report.html", artifact_digest(out / "artifact"), digests)


def _seal_one(result: StudyResult, store: Store, original: Original, sample: NDArray[np.float32], out: Path) -> None:
    winner, own = result.winner, result.own_verdict
    seal(
        store.candidate(winner.key),
        winner,
        (own or result.verdict).outcome.value,
        result.unproven,
        result.machine.fingerprint,
        out,
        lambda place: write_evidence(result, place),
        None if winner.self_contained else original.factory,
        result.guard.outcome.deferred if result.guard else None,
        sample,
    )
