"""What the ledger says of earlier looks at cases, in words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from primum.data.evaluation import Materialized
from primum.data.ledger import CONFIRMATION, GUARD, SEARCH, VALIDATION, Ledger, Opening
from primum.data.split import Split

_DONE = {
    CONFIRMATION: "opened for another candidate, or judged by other labels, groups, patients or margins,",
    GUARD: "used to set the band of a guard",
    SEARCH: "searched on, for calibration or selection,",
    VALIDATION: "judged by primum validate",
}


def record_search(data: Materialized, split: Split, original: str) -> Opening:
    """Tell the ledger which cases a study of this original (a digest) searches on; once, then the same record is given.

    Parts follow from what patients are called, so that in a study with other names these may be locked ones.
    """
    cases = [data.digests[row] for row in (*split.calibration, *split.selection)]
    return Ledger().record(cases, hashlib.sha256(f"{SEARCH} {original}".encode()).hexdigest(), SEARCH)


def say_prior(opening: Opening, share: float, cases: str) -> str:
    """An earlier look at a share of `cases`, and what it means for this one."""
    done = _DONE.get(opening.look, f"judged by primum {opening.look}")
    told = f"{share:.0%}" if share >= 0.01 else "under 1%"
    return f"{told} of these {cases} were {done} on {opening.when}: this is not the first look at them"


def uncomparable(openings: Sequence[Opening]) -> tuple[str, ...]:
    """What must be said of openings whose cases are known by an older key; nothing of none."""
    if not openings:
        return ()
    count, first, last = len(openings), openings[0].when[:10], openings[-1].when[:10]
    return (
        f"{count} opening{'s' if count > 1 else ''} in the ledger ({first} to {last}) cannot be compared with these "
        "cases: an older release of primum recorded them by the bytes of files. They may have been of the same cases",
    )
