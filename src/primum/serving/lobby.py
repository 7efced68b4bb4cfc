"""Where requests wait unread when more come than the event loop can handle, and which of them are turned away.

The batcher's admission refuses a request that cannot be in time, but only after it was read and parsed, which for a
small model is most of its cost: at twice the load a server that reads everything answers nothing in time. Below that
load, hundreds that are worked on at once crowd one another out of the processor's caches. So one turn of the loop
lets in as many as make it about as long as `TURN_S`; what else came waits here, in order, a few microseconds each.
Once a request has waited too long, and for a while somebody always had, those who did are turned away (CoDel: a queue
that stands is overload, one that drains is a burst; Nichols and Jacobson, "Controlling Queue Delay", 2012,
https://doi.org/10.1145/2208917.2209336). Where the loop works for others, `LEAST` are let in with each of its turns.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

_LOG = logging.getLogger("primum.serving")
TURN_S = 5e-3
"""What becomes of a request takes some five turns: five times that, and the wait here, is its answer's delay."""
LEAST = 16
"""So many are let in each turn, however long turns are, and however many were read that may not wait: what else fills
turns is not these requests' fault.
"""
_FIRST = 64
"""As long as nothing is known of turns."""
_FADE = 0.9
"""Of what is known of turns, with each one more."""
TARGET_S = 0.05
"""Who has waited longer is turned away, where requests stand."""
STANDING_S = 0.25
"""For so long somebody has always waited longer than that, before anybody is turned away."""


class Guest(Protocol):
    """Something whole that came on a connection."""

    def let_in(self, came: float) -> bool:
        """Read what `wait` said had come then; False where it waits no more."""

    def turn_away(self, came: float) -> bool:
        """Refuse it unread; False as above."""


class Lobby:
    """One for each event loop. `clock`: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._guests: deque[tuple[float, Guest]] = deque()
        self._taken, self._quota = 0, float(_FIRST)
        self._let_in, self._spent = float(_FIRST), TURN_S
        """By turns that were timed, and in them, fading."""
        self._turning = False
        self._last: tuple[float, int] | None = None
        """When the last turn began, and how many it let in; None: too few to tell anything."""
        self._late_since: float | None = None
        self._refused_at = 0.0
        self.standing = False
        """Whether requests are being turned away."""
        self.turned_away = 0
        """Requests, so far."""

    def __len__(self) -> int:
        return len(self._guests)

    @property
    def open(self) -> bool:
        """Whether what comes now is read at once."""
        return not self._guests and self._taken < self._quota

    def pass_by(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something is read at once."""
        self._taken += 1
        self._turn_soon(loop)

    def wait(self, guest: Guest, loop: asyncio.AbstractEventLoop) -> float:
        """It is let in later, or turned away; when it came."""
        came = self._clock()
        self._guests.append((came, guest))
        self._turn_soon(loop)
        return came

    def _turn_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn of the loop has found all that came."""
        now = began = self._clock()
        took = self._timed(now)
        if self._guests or self.standing:
            late = max(TARGET_S, 2 * took)
            began = self._refuse(now, late)
            most = max(self._quota, self._taken + LEAST)
            while self._guests and self._taken < most:
                came, guest = self._guests.popleft()
                self._taken += _safely(guest.let_in, came)
            self._judge(now, late)
        taken, self._taken, self._turning = self._taken, 0, False
        self._last = (began, taken) if self._guests or taken >= LEAST else None
        if self._last is not None:
            self._turn_soon(loop)

    def _timed(self, now: float) -> float:
        """Seconds of the turn that ends, by which the next ones let in fewer or more; 0 where it was not timed."""
        if self._last is None:
            return 0.0
        began, taken = self._last
        took = now - began
        # What a turn lets in is worked for in the next ones too: sums that fade, not the ratio of one turn.
        self._let_in, self._spent = _FADE * self._let_in + taken, _FADE * self._spent + took
        self._quota = max(LEAST, TURN_S * self._let_in / self._spent)
        return took

    def _refuse(self, now: float, late: float) -> float:
        """Turn away who waited too long, where requests stand; when that was done."""
        guests = self._guests
        if not self.standing:
            return now
        while guests and now - guests[0][0] > late:
            came, guest = guests.popleft()
            self.turned_away += _safely(guest.turn_away, came)
            self._refused_at = now
        return self._clock()

    def _judge(self, now: float, late: float) -> None:
        guests = self._guests
        if not guests or (not self.standing and now - guests[0][0] <= late):
            self._late_since, self.standing = None, False
        elif self._late_since is None:
            self._late_since = self._refused_at = now
        elif now - self._refused_at > STANDING_S and self.standing:
            self._late_since, self.standing = None, False
        else:
            self.standing = now - self._late_since >= STANDING_S


def _safely(call: Callable[[float], bool], came: float) -> bool:
    """One connection's fault must not keep all others waiting."""
    try:
        return call(came)
    except Exception as error:  # noqa: BLE001
        _LOG.error("a request that waited was lost with its connection: %s", type(error).__name__)
        return False
