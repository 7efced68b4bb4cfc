"""Which subgroups and classes may be waived by name: those that the data have, each under a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.task import Task
from primum.validation.cases import MISSING, as_text
from primum.validation.verdict import waiver

_MOST_SHOWN = 60


def demand_waivers(
    policy: ClinicalPolicy, groups: Mapping[str, NDArray[Any]], task: Task, classes: tuple[str, ...], where: str
) -> None:
    """InputError where the policy waives what these data do not have, or a name that means two things.

    All cases are meant, not a part of them: a level that a part lacks is no typo. `groups` column -> (N,).
    """
    known = waivable(groups, task, classes)
    unknown = [name for name in policy.waived_subgroups if name not in known]
    if unknown:
        called = ", ".join(map(repr, unknown))
        raise InputError(f"{where}: nothing is called {called}; {_say_known(known, bool(groups))} (--waive-subgroups)")
    for name in policy.waived_subgroups:
        if len(known[name]) > 1:
            raise InputError(
                f"{where}: {name!r} is both {' and '.join(known[name])}: one waiver would waive both. Give the "
                "grouping column another name (--waive-subgroups, --group-columns)"
            )


def waivable(groups: Mapping[str, NDArray[Any]], task: Task, classes: tuple[str, ...]) -> dict[str, list[str]]:
    """What each waiver waives, in words: "column=level", and "class=NAME" of a class, label, structure or grade.

    `classes`: names of the model's outputs. Of two classes none is waived: their rates are what is judged. The lowest
    grade has no cut, and the background of masks is no structure.
    """
    named = {Task.BINARY: (), Task.ORDINAL: classes[1:], Task.SEGMENTATION: classes[1:]}.get(task, classes)
    found: dict[str, list[str]] = {}
    for column, values in groups.items():
        levels = {value or MISSING for value in as_text(values, len(values), f"group column {column!r}").tolist()}
        for level in sorted(levels, key=lambda v: (v == MISSING, v)):
            found.setdefault(f"{column}={level}", []).append(f"the level {level!r} of the grouping column {column!r}")
    for name in named:
        found.setdefault(waiver(name), []).insert(0, f"the class {name!r}")
    return found


def _say_known(known: Mapping[str, list[str]], grouped: bool) -> str:
    if not known:
        return "there is nothing to waive: no grouping column was named (--group-columns)"
    shown, more = list(known)[:_MOST_SHOWN], len(known) - _MOST_SHOWN
    said = f"to waive there are {', '.join(shown)}" + (f" and {more} more" if more > 0 else "")
    return said if grouped else f"{said}; no grouping column was named (--group-columns)"
