"""Flags that become configuration."""

import pytest

from primum.cli.options import guard_policy
from primum.config import GuardPolicy, OptimizationConfig
from primum.errors import InputError


def made(*flags: object) -> GuardPolicy:
    return OptimizationConfig(guard=guard_policy(*flags)).resolve().guard


def test_guard_flags_become_a_policy():
    assert guard_policy(None, None, False, False) is None
    assert made("0.005", None, False, False) == GuardPolicy(epsilon=0.005, delta=0.05, by_class=True, strict=False)
    assert made("0.005", "average", True, True) == GuardPolicy(epsilon=0.005, delta=None, by_class=False, strict=True)
    assert made("smallest", "0.1", False, False) == GuardPolicy(epsilon=None, delta=0.1)
    assert made("off", None, False, False) is None


@pytest.mark.parametrize(
    "flags, message",
    [
        ((None, "0.05", False, False), "belong to --guard"),
        ((None, None, True, False), "belong to --guard"),
        (("tight", None, False, False), "--guard tight: give a number, or 'smallest' or 'off'"),
        (("0.005", "none", False, False), "--guard-delta none: give a number, or 'average'"),
    ],
)
def test_nonsense_is_named(flags, message):
    with pytest.raises(InputError, match=message):
        guard_policy(*flags)
