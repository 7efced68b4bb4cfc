"""Guard bands: the true share of patients with an undetected flip, over many draws of guard patients.

The population is a large finite one, from which guard patients are drawn with replacement: what a band lets through is
then known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from primum.config import GuardPolicy
from primum.task import Task
from primum.validation.conformal import fit_band, members, rank
from primum.validation.decisions import Rule
from primum.validation.leads import flip_columns, lead, strict_columns
from simulation.cell import CHECKED, Cell, Result, chunks, insist

PATIENTS = 50_000
TASKS = {
    "binary": (Rule(Task.BINARY, (0.7,)), ("no", "yes")),
    "labels": (Rule(Task.MULTILABEL, (0.6, 0.7)), ("first", "second")),
    "classes": (Rule(Task.MULTICLASS, ()), ("a", "b", "c")),
}


@dataclass(frozen=True)
class Population:
    """Cases of all patients, and by patient (row) and stratum (column; first all, then classes) the score and the true
    margin, above which a band leaves a flip undetected; -inf where the patient has no case in the class."""

    rule: Rule
    classes: tuple[str, ...]
    fast: np.ndarray
    reference: np.ndarray
    starts: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    leads: np.ndarray


def population(rng: np.random.Generator, task: str, several: bool, strict: bool) -> Population:
    """Patients with one case, or one to four whose errors are correlated; the second class is the rarer one."""
    rule, classes = TASKS[task]
    count = rng.integers(1, 5, PATIENTS) if several else np.ones(PATIENTS, int)
    of = np.repeat(np.arange(PATIENTS), count)
    width = 1 if task == "binary" else len(classes)
    reference = rng.beta(0.6, 0.9, (of.size, width))
    error = 0.06 * (rng.normal(size=(PATIENTS, width))[of] + rng.normal(size=reference.shape)) / np.sqrt(2)
    # Errors grow towards the higher scores: classes differ in how often decisions change.
    fast = np.clip(reference + error * (0.5 + reference), 0, 1)
    if task == "classes":
        weights = np.array([1.0, 0.7, 0.5])
        reference, fast = (x * weights / (x * weights).sum(axis=1, keepdims=True) for x in (reference, fast + 1e-9))
    if task == "binary":
        reference, fast = reference[:, 0], fast[:, 0]
    flips = flip_columns(rule, fast, reference)
    margins = strict_columns(rule, fast, reference) if strict else flips
    leads = lead(rule, fast)
    lost = np.where(flips > 0, leads[:, None], -1.0)
    starts = np.r_[0, np.cumsum(count)]
    strata = [np.ones(of.size, bool)] + [rows for _, _, rows in members(rule, classes, reference)]
    columns = [None] + [column for _, column, _ in members(rule, classes, reference)]
    scores, truth = (
        np.stack([_by_patient(values, rows, column, starts) for rows, column in zip(strata, columns)], axis=1)
        for values in (margins, lost)
    )
    return Population(rule, classes, fast, reference, starts, scores, truth, np.sort(leads))


def _by_patient(values: np.ndarray, rows: np.ndarray, column: int | None, starts: np.ndarray) -> np.ndarray:
    by_case = values.max(axis=1) if column is None else values[:, column]
    return np.maximum.reduceat(np.where(rows, by_case, -np.inf), starts[:-1])


def missed(people: Population, bands: np.ndarray) -> np.ndarray:
    """(R, strata) the true share of patients (of those in the class) with an undetected flip."""
    shares = []
    for truth in people.truth.T:
        held = np.sort(truth[truth > -np.inf])
        shares.append(1 - np.searchsorted(held, bands, side="right") / held.size)
    return np.stack(shares, axis=1)


def bands_of(people: Population, drawn: np.ndarray, policy: GuardPolicy) -> np.ndarray:
    """(R,) the band of each draw (R, n) of patients; NaN where there is none."""
    runs, n = drawn.shape
    places = np.array([rank(size, policy.epsilon or 0.0, policy.delta) or 0 for size in range(n + 1)])
    band = np.full(runs, -np.inf)
    for stratum in range(people.scores.shape[1] if policy.by_class else 1):
        scores = np.sort(people.scores[drawn, stratum], axis=1)
        held = (scores > -np.inf).sum(axis=1)
        place = places[held]
        found = scores[np.arange(runs), np.minimum(n - held + place - 1, n - 1)]
        band = np.maximum(band, np.where(place > 0, found, np.nan))
    return band


def check(people: Population, drawn: np.ndarray, band: float, policy: GuardPolicy) -> None:
    """One draw against primum's `fit_band`, each drawn patient being one of their own."""
    rows = [np.arange(people.starts[p], people.starts[p + 1]) for p in drawn]
    units = np.repeat(np.arange(drawn.size), [part.size for part in rows])
    every = np.concatenate(rows)
    found = fit_band(people.rule, people.classes, people.fast[every], people.reference[every], units, policy)
    same = found.value is None if np.isnan(band) else found.value == band
    insist(bool(same), f"guard band {band}, primum's {found.value}")


def coverage(
    rng: np.random.Generator,
    runs: int,
    *,
    task: str,
    cases: str,
    n: int,
    epsilon: float,
    delta: float | None,
    by_class: bool,
    strict: bool = False,
) -> Result:
    """On average: the mean share missed, of the class where it is largest. With confidence: the share of draws whose
    share missed exceeds epsilon, in any class at all."""
    people = population(rng, task, cases == "1 to 4", strict)
    policy = GuardPolicy(epsilon=epsilon, delta=delta, by_class=by_class, strict=strict)
    bands = []
    for size in chunks(runs, n):
        drawn = rng.integers(0, PATIENTS, (size, n))
        bands.append(bands_of(people, drawn, policy))
        for row in range(min(size, max(1, CHECKED // 50))):
            check(people, drawn[row], float(bands[-1][row]), policy)
    band = np.concatenate(bands)
    known = band[~np.isnan(band)]
    shares = missed(people, known)[:, : None if by_class else 1]
    deferred = np.searchsorted(people.leads, known, side="right") / people.leads.size
    flips = (people.truth[:, 0] >= 0).mean()
    beside = {
        "unguarded": f"{flips:.3f}",
        "deferred": f"{deferred.mean():.3f}" if known.size else "–",
        "none": f"{1 - known.size / runs:.3f}",
    }
    if not known.size:
        return Result(0.0, 0.0, beside)
    if delta is None:
        worst = int(shares.mean(axis=0).argmax())
        error = float(shares[:, worst].std() / np.sqrt(known.size))
        return Result(float(shares[:, worst].mean()), error, beside)
    exceeded = (shares > epsilon * (1 + 1e-9)).any(axis=1).mean()
    p = (exceeded * known.size + 0.5) / (known.size + 1)
    return Result(float(exceeded), float(np.sqrt(p * (1 - p) / known.size)), beside)


def cells() -> list[Cell]:
    """The grid."""
    grid = [
        {"task": "binary", "cases": c, "n": n, "epsilon": e, "delta": d, "by_class": b}
        for c, (n, e), d, b in product(
            ("1", "1 to 4"), ((120, 0.05), (400, 0.05), (400, 0.02), (1500, 0.02)), (None, 0.05), (False, True)
        )
    ]
    grid += [
        {"task": t, "cases": "1 to 4", "n": 400, "epsilon": 0.05, "delta": d, "by_class": True, "strict": s}
        for t, d, s in product(("labels", "classes"), (None, 0.05), (False, True))
    ]
    grid += [
        {"task": "binary", "cases": "1 to 4", "n": 400, "epsilon": 0.05, "delta": d, "by_class": True, "strict": True}
        for d in (None, 0.05)
    ]
    return [Cell("guard", coverage, setting, setting["delta"] or setting["epsilon"]) for setting in grid]
