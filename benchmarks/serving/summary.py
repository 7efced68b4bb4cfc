"""From the records of all rounds to figures: medians, ratios to the floor within a round, and what is INVALID."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contestants import AGAIN, FLOOR
from generator import Fault, Measured
from scenarios import OVERLOAD, Record

DIFFERS = 0.1
"""An A/A pair further apart than this, in any round, makes the ratios of its workload INVALID."""
AA_RUN = "closed 32"
INVALID = " INVALID"


@dataclass(frozen=True)
class Figure:
    """A median over rounds with its spread. `valid` False: no round of it was valid, these are of the invalid ones."""

    median: float
    low: float
    high: float
    rounds: int
    valid: bool

    def text(self, shape: str = ",.0f", spread: bool = False) -> str:
        """The figure alone."""
        told = format(self.median, shape)
        if spread and self.rounds > 1:
            told += f" ({self.low:{shape}} to {self.high:{shape}})"
        return told


def good_rate(measured: Measured) -> float:
    """Answers 200 a second."""
    return measured.load.good_rate


def _settled(record: Record) -> bool:
    """Whether its saturation is of valid runs."""
    return not any(m.invalid for run, m in (record.runs or {}).items() if run.startswith("closed"))


def _told(found: Figure) -> str:
    return found.text(".2f", spread=True) + ("" if found.valid else INVALID)


def figure(values: Sequence[tuple[float, bool]]) -> Figure | None:
    """Of (value, valid) by round; None where there are none."""
    chosen = [value for value, valid in values if valid]
    valid = bool(chosen)
    chosen = chosen or [value for value, _ in values]
    if not chosen:
        return None
    return Figure(statistics.median(chosen), min(chosen), max(chosen), len(chosen), valid)


class Summary:
    """All records of one workload."""

    def __init__(self, workload: str, records: Sequence[Record]) -> None:
        self.workload = workload
        mine = [r for r in records if r.workload == workload]
        self.measured = [r for r in mine if not r.failed]
        self.failures = sorted({f"{r.contestant}: {r.failed}" for r in mine if r.failed})
        self.names = list(dict.fromkeys(r.contestant for r in self.measured))
        self.against_ratios = self._aa()

    def of(self, name: str) -> list[Record]:
        """One contestant's records, by round."""
        return sorted((r for r in self.measured if r.contestant == name), key=lambda r: r.round)

    def run(self, name: str, run: str, value: Callable[[Measured], float | None]) -> Figure | None:
        """A value of one run over the rounds."""
        found = []
        for record in self.of(name):
            measured = (record.runs or {}).get(run)
            if measured is not None and (got := value(measured)) is not None:
                found.append((got, not measured.invalid))
        return figure(found)

    def plain(self, name: str, value: Callable[[Record], float]) -> Figure | None:
        """A value of the records over the rounds."""
        return figure([(value(record), True) for record in self.of(name)])

    def ratio(self, name: str, run: str, value: Callable[[Measured], float | None]) -> Figure | None:
        """One contestant's value over the floor's of the same round."""
        found = [(ratio, valid and not self.against_ratios) for ratio, valid in self._ratios(name, run, value)]
        return figure(found)

    def verdict(self, name: str = "primum") -> list[str]:
        """What the page is opened for: one contestant beside the floor, the best peer, and at twice its load."""
        floor = self.ratio(name, AA_RUN, good_rate)
        told = []
        if floor is not None:
            told.append(f"{name} answers {_told(floor)} times what the floor does, 32 at a time")
        peers = [n for n in self.names if not n.startswith(name) and n not in (FLOOR, AGAIN)]
        best = max(peers, key=lambda n: max(r.saturation for r in self.of(n)), default=None)
        mine = {record.round: record for record in self.of(name)}
        shared = [
            (mine[r.round].saturation / r.saturation, _settled(mine[r.round]) and _settled(r))
            for r in (self.of(best) if best else [])
            if r.round in mine and r.saturation
        ]
        if (beside := figure(shared)) is not None:
            told.append(f"at its best {_told(beside)} times what {best} does at its own")
        kept = self.run(name, "overload", lambda m: m.load.goodput / (m.load.rate / OVERLOAD))
        if kept is not None:
            told.append(f"at twice its saturation it answers {_told(kept)} of its saturation in time")
        return told

    def invalid(self) -> list[str]:
        """Who has runs that are INVALID, which, and why: the worst of each reason."""
        found = []
        for name in self.names:
            worst: dict[str, Fault] = {}
            runs: dict[str, list[int]] = {}
            for record in self.of(name):
                for run, measured in (record.runs or {}).items():
                    for fault in measured.invalid:
                        runs.setdefault(run, []).append(record.round)
                        if fault.what not in worst or worst[fault.what].value < fault.value:
                            worst[fault.what] = fault
            if runs:
                where = ", ".join(f"{run} (round {', '.join(map(str, sorted(set(r))))})" for run, r in runs.items())
                found.append(f"{name}: {where}. At worst, {'; '.join(f.text() for f in worst.values())}")
        return found

    def _ratios(self, name: str, run: str, value: Callable[[Measured], float | None]) -> list[tuple[float, bool]]:
        floors = {r.round: (r.runs or {})[run] for r in self.of(FLOOR) if run in (r.runs or {})}
        found = []
        for record in self.of(name):
            mine, floor = (record.runs or {}).get(run), floors.get(record.round)
            if mine is None or floor is None:
                continue
            above, below = value(mine), value(floor)
            if above is not None and below:
                found.append((above / below, not mine.invalid and not floor.invalid))
        return found

    def _aa(self) -> str:
        """Why ratios are INVALID: the floor differed from itself, or was not there twice."""
        ratios = [ratio for ratio, _ in self._ratios(AGAIN, AA_RUN, good_rate)]
        if not ratios:
            return "no A/A run: the floor was not measured twice in one round"
        worst = max(abs(ratio - 1) for ratio in ratios)
        if worst > DIFFERS:
            return f"A/A: the floor differed from itself by up to {worst:.0%} ({AA_RUN})"
        return ""
