"""What the ledger says of earlier looks at cases, in words."""

from __future__ import annotations

from collections.abc import Sequence

from primum.data.ledger import CONFIRMATION, GUARD, Opening


def say_prior(opening: Opening, share: float, cases: str) -> str:
    """An earlier look at a share of `cases`, and what it means for this one."""
    told = {
        CONFIRMATION: "opened for another candidate, or judged by other labels, groups, patients or margins,",
        GUARD: "used to set the band of a guard",
    }
    by_command = f"judged by primum {'validate' if opening.look == 'validation' else opening.look}"
    done = told.get(opening.look, by_command)
    return f"{share:.0%} of these {cases} were {done} on {opening.when}: this is not the first look at them"


def uncomparable(openings: Sequence[Opening]) -> tuple[str, ...]:
    """What must be said of openings whose cases are known by an older key; nothing of none."""
    if not openings:
        return ()
    count, first, last = len(openings), openings[0].when[:10], openings[-1].when[:10]
    return (
        f"{count} opening{'s' if count > 1 else ''} in the ledger ({first} to {last}) cannot be compared with these "
        "cases: an older release of primum recorded them by the bytes of files. They may have been of the same cases",
    )
