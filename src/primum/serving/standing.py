"""Which artifacts of a model may answer, which one does, and what shadow sampling found of them: for people."""

from __future__ import annotations

from primum.serving.flip_test import FlipTest
from primum.serving.line import Line
from primum.serving.shadow import Shadow


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
