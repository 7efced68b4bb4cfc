"""The results of benchmarks/peers.py as text and as the page docs/bench.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WITHIN = 0.97
"""What counts as equally fast: the chosen median ratio is at least this share of the best peer's."""


@dataclass(frozen=True)
class Row:
    """One contestant. `ratio` is eager's median over this one's; `same` the share of decisions that are eager's."""

    name: str
    runs_in: str
    p50: float
    ratio: float
    lower: float
    upper: float
    same: float
    megabytes: float
    contended: bool
    chosen: bool = False


@dataclass(frozen=True)
class Outcome:
    """One network's run. `against`: the best peer's median over the chosen one's, with its interval."""

    network: str
    title: str
    rows: tuple[Row, ...]
    against: tuple[float, float, float]
    skipped: tuple[str, ...]
    tried: tuple[str, ...]
    machine: str
    versions: str
    setting: str

    @property
    def chosen(self) -> Row:
        """What primum delivers."""
        return next(r for r in self.rows if r.chosen)

    @property
    def best(self) -> Row:
        """The fastest peer."""
        return max((r for r in self.rows if not r.chosen), key=lambda r: r.ratio)

    @property
    def passed(self) -> bool:
        """Whether the chosen artifact is at least as fast as the best peer, as far as the run can tell."""
        return self.chosen.upper >= self.best.lower and self.chosen.ratio >= WITHIN * self.best.ratio


def outcome_of(data: dict[str, Any]) -> Outcome:
    """From plain data, as `dataclasses.asdict` made it."""
    lists = {key: tuple(data[key]) for key in ("against", "skipped", "tried")}
    return Outcome(**{**data, **lists, "rows": tuple(Row(**r) for r in data["rows"])})


def verdict(outcome: Outcome) -> str:
    """One line."""
    ratio, lower, upper = outcome.against
    return (
        f"{'PASS' if outcome.passed else 'FAIL'}: {outcome.chosen.name} is {ratio:.2f} times as fast "
        f"({lower:.2f} to {upper:.2f}) as the best peer, {outcome.best.name}"
    )


def lines(outcome: Outcome) -> list[str]:
    """A Markdown table, fastest first, and what stands below it."""
    made = [
        "| | computes in | p50 ms | x eager | 95 % interval | same decisions | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in sorted(outcome.rows, key=lambda r: -r.ratio):
        name = f"**{r.name}**" if r.chosen else r.name
        spread = f"{r.lower:.2f} to {r.upper:.2f}{' (busy)' if r.contended else ''}"
        p50 = f"{r.p50:.4f}" if r.p50 < 1 else f"{r.p50:.2f}"
        made.append(f"| {name} | {r.runs_in} | {p50} | {r.ratio:.2f} | {spread} | {r.same:.1%} | {r.megabytes:.2f} |")
    return [*made, "", f"**{verdict(outcome)}.**", *([""] if outcome.skipped else []), *outcome.skipped]


def page(outcomes: list[Outcome], missing: Sequence[str] = ()) -> str:
    """docs/bench.md; `missing` are the titles of networks that were not run."""
    passed = sum(o.passed for o in outcomes)
    parts = [
        "# Against what a user would pick instead",
        "",
        f"`make bench`. **On {passed} of {len(outcomes)} networks the artifact that primum chooses is at least as fast "
        "as the fastest peer.**",
        *([f"Not run: {'; '.join(missing)}."] if missing else []),
        "",
        "Each contestant runs in a fresh process, one case a call, on all cores, after warming up. All are timed in "
        "one run, in rounds of shuffled order, so that a slow minute of the machine hits all alike. `x eager` is "
        "eager's median over the contestant's, with a bootstrap interval over rounds. Peers are used as their manuals "
        "have it, exported with fixed shapes. `computes in` is what they answer when asked; OpenVINO takes BF16 "
        "unasked. Static INT8 of ONNX Runtime is QDQ, per channel, U8S8; OpenVINO's is `nncf.quantize` as it comes; "
        "Olive's is static in its default types, static unsigned, and dynamic, from an environment of its own "
        "(`benchmarks/olive_requirements.txt`). primum is `primum.optimize` at its default level on labelled cases; "
        "weights are random, so the labels are the network's own decisions. `same decisions` is the share of timed "
        "cases decided as eager does; no peer was held to it.",
        "",
        "PASS: the chosen interval reaches the best peer's, and the chosen median ratio is at least "
        f"{WITHIN} of it. `busy`: other work slowed the contestant or eager while they were timed.",
    ]
    for o in outcomes:
        parts += ["", f"## {o.title}", "", *lines(o), "", "Tried by primum (on selection, against eager):", ""]
        parts += [f"- {line}" for line in o.tried]
        parts += ["", f"{o.machine}; {o.versions}; {o.setting}."]
    return "\n".join(parts) + "\n"
