"""A cell of the simulation, what it gives, and the check that a fast form of a rule is primum's own rule."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from math import sqrt
from typing import Any

import numpy as np

CHECKED = 100
"""Runs of a cell that are also judged by primum's public function."""


class Kind(StrEnum):
    """How a rate stands to its limit."""

    AT_MOST = "at most"
    EQUALS = "equals"


class Disagreement(RuntimeError):
    """The vectorised form of a rule did not give what primum's function gives: no figure of the cell counts."""


@dataclass(frozen=True)
class Result:
    """The rate that a cell found, its Monte Carlo standard error, and what stands beside it."""

    rate: float
    error: float
    beside: dict[str, str] = field(default_factory=dict)
    limit: float | None = None
    """Where the cell itself computes what it is held against (exact power)."""


@dataclass(frozen=True)
class Cell:
    """One setting: `simulate(rng, runs, **setting)` gives its Result."""

    section: str
    simulate: Callable[..., Result]
    setting: dict[str, Any]
    limit: float = 0.0
    kind: Kind = Kind.AT_MOST

    @property
    def name(self) -> str:
        """The setting in one line."""
        return f"{self.section}: " + " ".join(f"{k}={show(v)}" for k, v in self.setting.items())

    def run(self, seed: int, runs: int) -> Result:
        """The cell's own stream of numbers: other cells, added or left out, do not change it."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        return self.simulate(rng, runs, **self.setting)


def share(hits: int, runs: int, **beside: str) -> Result:
    """A rate of runs with its binomial standard error (with half a hit and half a miss added, so never 0)."""
    p = (hits + 0.5) / (runs + 1)
    return Result(hits / runs, sqrt(p * (1 - p) / runs), beside)


def verdict(cell: Cell, result: Result) -> str:
    """ "within", "above, within Monte Carlo error" (three standard errors) or "ABOVE" ("OFF" for an equality)."""
    limit = cell.limit if result.limit is None else result.limit
    slack = 3 * result.error
    if cell.kind is Kind.EQUALS:
        return "within" if abs(result.rate - limit) <= slack else "OFF"
    if result.rate <= limit:
        return "within"
    return "above, within Monte Carlo error" if result.rate <= limit + slack else "ABOVE"


def insist(same: bool, what: str) -> None:
    """Disagreement unless `same`."""
    if not same:
        raise Disagreement(what)


def show(value: Any) -> str:
    """A setting as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def chunks(runs: int, width: int, most: int = 2_000_000) -> list[int]:
    """Sizes of the pieces in which `runs` rows of `width` numbers fit in memory."""
    size = max(1, min(runs, most // width))
    whole, rest = divmod(runs, size)
    return [size] * whole + ([rest] if rest else [])
