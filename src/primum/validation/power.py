"""How many cases a non-inferiority claim needs, and how likely it is to be reached."""

from __future__ import annotations

from math import floor

import numpy as np
from scipy.special import gammaln, ndtri, xlogy

from primum.errors import InputError
from primum.validation.arrays import Ints, check_margin
from primum.validation.intervals import Power
from primum.validation.proportions import tango_z

_TAIL = 1e-12
"""Probability left out at each end of the enumeration: far below any figure that is shown."""


def required_positives(margin: float, alpha: float = 0.025) -> int:
    """The smallest n whose Tango lower bound exceeds -margin when no decision flips: n > z²(1 - M)/M.

    `alpha` is one-sided. InputError if the margin or alpha is not within (0, 1) and (0, 0.5).
    """
    z = _critical(alpha)
    return floor(z * z * (1 - check_margin(margin)) / margin) + 1


def smallest_margin(n: float, alpha: float = 0.025) -> float:
    """The smallest margin that n cases can support with no flip: z²/(n + z²)."""
    z = _critical(alpha)
    return z * z / (n + z * z)


def power_noninferiority(n: int, loss: float, gain: float, margin: float, alpha: float = 0.025) -> Power:
    """The exact power of Tango's one-sided test with n pairs, by enumeration of the trinomial.

    `loss` is P(only the reference is correct), `gain` P(only the candidate is). Cells of negligible
    probability (1e-12 at each end) are left out. With loss = margin + gain the result is the type I error at
    the margin. InputError unless n >= 1, loss and gain >= 0 with loss + gain <= 1, and 0 < margin < 1.
    """
    if n < 1 or int(n) != n:
        raise InputError(f"power needs a whole number of cases >= 1, got {n}")
    if not (loss >= 0 and gain >= 0 and loss + gain <= 1):
        raise InputError(f"loss and gain must be probabilities whose sum is at most 1, got {loss} and {gain}")
    z = _critical(alpha)
    lost = _likely_counts(n, loss)[:, None]
    gained = _likely_counts(n, gain)[None, :]
    rest = n - lost - gained
    possible = rest >= 0
    kept = np.where(possible, rest, 0)
    log_p = gammaln(n + 1) - gammaln(lost + 1) - gammaln(gained + 1) - gammaln(kept + 1)
    log_p = log_p + xlogy(lost, loss) + xlogy(gained, gain) + xlogy(kept, max(0.0, 1 - loss - gain))
    passes = tango_z(gained.astype(float), lost.astype(float), float(n), -check_margin(margin)) > z
    power = float(np.sum(np.exp(log_p), where=possible & passes))
    return Power(min(1.0, power), int(n), loss, gain, margin, alpha)


def _likely_counts(n: int, p: float) -> Ints:
    """The counts of a binomial(n, p) between its two negligible tails."""
    if p in (0.0, 1.0):
        return np.array([round(n * p)], dtype=np.int64)
    centre, spread = n * p, np.sqrt(n * p * (1 - p))
    # Bernstein's bound on a binomial tail: wide enough for small n p, where the normal one is not.
    log_tail = -np.log(_TAIL)
    reach = log_tail / 3 + np.sqrt(log_tail**2 / 9 + 2 * log_tail * spread**2)
    return np.arange(max(0, floor(centre - reach)), min(n, floor(centre + reach) + 1) + 1, dtype=np.int64)


def _critical(alpha: float) -> float:
    if not 0 < alpha < 0.5:
        raise InputError(f"a one-sided alpha must lie between 0 and 0.5, got {alpha}")
    return float(ndtri(1 - alpha))
