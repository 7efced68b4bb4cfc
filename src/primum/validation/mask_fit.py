"""Whether an original's masks and the true ones speak of the same structures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

from primum.validation.arrays import Bools, Floats, Ints
from primum.validation.fit import Fit
from primum.validation.output_order import ERROR, cycles

NEAR_NOTHING = 0.1
"""A mean Dice below this is no overlap worth the name."""
POOR = 0.3
"""Below this a reader is told: no worse than it is not good."""
_FAR = 0.2
"""Gain of mean Dice of every structure that moves, from which another order fits far better."""


def fit_masks(
    called: NDArray[np.integer], truth: NDArray[np.integer], names: tuple[str, ...], units: NDArray[Any]
) -> Fit:
    """Of the classes (N, *spatial) that the original calls and the true ones, of cases of patients `units` (N,).

    `names` are those of the K channels, the background first. A misfit: of a structure that the original hardly
    overlaps where it is, another order of channels (the inverted mask among them) fits far better, for every channel
    that moves and in more patients than chance would have it.
    """
    dice, held = _means(called, truth, len(names))
    notes = [
        f"the original's mean Dice of {names[k]!r} is {dice[k, k]:.3f} on the {held[k]} cases that hold it: what is no "
        "worse than that is not good"
        for k in range(1, len(names))
        if held[k] and dice[k, k] < POOR
    ]
    best = np.asarray(linear_sum_assignment(-dice - 1e-6 * np.eye(len(names)))[1], np.int64)
    for cycle in cycles(best):
        known = [k for k in cycle if held[k]]
        gains = dice[known, best[known]] - dice[known, known]
        lost = any(dice[k, k] < NEAR_NOTHING for k in known if k)
        if len(known) < 2 or gains.min() < _FAR or not lost:
            continue
        order = list(names)
        for k in cycle:
            order[best[k]] = names[k]
        figures = f"mean Dice {dice[known, best[known]].mean():.3f}; as named {dice[known, known].mean():.3f}"
        said = f"{', '.join(order)} ({figures})"
        if _by_chance(called, truth, known, best, units) < ERROR:
            return Fit(
                f"fits the true masks far better if its channels stand for, in their order, {said}", tuple(order)
            )
        notes.append(f"the original's channels may be in another order, with too few cases to tell: {said}")
    return Fit(notes=tuple(notes))


def _tables(called: NDArray[np.integer], truth: NDArray[np.integer], width: int) -> Iterator[tuple[Floats, Bools]]:
    """(K, K) Dice of each true class with each called one, and (K,) whether the case holds it, case by case."""
    for given, true in zip(called, truth):
        pairs = true.astype(np.int64).ravel() * width + given.astype(np.int64).ravel()
        both = np.bincount(pairs, minlength=width * width).reshape(width, width)
        sizes = both.sum(axis=1)[:, None] + both.sum(axis=0)[None, :]
        yield 2 * both / np.maximum(sizes, 1), np.asarray(both.sum(axis=1) > 0)


def _means(called: NDArray[np.integer], truth: NDArray[np.integer], width: int) -> tuple[Floats, NDArray[np.int64]]:
    """Mean Dice (K, K) over the cases that hold the true class, 0 where none does; and how many (K,) do."""
    total, held = np.zeros((width, width)), np.zeros(width, np.int64)
    for table, holds in _tables(called, truth, width):
        total[holds] += table[holds]
        held += holds
    return total / np.maximum(held, 1)[:, None], held


def _by_chance(
    called: NDArray[np.integer], truth: NDArray[np.integer], known: list[int], best: Ints, units: NDArray[Any]
) -> float:
    """Sign test, by patient, of the gain that the structures `known` have by the other order."""
    gains: dict[str, list[float]] = {}
    for (table, holds), unit in zip(_tables(called, truth, len(best)), units):
        here = [k for k in known if k and holds[k]]
        if here:
            gains.setdefault(str(unit), []).append(float((table[here, best[here]] - table[here, here]).mean()))
    better = sum(np.mean(own) > 0 for own in gains.values())
    return float(binom.sf(better - 1, len(gains), 0.5)) if gains else 1.0
