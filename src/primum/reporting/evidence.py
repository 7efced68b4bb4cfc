"""The evidence that travels inside an artifact: of what is delivered, not of what was refused."""

from __future__ import annotations

from pathlib import Path

from primum.files import write_bytes, write_json
from primum.reporting import mlbom, model_card
from primum.reporting.data import plain
from primum.reporting.delivered import delivered
from primum.reporting.flips import flips_csv, numbered_classes
from primum.reporting.html import to_html
from primum.reporting.modification_page import modification_page
from primum.reporting.modification_record import modification_record
from primum.reporting.render import render
from primum.study.result import StudyResult


def write_evidence(result: StudyResult, folder: Path) -> None:
    """Fill `folder`, the evidence/ of an artifact whose models lie beside it.

    The report; validation.json, benchmark.json and flips.csv of the delivered artifact alone; mlbom.cdx.json,
    MODEL_CARD.md, and modification_record.json and .html. Raises MissingExtra where the report's libraries are not
    installed, StorageError where writing fails.
    """
    render(result, folder)
    made = delivered(result, folder.parent)
    verdict = made.verdict
    looks = {
        "earlier_openings": list(result.earlier_openings),
        "uncomparable_openings": list(result.untold_openings),
        "earlier_guard_looks": list(result.earlier_guard_looks),
    }
    write_json(folder / "validation.json", {"recipe": result.winner.recipe, "verdict": plain(verdict), **looks})
    flips = flips_csv(verdict.flips, numbered_classes(verdict)) if verdict is not None else flips_csv(())
    write_bytes(folder / "flips.csv", flips)
    benchmark = {
        "recipe": result.winner.recipe,
        "machine": plain(result.machine),
        "original": plain(result.final[result.baseline.key]),
        "delivered": plain(result.final[result.winner.key]),
        "stages": plain(result.stages),
    }
    write_json(folder / "benchmark.json", benchmark)
    bill = mlbom.mlbom(result, made)
    write_bytes(folder / mlbom.NAME, bill)
    write_bytes(folder / model_card.NAME, model_card.model_card(result, made))
    record = modification_record(result, made, mlbom.schema_check(bill))
    write_json(folder / "modification_record.json", record)
    write_bytes(folder / "modification_record.html", to_html(modification_page(result, record)))
