"""Clinical urgency of a request: a class is strict, emergencies go first."""

from __future__ import annotations

from enum import IntEnum

from primum.errors import InputError


class Priority(IntEnum):
    """Three classes for patients, as in triage, and one below them for work that no patient waits for.

    The numbers are those of the Open Inference Protocol's `priority`, 1 is highest; no number means BACKGROUND.
    """

    EMERGENCY = 1
    URGENT = 2
    ROUTINE = 3
    BACKGROUND = 4
    """Runs alone, and only while nothing else waits or runs; turned away first, and never counted as starving."""

    @classmethod
    def of(cls, value: Priority | int | str) -> Priority:
        """A class, its name, or a number: 1 and 2 are the two highest, 0 (the protocol's default) and above 2 routine.

        Raises InputError on a negative number, another name or another type.
        """
        if isinstance(value, Priority):
            return value
        if isinstance(value, str) and value.upper() in cls.__members__:
            return cls[value.upper()]
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value) if value in (1, 2) else cls.ROUTINE
        names = ", ".join(name.lower() for name in cls.__members__)
        raise InputError(f"priority {value!r}: give {names}, or a whole number from 0 (routine; 1 is an emergency)")


CLASSES = len(Priority)
BACKGROUND = Priority.BACKGROUND - 1
"""Its place among the classes, from 0."""
