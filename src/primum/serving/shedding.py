"""When more requests come than the event loop can even read: which of them are turned away unread.

The batcher's admission refuses a request that cannot be in time, but only after it was read and parsed, which for a
small model is most of its cost: at twice the load a server that reads everything answers nothing in time. So of what
one turn of the loop finds on its sockets, only as much is read as fits a budget of time, once that has not been enough
for a while (as CoDel has it: a queue that stands is overload, one that drains is a burst; Nichols and Jacobson,
"Controlling Queue Delay", 2012, https://doi.org/10.1145/2208917.2209336).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, thread_time

BUDGET_S = 0.04
"""Of one turn: twice that, and a batch, is what an answer then takes."""
STANDING_S = 0.25
"""For so long turns have been over their budget, before anything is turned away."""
_FADE, _FADES = 0.999, 4096
"""Of what is known of the cost of a request, with each one that was read."""


class Shedding:
    """One for each event loop. `clock`: seconds that never go back; `cpu`: seconds of work of this thread."""

    def __init__(self, clock: Callable[[], float] = monotonic, cpu: Callable[[], float] = thread_time) -> None:
        self._clock, self._cpu = clock, cpu
        self._taken = self._came = 0
        self._worked = cpu()
        self._work = self._reads = self._cost = 0.0
        self._over_since: float | None = None
        self._shedding = False
        self._turning = False
        self.count = 0
        """Requests turned away."""

    @property
    def standing(self) -> bool:
        """Whether requests are being turned away."""
        return self._shedding

    def take(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Something came on a socket: whether to read it."""
        if not self._turning:
            self._turning = True
            loop.call_soon(self.turn)
        self._came += 1
        if self._shedding and (self._taken + 1) * self._cost > BUDGET_S:
            return False
        self._taken += 1
        return True

    def refused(self) -> None:
        """It was turned away."""
        self.count += 1

    def turn(self) -> None:
        """A turn of the loop has read all that it found."""
        self._turning = False
        now, worked = self._clock(), self._cpu()
        # What a turn took is worked for in part before the next: sums that fade, not a ratio of each turn.
        fade = _FADE ** min(self._taken, _FADES)
        self._work = fade * self._work + (worked - self._worked)
        self._reads = fade * self._reads + self._taken
        self._cost = self._work / self._reads if self._reads else 0.0
        over = self._came * self._cost > BUDGET_S
        if not over:
            self._over_since = None
        elif self._over_since is None:
            self._over_since = now
        self._shedding = self._over_since is not None and now - self._over_since >= STANDING_S
        self._worked, self._taken, self._came = worked, 0, 0
