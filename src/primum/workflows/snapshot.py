"""What one report, whichever of primum's JSON files it is, says that another can be held against."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from primum.errors import InputError

_MAX_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of a verdict or of a subgroup; `difference` is oriented so that negative is worse."""

    outcome: str
    reference: float
    candidate: float
    difference: float
    margin: float
    cases: dict[str, Any] = field(default_factory=dict)
    """How many cases, patients and positives its subgroup has; empty for an endpoint of all cases."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Speed-up over the original of its own run, with its interval."""

    ratio: float
    lower: float
    upper: float
    p50_ms: float
    contended: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A report reduced to what is compared. What the report does not hold is None or empty."""

    source: str
    recipe: str
    outcome: str | None
    endpoints: dict[str, Endpoint]
    """By name; those of a subgroup with its name before ("site=small sensitivity")."""
    speeds: dict[str, Speed]
    sizes: dict[str, float]
    machine: dict[str, Any] | None
    data: dict[str, Any]
    policy: dict[str, Any]
    """The margins, thresholds and confidence that the verdict rests on."""
    model: str | None
    """Digest of the original."""


def read_snapshot(report: str | Path | Mapping[str, Any]) -> Snapshot:
    """Read report.json, validation.json, benchmark.json, or what `primum validate --json` or `benchmark --json` print.

    InputError where it cannot be read or is none of these.
    """
    if isinstance(report, Mapping):
        return _snapshot(report, "the report given")
    path = Path(report)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path} is too large to be a report")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the report {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no report of primum")
    return _snapshot(content, str(path))


def _snapshot(content: Mapping[str, Any], source: str) -> Snapshot:
    try:
        verdict = content.get("verdict") or {}
        speeds, sizes = _performance(content)
        if not (verdict or speeds):
            raise InputError(f"{source} is no report of primum: it holds neither a verdict nor timings")
        return Snapshot(
            source=source,
            recipe=str(content.get("recipe") or content.get("verdict_recipe") or ""),
            outcome=verdict.get("outcome"),
            endpoints=_endpoints(verdict),
            speeds=speeds,
            sizes=sizes,
            machine=content.get("machine"),
            data=_data(content, verdict),
            policy=_policy(verdict),
            model=(content.get("model") or {}).get("digest") or content.get("parent_hash"),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{source} is no report that this version reads ({type(error).__name__}: {error})") from error


def _endpoints(verdict: Mapping[str, Any]) -> dict[str, Endpoint]:
    """Those that decide: of all cases, then of each subgroup. One without any stands for itself, so that it is told."""
    found = {part["name"]: _endpoint(part) for part in verdict.get("components", ())}
    for level in verdict.get("subgroups") or ():
        name = f"{level['column']}={level['value']}"
        cases = {key: level.get(key) for key in ("n", "n_patients", "n_positive") if level.get(key) is not None}
        if not level["components"]:
            found[name] = Endpoint(str(level["outcome"]), nan, nan, nan, nan, cases)
        found |= {f"{name} {part['name']}": _endpoint(part, cases) for part in level["components"]}
    return found


def _endpoint(part: Mapping[str, Any], cases: dict[str, Any] | None = None) -> Endpoint:
    reference, candidate, difference, margin = (
        _number(part[name]) for name in ("reference", "candidate", "difference", "margin")
    )
    return Endpoint(str(part["outcome"]), reference, candidate, difference, margin, cases or {})


def _performance(content: Mapping[str, Any]) -> tuple[dict[str, Speed], dict[str, float]]:
    """Speeds and model bytes by contestant; "delivered" for the artifact of a study."""
    if "contestants" in content:
        found = content["contestants"]
        return (
            {_short(c["name"]): _speed(c["timings"]) for c in found},
            {_short(c["name"]): float(c["size_bytes"]) for c in found},
        )
    if "winner" in content:
        key, winner = content["winner"]["key"], content["winner"]
        timings = (content.get("final") or {}).get(key) or winner.get("timings")
        speeds = {"delivered": _speed(timings)} if timings else {}
        return speeds, {"delivered": float(winner["size_bytes"])}
    sizes = {"delivered": float(content["size_bytes"])} if content.get("size_bytes") else {}
    return {"delivered": _speed(content["delivered"])} if content.get("delivered") else {}, sizes


def _short(name: str) -> str:
    """Contestants are folders whose parents differ from run to run."""
    return "original" if name.startswith("original") else "/".join(Path(name).parts[-2:])


def _speed(timings: Mapping[str, Any]) -> Speed:
    ratio, lower, upper, p50 = (_number(timings[name]) for name in ("ratio", "ratio_lower", "ratio_upper", "p50"))
    return Speed(ratio, lower, upper, p50, bool(timings.get("contended", False)))


def _data(content: Mapping[str, Any], verdict: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: verdict.get(name) for name in ("n", "n_patients", "n_positive", "class_counts")}
    known |= {name: (content.get("data") or {}).get(name) for name in ("name", "digest")}
    return {name: value for name, value in known.items() if value is not None}


def _policy(verdict: Mapping[str, Any]) -> dict[str, Any]:
    known = {f"margin of {part['name']}": part["margin"] for part in verdict.get("components", ())}
    known |= {name: verdict.get(name) for name in ("threshold", "thresholds", "confidence")}
    return {name: value for name, value in known.items() if value is not None}


def _number(value: Any) -> float:
    return nan if value is None else float(value)
