"""The largest batch since a call ran out of memory: halved at once, tried again a step at a time, ever more rarely."""

from __future__ import annotations

_FIRST_PATIENCE_S = 600.0
_MOST_PATIENCE_S = 86_400.0
_STEP = 4
"""A step is a quarter of what holds."""


class MemoryCap:
    """What one bucket is held to.

    Memory that was short may be free again (another model gone, another process ended), so a cap does not stand for
    ever. After a long while in which batches as large as the cap held, the cap rises by one step. A step that holds is
    kept, and the next is due after the same while; one that runs out of memory is taken back, and the while doubles.
    """

    __slots__ = ("_held", "_patience", "_since", "size")

    def __init__(self) -> None:
        self.size: int | None = None
        """Rows; None while no call has run out of memory."""
        self._held = 0
        self._since: float | None = None
        """When a batch as large as the cap first came back."""
        self._patience = _FIRST_PATIENCE_S

    def ran_out(self, size: int) -> None:
        """A call of `size` rows ran out of memory."""
        self._since = None
        if self.size is not None and self._held < size <= self.size:
            # Only a step beyond what held: back to that.
            self.size = self._held
            self._patience = min(2 * self._patience, _MOST_PATIENCE_S)
            return
        half = max(1, size // 2)
        if self.size is None or half < self.size:
            self.size = self._held = half

    def answered(self, size: int, now: float) -> bool:
        """A call of `size` rows came back; whether the cap has changed."""
        if self.size is None or size < self.size:
            return False
        if self._held < self.size:
            self._held, self._patience = self.size, _FIRST_PATIENCE_S
        if self._since is None:
            self._since = now
        elif now - self._since >= self._patience:
            self.size += max(1, self.size // _STEP)
            self._since = None
            return True
        return False
