"""Which rung of a model answers, decided from what is seen of load and memory; knows no clock and does nothing itself.

Rungs are numbered from the one most trusted, 0; each after it is faster. Down goes quickly, up slowly: only after a
long calm, only where the rung above would carry the load by what was learned of it, and each time that a rung had to be
left again though the load had not grown, only after twice as long. A rung that failed so `tries` times is not tried
again before the pressure that it failed under has fallen, so that a constant load ends in a constant rung.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

_KEPT = 64
"""Latest moves."""
_LESS_LOAD = 0.8
_GROWN = 1.25
"""A rung that is left under more load than this times the load that it was gone up to with, did not fail."""
_LESS_MEMORY = 0.05


class Why(StrEnum):
    """What moved a ladder."""

    BACKLOG = "backlog"
    """Clearing what waited would have taken longer than the target latency."""
    TURNED_AWAY = "turned_away"
    """Requests were refused or expired for load."""
    MEMORY = "memory"
    CALM = "calm"
    """Little waited for long, and the rung above has room for the load."""
    BARRED = "barred"
    """The rung that answered was found to decide otherwise too often."""


@dataclass(frozen=True)
class Seen:
    """What one look shows; each tuple has a place for each rung."""

    backlog_s: float
    """Seconds until all that waits would have left, as predicted."""
    turned_away: int
    """Requests refused or expired for load since the look before."""
    load: float
    """Cases asked a second."""
    capacities: tuple[float, ...]
    """Cases a second that the rung could answer; infinite where unknown."""
    is_open: tuple[bool, ...]
    """Whether its networks are loaded."""
    memory: float | None = None
    """Share of the memory that may be used, in use; None: not known."""
    sizes: tuple[float, ...] = ()
    """Share of it that loading the rung takes; empty: not known."""


@dataclass(frozen=True)
class Move:
    """Another rung answers from now on. `when`: seconds of the clock that is told."""

    when: float
    origin: int
    target: int
    why: Why


@dataclass(frozen=True)
class Release:
    """Memory is short: unload these rungs, which are above the one that answers."""

    rungs: tuple[int, ...]


@dataclass(frozen=True)
class Reopen:
    """Load this rung again, and then tell `reopened`."""

    rung: int


@dataclass(frozen=True)
class LadderSettings:
    """When to move; seconds, and shares within 0 and 1."""

    target_s: float = 0.1
    """Pressure is a backlog longer than this."""
    hold_s: float = 0.3
    """Pressure that lasts so long moves down; a gap so long ends it."""
    dwell_s: float = 1.0
    """Between two moves at least."""
    calm_s: float = 10.0
    calm_share: float = 0.25
    """Of the target: calm is a backlog no longer than this."""
    headroom: float = 0.7
    """Of a rung's capacity: more load than that does not move up to it."""
    memory_high: float = 0.9
    """In use: more than that moves down and unloads."""
    memory_low: float = 0.8
    """In use once the rung above is loaded: more than that does not load it."""
    settle_s: float = 2.0
    """From an unloading until its effect on memory is judged."""
    tries: int = 6


@dataclass
class _Failed:
    """How often a rung that was gone up to did not hold, and the pressure of the last time."""

    times: int = 0
    why: Why = Why.BACKLOG
    load: float = inf
    memory: float = inf


class Ladder:
    """The state. Call `look` every so often with what is seen, and do what it says."""

    def __init__(self, rungs: int, settings: LadderSettings | None = None) -> None:
        self.settings, self._rungs = settings or LadderSettings(), rungs
        self.place = 0
        """The rung that answers."""
        self.barred: set[int] = set()
        """Rungs that never answer again."""
        self.moves: deque[Move] = deque(maxlen=_KEPT)
        """The latest."""
        self.counts: Counter[Why] = Counter()
        """Moves, by why."""
        self.reopening: int | None = None
        """The rung that is being loaded."""
        self._failed = [_Failed() for _ in range(rungs)]
        self._moved = -inf
        self._risen: float | None = None
        """The load under which the rung that answers was gone up to; None where it was not."""
        self._pressed_from = self._pressed_at = self._short_from = self._short_at = -inf
        self._calm_from = inf
        self._released = -inf
        self._not_before = [-inf] * rungs
        self._reopen_failures = [0] * rungs

    def look(self, seen: Seen, now: float) -> Move | Release | Reopen | None:
        """What to do now. A Move has been made; the others are for the caller to do."""
        pressed, short = self._note(seen, now)
        if not seen.is_open[self.place]:
            return self._reopen(self.place, now)
        if short is not None and (above := tuple(k for k in range(self.place) if seen.is_open[k])):
            self._released = now
            return Release(above)
        if now - self._moved < self.settings.dwell_s:
            return None
        below = self._nearest(range(self.place + 1, self._rungs), seen.is_open)
        if below is not None and pressed is not None:
            return self._fall(below, pressed, seen, now)
        if below is not None and short is not None and now - self._released >= self.settings.settle_s:
            return self._fall(below, short, seen, now)
        return self._up(seen, now)

    def bar(self, rung: int, is_open: Sequence[bool], now: float) -> Move | None:
        """This rung never answers again; the Move away from it where it answered, to the next more trusted.

        Where none of those is loaded, to the next faster one that is; where none at all is, to rung 0, which `look` has
        loaded first. Rung 0 cannot be barred here: nothing is more trusted.
        """
        assert rung > 0, "rung 0 is what the others are held against"
        self.barred.add(rung)
        if rung != self.place:
            return None
        target = self._nearest(range(rung - 1, -1, -1), is_open)
        if target is None:
            target = self._nearest(range(rung + 1, self._rungs), is_open)
        return self._move(0 if target is None else target, Why.BARRED, now)

    def reopened(self, rung: int, loaded: bool, now: float) -> None:
        """How a Reopen ended. After a failure it is tried again later, each time twice as late."""
        self.reopening = None
        self._reopen_failures[rung] = 0 if loaded else self._reopen_failures[rung] + 1
        if not loaded:
            times = min(self._reopen_failures[rung] - 1, self.settings.tries)
            self._not_before[rung] = now + self.settings.calm_s * 2**times

    def _note(self, seen: Seen, now: float) -> tuple[Why | None, Why | None]:
        """Lasting pressure by load, and by memory; None where there is none."""
        settings = self.settings
        waits = seen.backlog_s > settings.target_s
        why = Why.BACKLOG if waits else Why.TURNED_AWAY if seen.turned_away else None
        if why is not None:
            if now - self._pressed_at > settings.hold_s:
                self._pressed_from = now
            self._pressed_at = now
        is_short = seen.memory is not None and seen.memory > settings.memory_high
        if is_short:
            if now - self._short_at > max(settings.hold_s, settings.settle_s):
                self._short_from = now
            self._short_at = now
        calm = why is None and not is_short and seen.backlog_s <= settings.calm_share * settings.target_s
        if not calm:
            self._calm_from = inf
        elif self._calm_from == inf or self._calm_from < self._moved:
            self._calm_from = now
        pressed = why if now - self._pressed_from >= settings.hold_s else None
        return pressed, Why.MEMORY if is_short and now - self._short_from >= settings.hold_s else None

    def _fall(self, target: int, why: Why, seen: Seen, now: float) -> Move:
        failed = self._failed[self.place]
        if self._risen is None:
            failed.times = 0
        elif why is Why.MEMORY:
            failed.times = failed.times + 1 if now - self._moved < self._calm_needed(self.place) else 0
        else:
            failed.times = failed.times + 1 if seen.load <= _GROWN * self._risen else 0
        failed.why, failed.load = why, seen.load
        return self._move(target, why, now)

    def _up(self, seen: Seen, now: float) -> Move | Reopen | None:
        settings = self.settings
        above = self._nearest(range(self.place - 1, -1, -1), None)
        if above is None or now - self._calm_from < self._calm_needed(above) or self._gave_up(above, seen):
            return None
        if seen.load > settings.headroom * seen.capacities[above]:
            return None
        if not seen.is_open[above]:
            more = seen.sizes[above] if seen.sizes else 0.0
            if seen.memory is not None and seen.memory + more > settings.memory_low:
                return None
            self._failed[above].memory = seen.memory or 0.0
            return self._reopen(above, now)
        move = self._move(above, Why.CALM, now)
        self._risen = seen.load
        return move

    def _calm_needed(self, rung: int) -> float:
        return self.settings.calm_s * float(2 ** min(self._failed[rung].times, self.settings.tries))

    def _gave_up(self, rung: int, seen: Seen) -> bool:
        """Whether the rung failed too often under a pressure like this one."""
        failed = self._failed[rung]
        if failed.times < self.settings.tries:
            return False
        if failed.why is Why.MEMORY:
            return seen.memory is not None and seen.memory > failed.memory - _LESS_MEMORY
        return seen.load >= _LESS_LOAD * failed.load

    def _reopen(self, rung: int, now: float) -> Reopen | None:
        if self.reopening is not None or now < self._not_before[rung]:
            return None
        self.reopening = rung
        return Reopen(rung)

    def _nearest(self, rungs: range, is_open: Sequence[bool] | None) -> int | None:
        """The first of `rungs` that may answer, and is loaded where `is_open` is given."""
        allowed = (rung for rung in rungs if rung not in self.barred and (is_open is None or is_open[rung]))
        return next(allowed, None)

    def _move(self, target: int, why: Why, now: float) -> Move:
        move = Move(now, self.place, target, why)
        self.place, self._moved, self._risen = target, now, None
        self._pressed_from, self._pressed_at = inf, -inf
        self._calm_from = inf
        self.moves.append(move)
        self.counts[why] += 1
        return move
