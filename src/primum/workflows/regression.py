"""Regression testing: is a new report as good, as fast and as small as the one before it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import exp, isfinite, isnan, log, nan, sqrt
from pathlib import Path
from typing import Any

from primum.errors import InputError
from primum.validation.verdict import Outcome
from primum.workflows.snapshot import Endpoint, Snapshot, Speed, read_snapshot

_RANK = {
    Outcome.INFERIOR: 0,
    Outcome.NOT_ASSESSED: 1,
    Outcome.INSUFFICIENT: 2,
    Outcome.INCONCLUSIVE: 2,
    Outcome.NON_INFERIOR: 3,
}


class Change(StrEnum):
    """What became of one item."""

    SAME = "same"
    BETTER = "better"
    REGRESSED = "REGRESSED"
    UNCLEAR = "unclear"
    """Worse than tolerated, but within what the measurement itself varies."""
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True)
class RegressionItem:
    """One comparison."""

    kind: str
    """"quality", "speed" or "size"."""
    name: str
    change: Change
    previous: float
    current: float
    detail: str


@dataclass(frozen=True, slots=True)
class Regression:
    """A new report against a previous one."""

    items: tuple[RegressionItem, ...]
    notes: tuple[str, ...]
    """What differs between the two beside their results: machine, data, policy, original."""

    @property
    def compared(self) -> bool:
        """Whether anything of quality could be compared."""
        return any(i.kind == "quality" and i.change is not Change.NOT_COMPARABLE for i in self.items)

    @property
    def regressed(self) -> bool:
        """Whether anything became worse."""
        return any(item.change is Change.REGRESSED for item in self.items)


def compare_reports(
    previous: str | Path | Mapping[str, Any],
    current: str | Path | Mapping[str, Any],
    tolerance: float = 0.1,
    size_tolerance: float = 0.05,
) -> Regression:
    """Hold `current` against `previous`: report.json, validation.json, benchmark.json, or --json output, as path or
    mapping.

    Quality, endpoint by endpoint, of all cases and of each subgroup: a lower outcome, or a difference that moved by
    more than its margin, is a regression. What a subgroup only reports (its Brier score) decides nothing. Speed: the
    speed-up over the original fell by more than `tolerance`, by more than its interval explains. Size: more than
    `size_tolerance` larger. Quality on other data or under another policy, and speed on another machine, is
    NOT_COMPARABLE. InputError on a file that is no report, and where both share nothing.
    """
    if not (0 <= tolerance < 1 and size_tolerance >= 0):
        raise InputError("tolerances are shares: at least 0, and that of speed below 1")
    old, new = read_snapshot(previous), read_snapshot(current)
    data = _differences("data", *_without_names(old.data, new.data))
    policy = _differences("policy", old.policy, new.policy)
    machine = _machine(old, new)
    notes = [*data, *policy, *machine]
    if old.model and new.model and old.model != new.model:
        notes.append("the original is another model")
    items = [*_quality(old, new, bool(data or policy)), *_speeds(old, new, bool(machine), tolerance)]
    items += _sizes(old, new, size_tolerance)
    if not items:
        raise InputError(f"{old.source} and {new.source} have nothing in common to compare")
    return Regression(tuple(items), tuple(notes))


def _quality(old: Snapshot, new: Snapshot, other: bool) -> list[RegressionItem]:
    if old.outcome is None or new.outcome is None:
        return []
    change = _compare_outcomes(old.outcome, new.outcome)
    detail = f"{old.outcome} before, {new.outcome} now"
    found = [RegressionItem("quality", "verdict", Change.NOT_COMPARABLE if other else change, nan, nan, detail)]
    for name in dict.fromkeys((*old.endpoints, *new.endpoints)):
        before, after = old.endpoints.get(name), new.endpoints.get(name)
        if before is None or after is None:
            gone = f"only in {'the new' if before is None else 'the previous'} report"
            found.append(RegressionItem("quality", name, Change.NOT_COMPARABLE, _of(before), _of(after), gone))
            continue
        changed, why = _endpoint(before, after)
        found.append(
            RegressionItem("quality", name, Change.NOT_COMPARABLE if other else changed, _of(before), _of(after), why)
        )
    return found


def _endpoint(before: Endpoint, after: Endpoint) -> tuple[Change, str]:
    if regrouped := _differences("subgroup", before.cases, after.cases):
        return Change.NOT_COMPARABLE, regrouped[0]
    moved = after.difference - before.difference
    detail = f"{before.outcome} before, {after.outcome} now; "
    by_outcome = _compare_outcomes(before.outcome, after.outcome)
    if isnan(moved) or isnan(after.margin):
        missing = "difference from the original" if isnan(moved) else "margin"
        return (Change.NOT_COMPARABLE if by_outcome is Change.SAME else by_outcome), f"{detail}no {missing} to compare"
    detail += f"difference from the original moved by {moved:+.4f}"
    if by_outcome is Change.REGRESSED or moved < -after.margin:
        return Change.REGRESSED, detail + f" (margin {after.margin:g})"
    if by_outcome is Change.BETTER or moved > after.margin:
        return Change.BETTER, detail
    return Change.SAME, detail


def _compare_outcomes(before: str, after: str) -> Change:
    try:
        step = _RANK[Outcome(after)] - _RANK[Outcome(before)]
    except ValueError as error:
        raise InputError(f"a report holds an outcome that this version does not know: {error}") from error
    return Change.REGRESSED if step < 0 else Change.BETTER if step > 0 else Change.SAME


def _speeds(old: Snapshot, new: Snapshot, other: bool, tolerance: float) -> list[RegressionItem]:
    found = []
    for name in old.speeds.keys() & new.speeds.keys() - {"original"}:
        before, after = old.speeds[name], new.speeds[name]
        change, detail = _speed(before, after, tolerance)
        if other:
            change = Change.NOT_COMPARABLE
        found.append(RegressionItem("speed", name, change, before.ratio, after.ratio, detail))
    return sorted(found, key=lambda item: item.name)


def _speed(before: Speed, after: Speed, tolerance: float) -> tuple[Change, str]:
    """The ratio of two independent speed-ups; their logarithms' variances add up."""
    ratio = after.ratio / before.ratio
    error = sqrt(_log_half(before) ** 2 + _log_half(after) ** 2)
    lower, upper = (ratio * exp(-error), ratio * exp(error)) if isfinite(error) else (nan, nan)
    detail = f"{before.ratio:.2f}x before, {after.ratio:.2f}x now: {ratio:.2f} ({lower:.2f} to {upper:.2f}) of it"
    detail += f"; p50 {before.p50_ms:.3f} and {after.p50_ms:.3f} ms"
    if before.contended or after.contended:
        detail += "; the machine was busy"
    if ratio < 1 - tolerance:
        sure = upper < 1 and not (before.contended or after.contended)
        return (Change.REGRESSED if sure else Change.UNCLEAR), detail
    if ratio > 1 + tolerance and lower > 1:
        return Change.BETTER, detail
    return Change.SAME, detail


def _log_half(speed: Speed) -> float:
    """Half the width of a ratio's interval, on the logarithmic scale; NaN without one."""
    if isnan(speed.lower) or isnan(speed.upper) or speed.lower <= 0:
        return nan
    return (log(speed.upper) - log(speed.lower)) / 2


def _sizes(old: Snapshot, new: Snapshot, tolerance: float) -> list[RegressionItem]:
    found = []
    for name in sorted(old.sizes.keys() & new.sizes.keys() - {"original"}):
        before, after = old.sizes[name], new.sizes[name]
        grown = after / before if before else nan
        change = Change.REGRESSED if grown > 1 + tolerance else Change.BETTER if grown < 1 - tolerance else Change.SAME
        found.append(
            RegressionItem("size", name, change, before, after, f"{before:,.0f} bytes before, {after:,.0f} now")
        )
    return found


def _machine(old: Snapshot, new: Snapshot) -> list[str]:
    if old.machine is None or new.machine is None:
        both = old.speeds and new.speeds
        return ["a report does not name its machine, so speeds are not comparable"] if both else []
    return _differences("machine", old.machine, new.machine, ("cpu", "architecture", "features", "cores", "libraries"))


def _without_names(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Where both know what the data hold, what their files are called is left out: it tells nothing."""
    if "digest" not in old or "digest" not in new:
        return old, new
    before, after = ({key: value for key, value in data.items() if key != "name"} for data in (old, new))
    return before, after


def _differences(
    what: str, old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, ...] | None = None
) -> list[str]:
    """What both know and say differently, as one sentence."""
    shared = names or tuple(name for name in old if name in new)
    parts = []
    for name in shared:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            parts += [f"{key} {before.get(key, 'absent')} before, {after.get(key, 'absent')} now" for key in keys]
        elif before != after:
            parts.append(f"{name} {before} before, {after} now")
    return [f"another {what}: {'; '.join(parts)}"] if parts else []


def _of(endpoint: Endpoint | None) -> float:
    return endpoint.candidate if endpoint else nan
