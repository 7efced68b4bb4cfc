"""Whether networks run in processes of their own: what may be asked for."""

from __future__ import annotations

from enum import StrEnum


class Isolation(StrEnum):
    """Where a model's networks shall run."""

    AUTO = "auto"
    """In processes, but for a model whose call is shorter than the way to another process."""
    ALWAYS = "always"
    NEVER = "never"
    """In the server's own process: what crashes there ends the server."""
