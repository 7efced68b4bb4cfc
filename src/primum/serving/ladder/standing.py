"""Which artifacts of a model may answer, which one does, and what shadow sampling found of them: for people."""

from __future__ import annotations

from typing import Any

from primum.serving.ladder.asking import Asking
from primum.serving.ladder.flip_test import FlipTest
from primum.serving.ladder.line import Line
from primum.serving.ladder.shadow import Shadow


def told(line: Line, shadow: Shadow) -> dict[str, str]:
    """Properties of a model's metadata; empty where there is nothing to choose and nothing to compare."""
    found: dict[str, str] = {}
    if len(line.steps) > 1:
        found["ladder"] = ", ".join(rung.version for rung in line.rungs)
        found["rung"] = f"{line.ladder.place} (0 is the most trusted)"
        if closed := [step.rung.version for step in line.steps if not step.is_open]:
            found["unloaded"] = ", ".join(closed)
    tests = [step.test for step in line.steps if step.test is not None]
    if barred := [test for test in tests if test.barred is not None]:
        found["barred"] = "; ".join(f"{test.sha256[:12]} since {test.barred}: {_counts(test)}" for test in barred)
    if line.steps[0].distrusted:
        found["answers"] = "the original answers all cases of the guarded artifact"
    if shadow.options.share:
        found["shadow"] = f"{shadow.options.share:g} of the cases; " + "; ".join(
            f"{test.sha256[:12]}: {_counts(test)}{_unconfirmed(line, test, shadow)}" for test in tests
        )
    return found


def _counts(test: FlipTest) -> str:
    return f"{test.flips} of {test.cases} decided otherwise, at most {test.most_flips:g} of all allowed"


def _unconfirmed(line: Line, test: FlipTest, shadow: Shadow) -> str:
    guarded = test.against == test.sha256
    return "" if guarded or shadow.options.most_flips is not None else " (default, confirmed by no clinician)"


def state(line: Line, shadow: Shadow, asking: Asking, now: float) -> dict[str, Any]:
    """The same as data, with the latest moves and how often the original answered. `now`: of the line's clock."""
    guarded = asking.guarded > 0 or any(rung.reference is not None for rung in line.rungs)
    return {
        "ladder": [
            {
                "version": step.rung.version,
                "recipe": step.rung.manifest.recipe,
                "current": place == line.ladder.place,
                "loaded": step.is_open,
                "barred": step.distrusted or (step.test is not None and step.test.barred is not None),
                "failure": step.failure,
            }
            for place, step in enumerate(line.steps)
        ],
        "moves": [
            {"seconds_ago": now - move.when, "from": move.origin, "to": move.target, "why": move.why.value}
            for move in reversed(line.ladder.moves)
        ],
        "deferrals": {"cases": asking.guarded, "deferred": asking.deferred} if guarded else None,
        "shadow": {
            "share": shadow.options.share,
            "sampled": shadow.sampled,
            "dropped": {reason.value: n for reason, n in shadow.dropped.items()},
            "tests": [_test(step.test) for step in line.steps if step.test is not None],
        }
        if shadow.options.share
        else None,
    }


def _test(test: FlipTest) -> dict[str, Any]:
    bounds = test.bounds
    return {
        "version": test.sha256[:12],
        "cases": test.cases,
        "flips": test.flips,
        "most": test.most_flips,
        "rate": [bounds.lower, bounds.upper],
        "barred": test.barred,
    }
