"""Reports: one page for a reviewer, and the same as text and as data. Renders what a study found; computes nothing."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from primum.reporting.render import render

__all__ = ["render"]


class _Package(ModuleType):
    """Importing the file render.py would hide the function of that name behind the module."""

    def __setattr__(self, name: str, value: Any) -> None:
        is_file = name == "render" and isinstance(value, ModuleType)
        super().__setattr__(name, value.render if is_file else value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "render":
        return importlib.import_module("primum.reporting.render").render
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
