"""Writes the report of a study."""

from __future__ import annotations

from pathlib import Path

from primum.files import write_bytes, write_json
from primum.reporting.data import as_data
from primum.reporting.flips import flips_csv, numbered_classes
from primum.reporting.html import to_html
from primum.reporting.page import compose
from primum.reporting.text import to_text
from primum.study.result import StudyResult


def render(result: StudyResult, folder: Path) -> None:
    """Write report.html, report.json, report.txt and flips.csv into the existing `folder`, each atomically.

    flips.csv holds the changed decisions of the deciding verdict. Raises MissingExtra, before anything is written,
    where the report's libraries are not installed, and StorageError where writing fails.
    """
    page = compose(result)
    html, text = to_html(page), to_text(page)
    write_bytes(folder / "report.html", html)
    write_bytes(folder / "report.txt", text)
    write_bytes(folder / "flips.csv", flips_csv(result.verdict.flips, numbered_classes(result.verdict)))
    write_json(folder / "report.json", as_data(result))
