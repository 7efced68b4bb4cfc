"""A rate watched without end: a test that may be looked at after every case, and bounds that hold at all times at once.

The test is an e-process (Shafer 2021; Ramdas et al. 2023, Stat Sci 38:576): a non-negative process that starts at 1 and
whose mean, while the rate is at most p0, never rises. By Ville's inequality (1939) the chance that it *ever* reaches
1/alpha is then at most alpha, however often it is looked at and whenever one stops. Here it is the likelihood ratio of
a mixture of rates above p0 to p0 itself, after s successes and f failures

    E(s, f) = [integral over q in (p0, 1) of q^s (1 - q)^f w(q) dq] / [p0^s (1 - p0)^f]

with w a beta density truncated to (p0, 1) (Robbins 1970; Howard et al. 2021, Ann Stat 49:1055). Each q > p0 has
p q/p0 + (1 - p)(1 - q)/(1 - p0) <= 1 for *every* p <= p0, so the mixture holds for all of them, and for rates that
change or depend on the past, as long as none exceeds p0. The bounds invert the same mixture, not truncated
(Waudby-Smith and Ramdas 2024, JRSS B 86:1).
"""

from __future__ import annotations

from math import log, log1p

from scipy.optimize import brentq
from scipy.special import betaincc, betaln

from primum.errors import InputError
from primum.validation.intervals import Interval

_SHAPE = 0.5
_TYPICAL = 4.0
"""The mixture's mean, before truncation, is this many times p0: rates a few times too high are found soonest."""
_UNDERFLOW = 1e-250
_TINY = 1e-300


def log_e_value(successes: int, trials: int, rate: float) -> float:
    """log E against H0: each trial succeeds with a chance of at most `rate`. 0 before the first trial.

    Where it reaches log(1/alpha), at any time, H0 is rejected at alpha. InputError unless 0 <= successes <= trials and
    rate is within (0, 1).
    """
    _check(successes, trials)
    if not 0 < rate < 1:
        raise InputError(f"a rate to test is within (0, 1), not {rate}")
    a, b = _prior(rate)
    failures = trials - successes
    prior = betaln(a, b) + log(float(betaincc(a, b, rate)))
    return _log_tail(successes + a, failures + b, rate) - successes * log(rate) - failures * log1p(-rate) - float(prior)


def confidence_sequence(successes: int, trials: int, alpha: float = 0.05) -> Interval:
    """Bounds of a constant rate that hold after all numbers of trials at once, with a chance of at least 1 - alpha.

    Those rates p at which the mixture of Beta(1/2, 1/2) is less than 1/alpha times as likely as p: a convex set.
    [0, 1] and a NaN estimate before the first trial. InputError unless 0 <= successes <= trials and alpha is within
    (0, 1).
    """
    _check(successes, trials)
    if not 0 < alpha < 1:
        raise InputError(f"alpha is within (0, 1), not {alpha}")
    if not trials:
        return Interval(float("nan"), 0.0, 1.0, 1 - alpha)
    failures = trials - successes
    mixture = float(betaln(successes + _SHAPE, failures + _SHAPE) - betaln(_SHAPE, _SHAPE))

    def excess(p: float) -> float:
        """log of (mixture / likelihood of p) * alpha: negative inside."""
        return (
            mixture
            - (successes * log(p) if successes else 0.0)
            - (failures * log1p(-p) if failures else 0.0)
            + log(alpha)
        )

    centre = successes / trials
    lower = 0.0 if not successes else float(brentq(excess, _TINY, min(centre, 1 - 1e-16), xtol=1e-15))
    upper = 1.0 if not failures else float(brentq(excess, max(centre, _TINY), 1 - 1e-16, xtol=1e-15))
    return Interval(centre, lower, upper, 1 - alpha)


def _prior(rate: float) -> tuple[float, float]:
    mean = min(_TYPICAL * rate, (1 + rate) / 2)
    return _SHAPE, _SHAPE * (1 - mean) / mean


def _log_tail(a: float, b: float, x: float) -> float:
    """log of the integral of q^(a-1) (1-q)^(b-1) from x to 1, also where it is far below the smallest float."""
    share = float(betaincc(a, b, x))
    if share > _UNDERFLOW:
        return float(betaln(a, b)) + log(share)
    # Far above the mean the continued fraction of the other tail converges within a few terms (DLMF 8.17.22).
    return a * log(x) + b * log1p(-x) - log(b) + log(_fraction(b, a, 1 - x))


def _fraction(a: float, b: float, x: float) -> float:
    """I_x(a, b) a B(a, b) / (x^a (1-x)^b), by the modified method of Lentz; for x < (a + 1)/(a + b + 2)."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            step = c * d
            value *= step
        if abs(step - 1) < 1e-14:
            return value
    raise ArithmeticError(f"the continued fraction of I_{x}({a}, {b}) did not converge")


def _check(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials:
        raise InputError(f"need 0 <= successes <= trials, got {successes} of {trials}")
