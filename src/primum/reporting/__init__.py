"""Reports: one page for a reviewer, and the same as text and as data. Renders what a study found; computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from primum.reporting.render import render

__all__ = ["render"]


def __getattr__(name: str) -> Any:
    if name == "render":
        from primum.reporting.render import render

        return render
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
