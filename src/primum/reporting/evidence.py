"""The evidence that travels inside an artifact: of what is delivered, not of what was refused."""

from __future__ import annotations

from pathlib import Path

from primum.files import write_bytes, write_json
from primum.reporting.data import plain
from primum.reporting.flips import flips_csv
from primum.reporting.render import render
from primum.reporting.wording import delivered_verdict
from primum.study.result import StudyResult


def write_evidence(result: StudyResult, folder: Path) -> None:
    """The report, and validation.json, benchmark.json and flips.csv of the delivered artifact alone."""
    render(result, folder)
    verdict = delivered_verdict(result)
    write_json(folder / "validation.json", {"recipe": result.winner.recipe, "verdict": plain(verdict)})
    write_bytes(folder / "flips.csv", flips_csv(verdict.flips if verdict is not None else ()))
    benchmark = {
        "recipe": result.winner.recipe,
        "machine": plain(result.machine),
        "original": plain(result.final[result.baseline.key]),
        "delivered": plain(result.final[result.winner.key]),
        "stages": plain(result.stages),
    }
    write_json(folder / "benchmark.json", benchmark)
