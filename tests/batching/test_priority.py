"""Classes from names and from the protocol's numbers."""

import pytest

from primum.batching.priority import Priority
from primum.errors import InputError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, Priority.ROUTINE),
        (1, Priority.EMERGENCY),
        (2, Priority.URGENT),
        (3, Priority.ROUTINE),
        (99, Priority.ROUTINE),
        ("emergency", Priority.EMERGENCY),
        ("Urgent", Priority.URGENT),
        (Priority.URGENT, Priority.URGENT),
    ],
)
def test_one_is_highest_and_zero_is_the_default(given, expected):
    assert Priority.of(given) is expected


@pytest.mark.parametrize("given", [-1, "soon", 1.5, None, True])
def test_anything_else_is_refused(given):
    with pytest.raises(InputError, match="priority"):
        Priority.of(given)
