import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.data.split import FRACTIONS, fractions, position, split

patients = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=60)


def membership(units):
    parts = split(np.array(units, dtype=np.str_)).parts()
    return {str(units[row]): name for name, rows in parts.items() for row in rows}


@given(patients)
@settings(deadline=None)
def test_every_row_is_in_exactly_one_part(units):
    rows = np.concatenate(list(split(tuple(units)).parts().values()))
    assert sorted(rows) == list(range(len(units)))


@given(patients, st.randoms(use_true_random=False), patients)
@settings(deadline=None)
def test_membership_depends_on_the_patient_alone(units, random, others):
    """Neither the order of rows, nor repeats, nor other patients move anybody."""
    units = [u.rstrip("\0") or "x" for u in units]
    alone = {u: membership([u])[u] for u in units}
    mixed = [*units, *(o.rstrip("\0") or "x" for o in others), *units]
    random.shuffle(mixed)
    together = membership(mixed)
    assert {u: together[u] for u in units} == alone


def test_all_rows_of_a_patient_fall_together():
    units = np.array([f"p{i % 50}" for i in range(1000)])
    for rows in split(units).parts().values():
        inside = set(units[rows])
        assert sum(np.isin(units, list(inside))) == len(rows)


def test_shares_are_near_what_is_promised_for_many_patients():
    n = 20_000
    units = np.array([f"patient-{i:06d}" for i in range(n)])
    for name, rows in split(units).parts().items():
        p = FRACTIONS[name]
        assert abs(len(rows) - n * p) < 4 * np.sqrt(n * p * (1 - p)), name
    assert sum(FRACTIONS.values()) == pytest.approx(1) and FRACTIONS["confirmation"] == 0.4


def test_positions_spread_evenly_even_for_names_that_differ_in_one_digit():
    places = np.sort([position(str(i)) for i in range(5000)])
    assert np.abs(places - (np.arange(5000) + 0.5) / 5000).max() < 0.025, "Kolmogorov-Smirnov at about 0.4 %"
    assert places[0] >= 0 and places[-1] <= 1


def test_membership_is_the_same_on_every_machine_and_in_every_release():
    """Another key, hash or order of parts would hand out confirmation patients that were already used."""
    drawn = hashlib.blake2b(b"patient-1", key=b"primum split 1", digest_size=8).digest()
    assert position("patient-1") == int.from_bytes(drawn, "big") / 2**64
    assert list(FRACTIONS.items()) == [("calibration", 0.1), ("selection", 0.2), ("guard", 0.3), ("confirmation", 0.4)]
    members = {name: rows.tolist() for name, rows in split(tuple(f"patient-{i}" for i in range(20))).parts().items()}
    assert members == {
        "calibration": [1, 9, 13, 19],
        "selection": [12, 17],
        "guard": [4, 6, 11, 18],
        "confirmation": [0, 2, 3, 5, 7, 8, 10, 14, 15, 16],
    }


def test_without_a_guard_part_its_patients_are_confirmed_on_and_nobody_else_moves():
    units = tuple(f"patient-{i}" for i in range(500))
    kept, freed = split(units), split(units, guarded=False)
    assert list(kept.parts()) == list(FRACTIONS) and list(freed.parts()) == ["calibration", "selection", "confirmation"]
    for name in ("calibration", "selection"):
        assert np.array_equal(freed.parts()[name], kept.parts()[name])
    assert np.array_equal(freed.confirmation, np.union1d(kept.guard, kept.confirmation)) and not len(freed.guard)
    assert fractions(True) == FRACTIONS
    assert fractions(False) == {"calibration": 0.1, "selection": 0.2, "confirmation": pytest.approx(0.7)}
