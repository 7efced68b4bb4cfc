"""Type I error, power and coverage of primum's rules, by simulation: `python benchmarks/coverage.py`.

Every decision is made by primum's own functions, or by a vectorised form that is held against them in the same run.
Writes the table of docs/coverage.md; ends with 1 where a cell exceeds its limit by more than Monte Carlo error.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from inspect import signature
from pathlib import Path

import numpy as np
import scipy
from simulation import auroc, gate, guard, means, patients, rates
from simulation.cell import Cell, Kind, Result, show, verdict

from primum.version import VERSION

ROOT = Path(__file__).parents[1]
SEED = 20260


def main(arguments: list[str] | None = None) -> int:
    """Run the cells, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000, help="simulated studies a cell")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--section", choices=list(SECTIONS), action="append", help="only these")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "coverage.md")
    asked = parser.parse_args(arguments)
    cells = [cell for cell in every_cell() if not asked.section or cell.section in asked.section]
    begun = time.perf_counter()
    results = []
    with ProcessPoolExecutor(asked.jobs) as pool:
        futures = [pool.submit(cell.run, asked.seed, asked.runs) for cell in cells]
        for cell, future in zip(cells, futures):
            results.append(future.result())
            taken = time.perf_counter() - begun
            print(f"{taken:7.0f} s  {verdict(cell, results[-1]):<8} {results[-1].rate:.4f}  {cell.name}", flush=True)
    found = list(zip(cells, results))
    asked.out.write_text(render(found, asked, time.perf_counter() - begun), encoding="utf-8")
    return int(any(verdict(cell, result) in ("ABOVE", "OFF") for cell, result in found))


def every_cell() -> list[Cell]:
    """All cells of all sections."""
    return [*rates.cells(), *auroc.cells(), *patients.cells(), *means.cells(), *gate.cells(), *guard.cells()]


def render(found: list[tuple[Cell, Result]], asked: argparse.Namespace, seconds: float) -> str:
    """The Markdown page."""
    beyond = [(c, r) for c, r in found if verdict(c, r) in ("ABOVE", "OFF")]
    slightly = [(c, r) for c, r in found if verdict(c, r).startswith("above,")]
    only = "".join(f" --section {name}" for name in asked.section or ())
    parts = [
        "# What the rules do over many studies",
        "",
        "By simulation, each decision by primum's own functions or by a vectorised form that the same run holds "
        "against them. Nominal one-sided error 0.025. A rate beyond its limit stays in the table; within three Monte "
        "Carlo standard errors of it, it is called so.",
        "",
        f"`python benchmarks/coverage.py --runs {asked.runs} --seed {asked.seed} --jobs {asked.jobs}{only}`: "
        f"{len(found)} cells of {asked.runs} runs in {seconds / 60:.0f} minutes on {os.cpu_count()} "
        f"{platform.machine()} cores; primum {VERSION}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"scipy {scipy.__version__}.",
        "",
        f"**{len(found) - len(beyond) - len(slightly)} of {len(found)} cells are within their limit, {len(slightly)} "
        f"above it within Monte Carlo error, {len(beyond)} above it.**",
        "",
    ]
    parts += [f"- {verdict(c, r)}: {c.name}: {r.rate:.4f}" for c, r in beyond + slightly]
    for name, (title, text) in SECTIONS.items():
        rows = [(c, r) for c, r in found if c.section == name]
        if rows:
            parts += ["", f"## {title}", "", text, "", *table(rows)]
    return "\n".join(parts) + "\n"


def table(rows: list[tuple[Cell, Result]]) -> Iterable[str]:
    """One section's rows as Markdown."""
    first = rows[0]
    settings = list(dict.fromkeys(key for cell, _ in rows for key in cell.setting))
    heads = [*settings, "rate", "± s.e.", "limit", *first[1].beside, ""]
    heads = ["exact" if first[0].kind is Kind.EQUALS and head == "limit" else head for head in heads]
    beside = [key for key in first[1].beside if key != "exact"]
    heads = list(dict.fromkeys(heads))
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for cell, result in rows:
        limit = cell.limit if result.limit is None else result.limit
        given = cell.setting | {
            k: p.default for k, p in signature(cell.simulate).parameters.items() if k not in cell.setting
        }
        values = [show(given[key]) for key in settings]
        values += [f"{result.rate:.4f}", f"{result.error:.4f}", f"{limit:.4f}" if result.limit else show(limit)]
        values += [*(result.beside[key] for key in beside), verdict(cell, result)]
        yield "| " + " | ".join(values) + " |"


SECTIONS = {
    "tango": (
        "Sensitivity at its margin",
        "Tango's score rule; the candidate's sensitivity is 0.90 less the margin. `cases` of which a share "
        "`prevalence` is positive (as many as are drawn); `correlation` of the two models' normal scores. "
        "`discordant`: share of positives decided differently. With fewer positives than a margin needs, nothing can "
        "pass.",
    ),
    "gate": (
        "The whole gate with one endpoint at its margin",
        "Reference: sensitivity and specificity 0.9, AUROC 0.965, calibrated at equal classes. One endpoint is lower "
        "by exactly its margin (sensitivity, specificity 0.05; AUROC 0.02; Brier score 0.01), the others are well "
        "inside theirs. `rate`: that endpoint passes; `accepted`: the verdict is NON_INFERIOR.",
    ),
    "auroc": (
        "AUROC at its margin",
        "The MOVER-logit and the score bound on binormal scores; `auroc` of the reference, `classes` "
        "positives/negatives, `correlation` of the models' scores within a class. `delong`: what the plain DeLong "
        "bound would let pass; `mover`: what the MOVER-logit bound alone would.",
    ),
    "patients": (
        "AUROC of several cases a patient",
        "AUROC lower by exactly its margin because the scores of a share `distorted` of the patients say little in all "
        "`each` of their cases; `correlation` of the original's scores within a patient. `undrawn`: the chance that no "
        "such patient is drawn, and nothing can show. `plain`: what the MOVER-logit and the score interval with normal "
        "quantiles would pass; `accepted`: NON_INFERIOR by the whole gate, margins of the rates 0.05 (both of a tenth "
        "of the runs).",
    ),
    "means": (
        "Dice and errors at their margin",
        "A share `losing` of the patients loses, in all its `each` cases, as much as puts the mean at the margin; the "
        "others move by `noise` (standard deviation). `t_alone`: what the t interval widened for skewness would pass. "
        "`power`: what passes where nobody loses (a twentieth of the runs). Dice of the reference 0.9; the labels of "
        "`error` span 60.",
    ),
    "select": (
        "Chosen among twenty, then confirmed",
        "Twenty candidates, all but `good` of them truly at the margin, judged on n selection positives; the most "
        "promising is confirmed on n others (`one`), or the three most promising in sequence until one fails "
        "(`three`). An error delivers one that is at the margin; `rate` is the larger of the two. `correlation` "
        "between candidates. `unsplit`: some candidate at the margin passes where all cases serve for both.",
    ),
    "clustered": (
        "Several cases a patient",
        "Sensitivity at its margin, judged by patient: `patients` and their positives; `correlation` of the outcomes "
        "of any two cases of a patient. `ignored`: what would pass if cases were taken as independent. `power`: what "
        "passes of a candidate that loses and gains 0.5 % of the cases, correlated alike (a tenth of the runs). Losses "
        "do not go with the number of cases: where only those lose who have most, more can pass (decision 0013).",
    ),
    "power": (
        "Power beside theory",
        "The share that passes beside the exact power (`power_noninferiority`).",
    ),
    "guard": (
        "Guard bands",
        "`n` guard patients, with one case or one to four; `labels` is multi-label, `classes` multi-class. Without "
        "`delta` the rate is the mean true share of patients with an undetected flip (by class: of the class where "
        "it is largest) and its limit epsilon; with it, the share of draws whose true share exceeds epsilon (by "
        "class: in any class or overall), and its limit delta. `unguarded`: share of patients with a flip; "
        "`deferred`: mean share of cases deferred; `none`: draws with too few patients of a class for any band.",
    ),
}

if __name__ == "__main__":
    sys.exit(main())
