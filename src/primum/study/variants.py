"""Settings of a runtime that are worth a trial of their own only where that runtime already leads."""

from __future__ import annotations

from collections.abc import Sequence

from primum.config import OptimizationConfig, OptimizationLevel
from primum.hardware.machine import Machine
from primum.runtimes.base import Target
from primum.study.planner import Proposal
from primum.study.recipe import Recipe, recipe_of
from primum.study.trial import Trial
from primum.validation.verdict import Outcome

_GOOD = (Outcome.NON_INFERIOR, Outcome.INCONCLUSIVE)


def variants(
    trials: Sequence[Trial], config: OptimizationConfig, machine: Machine, transformer: bool
) -> list[Proposal]:
    """Further forms of what leads among the planned trials (the original first).

    A fixed batch saves what a free batch axis costs a call. BF16 beside INT8 saves what INT8 leaves in floats, which is
    much in a transformer alone: products without stored weights. Of the fastest OpenVINO candidate, and of its fastest
    INT8 one.
    """
    leading = [t for t in trials if t.ok and t.outcome in _GOOD and t.guard is None and not t.recipe_data["techniques"]]
    graphs = [t for t in leading if _target(t).runtime == "openvino" and not _target(t).fixed_batch]
    if not graphs:
        return []
    fastest = _target(max(graphs, key=lambda t: t.speed))
    found = [Proposal(Recipe(_fixed(fastest)), "the fastest so far, for one case a call")]
    integer = [t for t in graphs if _target(t).precision == "int8" and _target(t).floats == "fp32"]
    if transformer and integer and "bf16" in machine.features and config.level is not OptimizationLevel.MINIMAL:
        beside = _target(max(integer, key=lambda t: t.speed)).model_copy(update={"floats": "bf16"})
        found.append(Proposal(Recipe(beside), "INT8, and BF16 in what INT8 leaves in floats"))
        found.append(Proposal(Recipe(_fixed(beside)), "INT8 beside BF16, for one case a call"))
    return found


def _fixed(target: Target) -> Target:
    return target.model_copy(update={"fixed_batch": True})


def _target(trial: Trial) -> Target:
    return recipe_of(trial).target
