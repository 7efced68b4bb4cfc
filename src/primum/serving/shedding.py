"""When more requests come than the event loop can even read: which of them are turned away unread.

The batcher's admission refuses a request that cannot be in time, but only after it was read and parsed, which for a
small model is most of its cost: at twice the load a server that reads everything answers nothing in time. So of what
one turn of the loop finds on its sockets, only as much is read as fits a budget of time, once that has not been enough
for a while (as CoDel has it: a queue that stands is overload, one that drains is a burst; Nichols and Jacobson,
"Controlling Queue Delay", 2012, https://doi.org/10.1145/2208917.2209336).

Only turns that follow each other without rest are measured, and only those that reads make long: what the loop does for
others, or while no request comes, is no reason to refuse any. A turn with nothing to do ends all that was known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

BUDGET_S = 0.04
"""Of one turn: twice that, and a batch, is what an answer then takes."""
STANDING_S = 0.25
"""For so long turns have been over their budget, before anything is turned away."""
REST_S = 2e-4
"""A turn that found nothing to read and was over sooner had nothing to do: the loop has caught up."""
SHARE = 0.25
"""Of a turn that is over its budget, reads and the first step of what was read take at least this; the rest is what
becomes of requests later, or has nothing to do with them."""
_FADE, _FADES = 0.999, 4096
"""Of what is known of the cost of a request, with each one that was read."""


class Shedding:
    """One for each event loop. `clock`: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._turning = False
        self._taken = self._came = 0
        self._began = self._turned = self._stepped = self._reading = 0.0
        self._before = (0, 0)
        """Of the turn that is worked for: what came, and how much of it was taken."""
        self._read_at = 0.0
        self._work = self._reads = 0.0
        self._over_since: float | None = None
        self._shedding = False
        self.count = 0
        """Requests turned away."""

    @property
    def standing(self) -> bool:
        """Whether requests are being turned away."""
        return self._shedding

    @property
    def full(self) -> bool:
        """Whether this turn has taken all that it should. The first that it finds is always read."""
        return self._shedding and self._taken > 0 and (self._taken + 1) * self._work > BUDGET_S * self._reads

    def take(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something that came on a socket is read next; `taken` when it is."""
        self._come(loop)
        self._taken += 1

    def taken(self, loop: asyncio.AbstractEventLoop) -> None:
        """It was read, and its handling is the next thing that the loop was told to do."""
        loop.call_soon(self._step)

    def refuse(self, loop: asyncio.AbstractEventLoop) -> None:
        """It is turned away."""
        self._come(loop)
        self.count += 1

    def _come(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._came == 0:
            self._began = self._clock()
        self._came += 1
        if not self._turning:
            self._turning, self._before = True, (0, 0)
            self._turned = self._stepped = self._began
            loop.call_soon(self._turn, loop)

    def _step(self) -> None:
        self._stepped = self._clock()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn of the loop has read all that it found; the one before it is known now."""
        now = self._clock()
        came, taken = self._before
        # What was read now is part of what came of the turn before, as anything else in between.
        took = now - self._turned
        reading = self._reading + self._stepped - self._turned
        if came:
            self._judge(came, taken, took, reading, now)
        elif took < REST_S and not self._came:
            self._turning = False
            self._forget()
            return
        elif now - self._read_at > STANDING_S:
            self._forget()
        elif self._over_since is not None:
            self._work += took
        self._reading = now - self._began if self._came else 0.0
        self._before, self._came, self._taken = (self._came, self._taken), 0, 0
        self._turned = self._stepped = now
        loop.call_soon(self._turn, loop)

    def _judge(self, came: int, taken: int, took: float, reading: float, now: float) -> None:
        # What a turn took is worked for in part before the next: sums that fade, not a ratio of each turn.
        fade = _FADE ** min(taken, _FADES)
        self._work, self._reads, self._read_at = fade * self._work + took, fade * self._reads + taken, now
        over = came * self._work > BUDGET_S * self._reads and reading > SHARE * took
        if not over:
            self._forget()
        elif self._over_since is None:
            self._over_since = now
        else:
            self._shedding = now - self._over_since >= STANDING_S

    def _forget(self) -> None:
        """Nothing stands: what is known of costs is not needed, and may be of other requests than the next."""
        self._work = self._reads = 0.0
        self._over_since, self._shedding = None, False
