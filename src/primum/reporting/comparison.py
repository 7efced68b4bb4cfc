"""The part of the page that sets techniques beside one another, by measurements of this model on this machine."""

from __future__ import annotations

from math import isfinite

from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Paragraph, Section, Table, columns, row
from primum.runtimes.base import Target
from primum.study.comparison import Compared, Composition, Repeats, compared, composition, repeated
from primum.study.result import StudyResult
from primum.study.trial import Trial

_COLUMNS = columns(
    "Technique", "Runtime", "#Speed-up", "#Smaller", "#Change of the tightest endpoint", "#Decisions changed",
    "Outcome", "#Effort",
)  # fmt: skip
_NAMES = {
    "prune_channels": "channels removed",
    "prune_to_latency": "channels removed to a latency",
    "prune_while_training": "weights zeroed in training",
    "reestimate_batch_norm": "batch norm re-estimated",
    "distill": "distilled",
    "fine_tune": "fine-tuned",
    "student": "student",
    "given_student": "given student",
    "qat": "trained for INT8",
    "round_weights": "weights rounded",
    "int8": "INT8",
    "int8-dynamic": "dynamic INT8",
    "fp16": "FP16 storage",
    "bf16": "BF16",
}


def comparison_section(result: StudyResult) -> Section:
    """One row a candidate that ran: what it gains, what it changes, what it costs to make."""
    rows = compared(result.baseline, result.trials, result.final)
    caption = (
        "Measured here, on this model, not taken from the literature. Speed-ups are over the original as it stands, "
        "batch 1; the finalists' from the last interleaved run. The endpoint is the one with the least room to its "
        "margin on the selection cases, with its lower bound; negative is worse. Effort is the "
        "time to build, training included."
    )
    table = Table(caption, _COLUMNS, tuple(_cells(r, result) for r in rows), wide=True)
    blocks: list[Block] = [table]
    whole = composition(result.baseline, result.trials, result.winner)
    if whole is not None:
        blocks.append(Paragraph(_composed(whole)))
    for found in repeated(result.trials):
        blocks.append(Paragraph(_repeated(found)))
    return Section("comparison", "Techniques compared", tuple(blocks))


def _cells(one: Compared, result: StudyResult) -> tuple[Cell, ...]:
    name = " → ".join(_NAMES.get(kind, kind) for kind in one.kinds) or "the original's arithmetic"
    marks = ", ".join(
        word
        for word, holds in (("original", one.key == result.baseline.key), ("delivered", one.key == result.winner.key))
        if holds
    )
    (endpoint, difference, lower), task = one.change, result.model.task
    change = (
        Cell(
            n.difference(endpoint, difference),
            "",
            f"{w.endpoint(endpoint, task)}, at worst {n.difference(endpoint, lower)}",
        )
        if isfinite(difference) and endpoint
        else Cell("none")
    )
    effort = n.NOTHING if not one.minutes else f"{one.minutes:.1f} min"
    return row(
        Cell(name, "", marks),
        Cell(w.RUNTIMES.get(one.runtime, one.runtime), "", _settings(_trial(one, result))),
        Cell(n.ratio(one.speed)),
        Cell(n.ratio(one.size_ratio)),
        change,
        Cell(str(one.flips)),
        _outcome(one, result),
        Cell(effort, "", "training data" if one.trains else ""),
    )


def _trial(one: Compared, result: StudyResult) -> Trial:
    return next(t for t in (result.baseline, *result.trials) if t.key == one.key)


def _settings(trial: Trial) -> str:
    """What tells rows of one technique and runtime apart."""
    if "target" not in trial.recipe_data:
        return ""
    target = Target.model_validate(trial.recipe_data["target"])
    told = [f"ranges by {target.ranges}"] * (target.ranges != "minmax")
    told += [f"{n.plural(len(target.exclude), 'module')} in FP32"] * bool(target.exclude)
    told += [f"the rest in {target.floats.upper()}"] * (target.floats != "fp32")
    told += [f"mode {target.mode}"] * (target.mode != "default")
    flags = ("fixed_batch", "channels_last", "bias_correction", "symmetric", "fused_attention", "spinning")
    told += [flag.replace("_", " ") for flag in flags if getattr(target, flag)]
    return n.clean(", ".join(told))


def _outcome(one: Compared, result: StudyResult) -> Cell:
    """What the trials' table says of it: on confirmation where it was opened."""
    verdict, part = w.standing(result, _trial(one, result))
    if verdict is None:
        return w.outcome_cell(one.outcome)
    return w.outcome_cell(verdict.outcome, "on confirmation" if part == "confirmation" else "")


def _composed(whole: Composition) -> str:
    told = f"The delivered composition is {n.ratio(whole.measured)} as fast as the original"
    if not isfinite(whole.product):
        return f"{told}; not all of its parts were tried alone."
    share = whole.measured / whole.product
    return f"{told}; the product of its parts alone would be {n.ratio(whole.product)} ({share:.0%} of it was gained)."


def _repeated(found: Repeats) -> str:
    outcomes = ", ".join(f"seed {s}: {w.WORDS[o].lower()}, {n.plural(f, 'decision')} changed"
                         for s, o, f in zip(found.seeds, found.outcomes, found.flips))  # fmt: skip
    failed = f"; {n.plural(found.failed, 'training')} failed" if found.failed else ""
    return (
        f"Training hangs on chance, so {found.recipe} was trained {len(found.seeds)} times: {outcomes}{failed}. "
        "The first seed is the candidate; the others are only reported."
    )
