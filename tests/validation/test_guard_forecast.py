"""A band foretold from other cases, and what it is for: to choose a candidate before the guard part is opened."""

import numpy as np
import pytest

from primum.config import GuardPolicy
from primum.task import Task
from primum.validation.conformal import fit_band
from primum.validation.decisions import Rule
from primum.validation.guard_forecast import forecast_band

RULE = Rule(Task.BINARY, (0.5,))
NAMES = ("negative", "positive")


def draw(rng, n, candidates):
    """Scores of an original, and of candidates that differ from it alike."""
    logits = rng.standard_normal(n) * 2
    noise = 0.25 * rng.standard_t(3, size=(candidates, n))
    return 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-logits - noise))


def test_with_enough_patients_it_is_the_band_that_they_would_set():
    reference, (fast,) = draw(np.random.default_rng(1), 900, 1)
    policy = GuardPolicy(epsilon=0.02, delta=0.05, by_class=True)
    units = np.arange(900)
    found, made = (f(RULE, NAMES, fast, reference, units, policy) for f in (forecast_band, fit_band))
    assert found.value == made.value > 0


def test_with_too_few_it_is_the_largest_score_and_a_class_of_nobody_counts_for_nothing():
    fast, reference, units = np.array([0.45, 0.7, 0.8]), np.array([0.6, 0.7, 0.8]), np.arange(3)
    policy = GuardPolicy(epsilon=0.001, delta=0.05)
    assert fit_band(RULE, NAMES, fast, reference, units, policy).value is None
    found = forecast_band(RULE, NAMES, fast, reference, units, policy)
    assert found.value == pytest.approx(0.05) and not found.reason
    assert forecast_band(RULE, NAMES, fast, reference, units, GuardPolicy()).value == pytest.approx(0.05)


def test_a_candidate_chosen_by_it_keeps_the_bound_that_one_chosen_by_its_own_band_breaks():
    rng, policy = np.random.default_rng(0), GuardPolicy(epsilon=0.02, delta=0.05, by_class=False)
    truth, (among,) = draw(rng, 200_000, 1)
    flipped, leads = (among >= 0.5) != (truth >= 0.5), np.abs(among - 0.5)
    runs, broken, chosen_after = 200, 0, 0
    for _ in range(runs):
        told_from, told = draw(rng, 400, 6)
        set_on, fast = draw(rng, 600, 6)
        foretold = [forecast_band(RULE, NAMES, one, told_from, np.arange(400), policy).value for one in told]
        bands = [fit_band(RULE, NAMES, one, set_on, np.arange(600), policy).value for one in fast]
        broken += np.mean(flipped & (leads > bands[int(np.argmin(foretold))])) > policy.epsilon
        chosen_after += np.mean(flipped & (leads > min(bands))) > policy.epsilon
    # 20 of 200 or more come of a true 5 % in 3 of 1000 such tests.
    assert broken < 20 < chosen_after
