"""Whether masks and true masks speak of the same structures."""

import numpy as np
import pytest

from primum.validation.fit import Fit
from primum.validation.mask_fit import fit_masks

NAMES = ("background", "lung", "heart")


def true_masks(n=20, seed=0):
    """A lung above, a heart below, of varying size."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 16, 16), np.uint8)
    for mask, (a, b) in zip(masks, rng.integers(3, 8, (n, 2))):
        mask[1 : 1 + a, 1 : 1 + a] = 1
        mask[9 : 9 + b, 9 : 9 + b] = 2
    return masks


def units(n):
    return np.arange(n).astype(str)


def test_masks_that_fit_say_nothing():
    truth = true_masks()
    assert fit_masks(truth, truth, NAMES, units(20)) == Fit()


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 0, 1)])
def test_channels_in_another_order_are_named_in_theirs(order):
    truth = true_masks()
    called = np.argsort(order)[truth]
    found = fit_masks(called, truth, NAMES, units(20))
    assert found.order == tuple(NAMES[k] for k in order) and ", ".join(found.order) in found.misfit


def test_an_inverted_mask():
    truth = (true_masks() == 1).astype(np.uint8)
    found = fit_masks(1 - truth, truth, ("background", "lung"), units(20))
    assert "fits the true masks far better" in found.misfit and found.order == ("lung", "background")


def test_few_patients_show_no_misfit_but_are_told():
    truth = true_masks()
    called = np.array([0, 2, 1])[truth]
    found = fit_masks(called, truth, NAMES, np.repeat(units(5), 4))
    assert not found.misfit and any("another order" in note for note in found.notes)


def test_a_poor_original_is_told_and_not_refused():
    truth = true_masks()
    truth[:12] = 0
    nothing = np.zeros_like(truth)
    found = fit_masks(nothing, truth, NAMES, units(20))
    assert not found.misfit and len(found.notes) == 2
    assert "'lung'" in found.notes[0] and "0.000 on the 8 cases that hold it" in found.notes[0]


def test_calling_nothing_of_large_structures_is_not_an_inverted_mask():
    truth = np.ones((20, 8, 8), np.uint8)
    truth[:, 0, 0] = 0
    assert not fit_masks(np.zeros_like(truth), truth, ("background", "lung"), units(20)).misfit


def test_a_small_structure_that_is_called_as_what_surrounds_it_is_poor_alone():
    truth = true_masks()
    called = truth.copy()
    called[truth == 1] = 2
    found = fit_masks(called, truth, NAMES, units(20))
    assert not found.misfit and "'lung'" in found.notes[0]
