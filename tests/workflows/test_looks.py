"""How earlier looks at the same cases are told."""

import pytest

from primum.data.ledger import Opening
from primum.workflows.looks import say_prior


@pytest.mark.parametrize("share, told", [(1.0, "100%"), (0.25, "25%"), (0.01, "1%"), (0.0025, "under 1%")])
def test_a_small_share_is_not_told_as_none(share, told):
    look = Opening(when="2026-01-01", candidate="a", cases=("c",), hash="h")
    assert say_prior(look, share, "cases").startswith(f"{told} of these cases were ")
