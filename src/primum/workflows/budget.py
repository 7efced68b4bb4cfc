"""The minutes that trials may take: when they end, and how long a training of the search's own may be."""

from __future__ import annotations

import math
import time

from primum.study.store import Store

SPENT = "the budget of minutes was spent"
_SHARE = 0.8
"""Of what is left, for one training: what it made must still be built, judged and timed."""
_LEAST = 0.01
_MORE = 1.25
"""Longer trainings than those of an earlier run are worth paying for anew from here on."""
_RECORD = "training-minutes"


class Budget:
    """Runs from its making on. `minutes` None: no end."""

    def __init__(self, minutes: float | None) -> None:
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes
        """By `time.monotonic`."""

    @property
    def left(self) -> float:
        """Minutes; infinite without a budget."""
        return math.inf if self.deadline is None else (self.deadline - time.monotonic()) / 60

    @property
    def spent(self) -> bool:
        """Whether no trial may begin."""
        return self.left <= 0

    def training(self, asked: float, store: Store) -> float:
        """Minutes of each training that the search proposes: `asked`, or what fits.

        Kept in the study, so that one that goes on proposes the recipes that it has run, unless there is more time now.
        """
        fitting = max(min(asked, _SHARE * self.left), _LEAST)
        earlier = (store.record(_RECORD) or {}).get("minutes")
        if earlier is not None and earlier <= asked and fitting < _MORE * earlier:
            return float(earlier)
        # Few digits: the number is part of a recipe's name.
        minutes = fitting if fitting == asked else max(float(f"{fitting:.2g}"), _LEAST)
        if minutes < asked:
            store.keep(_RECORD, {"minutes": minutes})
        return minutes
