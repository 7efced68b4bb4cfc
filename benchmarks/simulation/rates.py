"""Sensitivity at its margin: Tango's rule alone, chosen among many candidates, by patient, and its power."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
from scipy.stats import multivariate_normal, norm

from primum.config import ClinicalPolicy, Margins
from primum.validation.power import power_noninferiority
from primum.validation.proportions import tango_z, two_sided_z
from primum.validation.rates import judge_rate
from primum.validation.verdict import Outcome
from simulation.cell import CHECKED, Cell, Kind, Result, chunks, insist, share

Z = two_sided_z(0.95)
SENSITIVITY = 0.9


def passes(n: np.ndarray, lost: np.ndarray, gained: np.ndarray, margin: float) -> np.ndarray:
    """Tango's rule for independent cases, elementwise; without cases nothing passes."""
    counts = np.asarray(n, dtype=float)
    z = tango_z(np.asarray(gained, float), np.asarray(lost, float), np.maximum(counts, 1.0), -margin)
    return np.asarray((z > Z) & (counts > 0))


def judged(n: int, lost: int, gained: int, margin: float) -> bool:
    """The same by primum's endpoint, from vectors of cases."""
    reference, candidate = np.ones(n, bool), np.ones(n, bool)
    candidate[:lost] = False
    reference[lost : lost + gained] = False
    policy = ClinicalPolicy(margins=Margins(sensitivity=margin))
    return judge_rate("sensitivity", reference, candidate, np.arange(n), policy).outcome is Outcome.NON_INFERIOR


def check_tables(n: np.ndarray, lost: np.ndarray, gained: np.ndarray, passed: np.ndarray, margin: float) -> None:
    """Those tables nearest to the decision, and others, against `judge_rate`."""
    counts = np.asarray(n, dtype=float)
    z = tango_z(np.asarray(gained, float), np.asarray(lost, float), np.maximum(counts, 1.0), -margin)
    near = np.argsort(np.abs(z - Z))[: CHECKED // 2]
    for row in np.unique(np.r_[near, np.arange(min(len(counts), CHECKED // 2))]):
        if counts[row] > 0:
            table = int(n[row]), int(lost[row]), int(gained[row])
            insist(judged(*table, margin) == bool(passed[row]), f"Tango's rule on {table} at margin {margin}")


def shares_at_margin(margin: float, correlation: float) -> tuple[float, float]:
    """P(lost), P(gained) of a positive where both models threshold correlated normal scores."""
    reference, candidate = norm.ppf(SENSITIVITY), norm.ppf(SENSITIVITY - margin)
    both = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]]).cdf([reference, candidate])
    gained = max(0.0, SENSITIVITY - margin - float(both))
    return margin + gained, gained


def tango(
    rng: np.random.Generator, runs: int, *, cases: int, prevalence: float, correlation: float, margin: float
) -> Result:
    """Type I error: sensitivity lower by exactly the margin, positives as many as happen to be drawn."""
    loss, gain = shares_at_margin(margin, correlation)
    n = rng.binomial(cases, prevalence, runs)
    lost, gained, _ = rng.multinomial(n, [loss, gain, 1 - loss - gain]).T
    passed = passes(n, lost, gained, margin)
    check_tables(n, lost, gained, passed, margin)
    return share(int(passed.sum()), runs, discordant=f"{loss + gain:.3f}")


def power(rng: np.random.Generator, runs: int, *, n: int, loss: float, gain: float, margin: float) -> Result:
    """The share that passes, held against the exact power."""
    lost, gained, _ = rng.multinomial(n, [loss, gain, 1 - loss - gain], runs).T
    counts = np.full(runs, n)
    passed = passes(counts, lost, gained, margin)
    check_tables(counts, lost, gained, passed, margin)
    exact = power_noninferiority(n, loss, gain, margin).power
    p = min(max(exact, 0.5 / runs), 1 - 0.5 / runs)
    return Result(float(passed.mean()), (p * (1 - p) / runs) ** 0.5, {"exact": f"{exact:.4f}"}, exact)


def select(
    rng: np.random.Generator, runs: int, *, n: int, margin: float, correlation: float, good: int, candidates: int = 20
) -> Result:
    """The best of `candidates` on n selection positives, confirmed on n others; `good` of them lose as much as gain.

    An error is the delivery of a candidate that is truly at the margin. Beside: the sequence of three (the last that
    passes before the first that does not), and what would be delivered without any split.
    """
    gain = 0.02
    loss = np.where(np.arange(candidates) < good, gain, margin + gain)
    errors, in_sequence, naive = 0, 0, 0
    for size in chunks(runs, n * candidates):
        counts = []
        for _ in range(2):
            shared, own = rng.normal(size=(size, n, 1)), rng.normal(size=(size, n, candidates))
            latent = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
            counts.append(((latent < norm.ppf(loss)).sum(axis=1), (latent > norm.ppf(1 - gain)).sum(axis=1)))
        (lost, gained), (lost2, gained2) = counts
        promise = tango_z(gained.astype(float), lost.astype(float), float(n), -margin)
        order = np.argsort(-promise, axis=1, kind="stable")[:, :3]
        passed = passes(np.full(lost2.shape, n), lost2, gained2, margin)
        check_tables(np.full(size, n), lost2[:, -1], gained2[:, -1], passed[:, -1], margin)
        chosen, null = np.take_along_axis(passed, order, axis=1), order >= good
        errors += int((chosen[:, 0] & null[:, 0]).sum())
        running = np.logical_and.accumulate(chosen, axis=1)
        last = running.sum(axis=1) - 1
        in_sequence += int((null[np.arange(size), np.maximum(last, 0)] & (last >= 0)).sum())
        together = passes(np.full(lost.shape, 2 * n), lost + lost2, gained + gained2, margin)
        naive += int(together[:, good:].any(axis=1).sum())
    return share(
        max(errors, in_sequence), runs, one=f"{errors / runs:.4f}", three=f"{in_sequence / runs:.4f}",
        unsplit=f"{naive / runs:.3f}",
    )  # fmt: skip


SIZES = {
    "10 × 20": (20,) * 10,
    "20 × 10": (10,) * 20,
    "40 × 5": (5,) * 40,
    "40 of 1 to 30": tuple(np.r_[np.repeat(1, 20), np.repeat(4, 12), np.repeat(15, 6), np.repeat(30, 2)].tolist()),
    "100 of 1 to 10": tuple(np.r_[np.repeat(1, 60), np.repeat(3, 25), np.repeat(10, 15)].tolist()),
    "300 × 2": (2,) * 300,
    "200 of 1 to 6": tuple(np.repeat([1, 2, 3, 4, 5, 6], [113, 47, 20, 10, 6, 4]).tolist()),
    "800 of 1 to 6": tuple(np.repeat([1, 2, 3, 4, 5, 6], [450, 190, 80, 40, 24, 16]).tolist()),
}
"""Patients and the positives that each has; the last two have images as chest radiographs have, 1.8 a patient."""
SMALL = 0.005
"""Losses and gains of a candidate that is as good as the reference."""


@lru_cache(maxsize=200_000)
def clustered_passes(sizes: tuple[int, ...], tables: tuple[tuple[int, int, int], ...], margin: float) -> bool:
    """`judge_rate` on patients; `tables` (patient, lost, gained) name those who are discordant."""
    units = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.r_[0, np.cumsum(sizes)]
    reference, candidate = np.ones(units.size, bool), np.ones(units.size, bool)
    for patient, lost, gained in tables:
        first = starts[patient]
        candidate[first : first + lost] = False
        reference[first + lost : first + lost + gained] = False
    policy = ClinicalPolicy(margins=Margins(sensitivity=margin))
    return judge_rate("sensitivity", reference, candidate, units, policy).outcome is Outcome.NON_INFERIOR


def correlated(rng: np.random.Generator, runs: int, patients: np.ndarray, correlation: float) -> np.ndarray:
    """(R, N) uniform numbers of which any outcomes are correlated by exactly `correlation` within a patient: each case
    takes the patient's common number with probability sqrt(correlation), else one of its own."""
    common, own = rng.random((runs, patients.max() + 1)), rng.random((runs, patients.size))
    return np.where(rng.random(own.shape) < np.sqrt(correlation), common[:, patients], own)


def clustered(
    rng: np.random.Generator, runs: int, *, patients: str, correlation: float, margin: float, gain: float
) -> Result:
    """Type I error by patient; beside it the power for losses and gains of `SMALL`, correlated alike, by a tenth of the
    runs."""
    hits, ignoring = _by_patient(rng, runs, patients, correlation, margin, margin + gain, gain)
    tenth = max(1, runs // 10)
    strong, _ = _by_patient(rng, tenth, patients, correlation, margin, SMALL, SMALL)
    return share(hits, runs, ignored=f"{ignoring / runs:.3f}", power=f"{strong / tenth:.3f}")


def _by_patient(
    rng: np.random.Generator, runs: int, patients: str, correlation: float, margin: float, loss: float, gain: float
) -> tuple[int, int]:
    """Runs that pass, and that would if cases were independent."""
    # Sizes fall within the tuple, so that patients of one size can be put in one order: equal tables are judged once.
    sizes = tuple(sorted(SIZES[patients]))
    of = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.r_[0, np.cumsum(sizes)[:-1]]
    hits, ignoring = 0, 0
    for size in chunks(runs, 4 * of.size):
        u = correlated(rng, size, of, correlation)
        lost, gained = u < loss, u > 1 - gain
        ignoring += int(passes(np.full(size, of.size), lost.sum(axis=1), gained.sum(axis=1), margin).sum())
        by_patient = np.stack([np.add.reduceat(x.astype(int), starts, axis=1) for x in (lost, gained)], axis=2)
        # A loss of the margin or more passes by no rule: some are judged to see that, the others left.
        behind = (gained.sum(axis=1) - lost.sum(axis=1)) / of.size <= -margin
        hits += sum(clustered_passes(sizes, _canonical(sizes, tables), margin) for tables in by_patient[~behind])
        for tables in by_patient[behind][: CHECKED // 5]:
            insist(not clustered_passes(sizes, _canonical(sizes, tables), margin), "a loss beyond the margin passed")
    return hits, ignoring


def _canonical(sizes: tuple[int, ...], tables: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """The discordant patients, those of one size sorted and moved to its first places."""
    found: dict[int, list[tuple[int, int]]] = {}
    for patient in np.flatnonzero(tables.any(axis=1)):
        found.setdefault(sizes[patient], []).append((int(tables[patient, 0]), int(tables[patient, 1])))
    return tuple(
        (sizes.index(size) + i, *counts) for size, held in found.items() for i, counts in enumerate(sorted(held))
    )


def cells() -> list[Cell]:
    """The grid."""
    grid = [
        Cell("tango", tango, {"cases": c, "prevalence": p, "correlation": r, "margin": m}, 0.028)
        for c, p, r, m in product((200, 500, 2000), (0.1, 0.5), (0.8, 0.95, 0.99), (0.02, 0.05))
    ]
    grid += [
        Cell("select", select, {"n": n, "margin": 0.05, "correlation": r, "good": g}, 0.03)
        for n, r, g in product((200, 400), (0.0, 0.5, 0.9), (0, 5))
    ]
    grid += [
        Cell("clustered", clustered, {"patients": s, "correlation": r, "margin": m, "gain": g}, 0.03)
        for s, r, (m, g) in product(SIZES, (0.0, 0.3, 0.8), ((0.05, 0.0), (0.1, 0.02)))
    ]
    return grid + [
        Cell("power", power, {"n": n, "loss": b, "gain": c, "margin": m}, kind=Kind.EQUALS)
        for n, b, c, m in (
            (280, 0.0025, 0.0025, 0.02),
            (518, 0.01, 0.01, 0.02),
            (110, 0.005, 0.005, 0.05),
            (200, 0.02, 0.01, 0.05),
            (400, 0.03, 0.01, 0.05),
            (1041, 0.005, 0.005, 0.01),
        )
    ]
