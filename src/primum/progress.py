"""How long work tells where it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener. `stage` begins a named stretch of `total` steps (None: unknown); `advance` reports steps done."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stretch begins; the one before has ended."""

    def advance(self, done: int) -> None:
        """`done` steps of the present stretch are finished."""

    def say(self, text: str) -> None:
        """One line worth keeping."""


class Silent:
    """Listens to nothing."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignored."""

    def advance(self, done: int) -> None:
        """Ignored."""

    def say(self, text: str) -> None:
        """Ignored."""
