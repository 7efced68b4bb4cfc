"""Libraries as components of a CycloneDX document, with the licences that their distributions state."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from primum.hardware.machine import installed
from primum.reporting import numbers as n
from primum.study.result import StudyResult

Json = dict[str, Any]

_LIBRARY_OF = {"torchscript": "torch", "inductor": "torch"}
_LICENSE_LENGTH = 60


def runtime_libraries(result: StudyResult) -> list[Json]:
    """The libraries of the machine that judged: those that the delivered model runs on are required."""
    target = result.winner.recipe_data.get("target", {})
    runtime = str(target.get("runtime", ""))
    required = {_LIBRARY_OF.get(runtime, runtime), "numpy"}
    return [
        {**library(name, version, "library"), "scope": "required" if name in required else "excluded"}
        for name, version in sorted(result.machine.libraries.items())
    ]


def library(name: str, version: str, kind: str) -> Json:
    """A Python distribution as a component; its licence where that very version is installed here."""
    purl = f"pkg:pypi/{name}@{version.replace('+', '%2B')}"
    licence = _licence(name) if installed(name) == version else None
    return without_none(
        {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl, "licenses": licence}
    )


def _licence(name: str) -> list[Json] | None:
    """As the installed distribution states it; None where it does not in so many words."""
    stated = importlib.metadata.metadata(name)
    if "License-Expression" in stated:
        return [{"expression": stated["License-Expression"]}]
    text = next(iter(stated.get_all("License") or ()), "")
    named = [c.rpartition(" :: ")[2] for c in stated.get_all("Classifier") or () if c.startswith("License :: ")]
    word = text if text and len(text) < _LICENSE_LENGTH and "\n" not in text else next(iter(named), "")
    return [{"license": {"name": n.clean(word)}}] if word else None


def without_none(values: Json) -> Json:
    """Less the names that have no value."""
    return {name: value for name, value in values.items() if value is not None}
