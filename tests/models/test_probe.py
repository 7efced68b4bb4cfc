"""What tells logits from probabilities, where a model does not take inputs far outside the usual range."""

import numpy as np
import pytest

from primum.errors import InputError
from primum.models.probe import probe, whole_numbers

IDS = np.random.default_rng(0).integers(0, 40, (64, 12)).astype(np.float32)


def looking_up(batch: np.ndarray) -> np.ndarray:
    if not np.array_equal(batch, batch.round()) or batch.min() < 0 or batch.max() >= 40:
        raise InputError("index out of range")
    return batch[:, :1]


def test_whole_numbers_are_probed_within_the_range_of_the_data():
    found = probe(looking_up, IDS)
    assert found.outputs is not None and len(found.outputs) >= 4 and found.outputs.dtype == np.float32
    assert "within the range of the data" in found.notes[0]


def test_a_column_of_indices_beside_measured_values_is_found():
    mixed = np.concatenate([IDS[:, :1], np.random.default_rng(1).normal(0, 1, (64, 3)).astype(np.float32)], axis=1)
    seen = []

    def of_column(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return looking_up(batch[:, :1])

    assert probe(of_column, mixed).outputs is not None
    assert np.abs(seen[-1][:, 1:]).max() > 5, "the others are still far"
    assert whole_numbers(mixed).tolist() == [True, False, False, False]


def test_inputs_that_are_taken_far_outside_need_no_note():
    found = probe(lambda batch: batch[:, :1], IDS)
    assert found.notes == () and np.abs(found.outputs).max() > 39


def test_where_nothing_else_is_taken_a_note_says_so():
    def only_known(batch: np.ndarray) -> np.ndarray:
        raise InputError("these are no data of mine")

    found = probe(only_known, IDS + 0.5)
    assert found.outputs is None
    assert "from outputs on the data alone" in found.notes[0] and "--activation" in found.notes[0]


@pytest.mark.parametrize("count", [1, 3])
def test_few_cases_are_enough(count):
    assert probe(looking_up, IDS[:count]).outputs is not None
