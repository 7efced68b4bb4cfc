"""The page as one self-contained HTML file: no request, no script, light and dark, screen and paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from primum.errors import MissingExtra
from primum.reporting.blocks import Page
from primum.reporting.numbers import clean


def to_html(page: Page) -> bytes:
    """The file's content. Every text is escaped; only drawings go in as they are. Raises MissingExtra."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtra("the HTML report", "optimize") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(page=page).encode()


def _harmless(value: Any) -> Any:
    """The last gate: plain text only; what is already markup (drawings, macros) is a subclass of str."""
    return clean(value) if type(value) is str else value
