"""The parts of the page that tell how fast and how small: key figures and latency."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import nan
from typing import Any

from primum.reporting import figure_latency
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Card, Cell, Figure, Paragraph, Section, Table, columns, row
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.segmentation import DICE_LOSS

_STATISTICS = ("mean", "p50", "p95", "p99", "min", "max", "stddev")


def cards(result: StudyResult) -> tuple[Card, ...]:
    """The four key figures."""
    new, old = result.final.get(result.winner.key), result.final.get(result.baseline.key)
    busy = (
        f"; the machine was busy, measure again (unhindered {n.ratio(new.ratio_unhindered)})"
        if new and new.contended
        else ""
    )
    speed = (
        Card("Speed-up", n.ratio(result.speedup), f"interval {n.span(*result.speedup_interval)}{busy}") if new else None
    )
    p95 = p50 = n.NOTHING
    if new and old:
        p50 = f"{n.milliseconds(old.p50, unit=False)} → {n.milliseconds(new.p50)}"
        p95 = f"{n.milliseconds(old.p95, n.TOO_FEW, False)} → {n.milliseconds(new.p95, n.TOO_FEW)}"
    sizes = f"{n.size(result.baseline.size_bytes)} → {n.size(result.winner.size_bytes)}"
    if result.winner.guard and result.winner.guard.reference_bytes:
        whole = w.times(result.size_ratio_with_reference, "smaller", "larger", "the same")
        sizes += f"; {whole} with the original that it carries"
    return (
        speed or Card("Speed-up", n.NOTHING, "not measured"),
        Card("Size", w.sentence(w.times(result.size_ratio, "smaller", "larger", "the same")), sizes),
        Card("Latency of the model call", p50, f"median (p50); p95 {p95}"),
        _changes(result),
    )


def changes_title(task: Task) -> str:
    """What is counted where an artifact answers otherwise than the original."""
    return {Task.REGRESSION: "Values moved", Task.SEGMENTATION: "Masks that lost Dice"}.get(task, "Decisions changed")


def _changes(result: StudyResult) -> Card:
    verdict, task = w.delivered_verdict(result), result.model.task
    title = changes_title(task)
    if verdict is None:
        return Card(title, n.NOTHING, "not assessed")
    if task is Task.REGRESSION and not result.policy.say_tolerances(result.model.classes):
        return Card(title, n.NOTHING, "no tolerance was given")
    found, (total, one) = verdict.agreement, w.decisions(verdict)
    figure = f"{n.count(found.flips)} of {n.count(total)}"
    if not found.flips:
        none = {Task.REGRESSION: "no value beyond the tolerance", Task.SEGMENTATION: f"none by more than {DICE_LOSS:g}"}
        return Card(title, figure, none.get(task, f"no {one} decided differently"))
    if task is Task.SEGMENTATION:
        return Card(title, figure, f"more than {DICE_LOSS:g} each")
    words = ("with a larger error", "with a smaller") if task is Task.REGRESSION else ("harmful", "beneficial")
    detail = f"{n.count(found.harmful)} {words[0]}, {n.count(found.beneficial)} {words[1]}"
    neither = found.flips - found.harmful - found.beneficial
    return Card(title, figure, f"{detail}, {n.count(neither)} between wrong classes" if neither > 0 else detail)


def latency_section(result: StudyResult) -> Section:
    """Latency by stage, and the last run of all finalists together."""
    blocks: list[Block] = []
    stages = list(dict.fromkeys(stage for part in result.stages.values() for stage in part))
    if stages:
        names = {"original": "Original", "delivered": "Delivered"}
        bars = [
            (name, [(s, _number(result, k, s, "p50"), _number(result, k, s, "p95")) for s in stages])
            for k, name in names.items()
            if k in result.stages
        ]
        told = "; ".join(f"{s}: " + ", ".join(_told(result, k, name, s) for k, name in names.items()) for s in stages)
        caption = "Median by stage; the whisker ends at p95 where the sample supports it."
        blocks.append(Figure("latency", f"Latency by stage. {told}.", caption, partial(figure_latency.draw, bars)))
        blocks.append(_stage_table(result, stages))
        note = (
            "A runtime that runs one closed graph cannot be looked into: there, feature_extraction is the whole "
            "call of the model and classification is what follows it."
        )
        blocks.append(Paragraph(note, "small"))
    else:
        blocks.append(Paragraph("Latency by stage was not measured."))
    if result.final:
        blocks.append(_finalists(result))
    return Section("latency", "Latency", tuple(blocks))


def _stage_table(result: StudyResult, stages: list[str]) -> Table:
    rows = []
    for stage in stages:
        for key in ("original", "delivered"):
            held = result.stages.get(key, {}).get(stage)
            if held is None:
                continue
            rows.append(row(Cell(stage, "", key), *_statistics(held), _taken(held)))
    titles = columns("Stage", "#Mean", "#p50", "#p95", "#p99", "#Min", "#Max", "#Std. dev.", "#Calls")
    return Table("Milliseconds for one case, batch 1.", titles, tuple(rows))


def _finalists(result: StudyResult) -> Table:
    trials = {t.key: t for t in (result.baseline, *result.trials, result.winner)}
    rows = []
    for key, timings in result.final.items():
        name = w.readable(trials[key]) if key in trials else key
        note = "original" if key == result.baseline.key else "delivered" if key == result.winner.key else ""
        guarded = key in trials and trials[key].guard is not None
        speed = timings.effective if guarded else timings.ratio
        ends = (timings.ratio_lower, timings.ratio_upper)
        if guarded:
            ends = (timings.effective_lower, timings.effective_upper)
        held = {s: getattr(timings, s) for s in _STATISTICS}
        rows.append(
            row(Cell(name, "", note), n.ratio(speed), n.span(*ends), *_statistics(held), n.count(timings.calls))
        )
    titles = columns(
        "Finalist", "#Speed-up", "Interval", "#Mean", "#p50", "#p95", "#p99", "#Min", "#Max", "#Std. dev.", "#Calls"
    )
    caption = (
        "The last run: original and finalists timed in turn, in one interleaved run. The headline comes from here. "
        "Milliseconds for the model call alone, batch 1."
    )
    if result.winner.guard is not None:
        caption += " The speed-up of a guarded model is of mean latencies, deferrals included."
    return Table(caption, titles, tuple(rows), wide=True)


def _statistics(held: Mapping[str, Any]) -> list[str]:
    """Percentiles may say that the sample is too small; the rest may be absent."""
    out = []
    for name in _STATISTICS:
        absent = n.TOO_FEW if name.startswith("p") else n.NOTHING
        out.append(n.milliseconds(_float(held.get(name)), absent, unit=False))
    return out


def _taken(held: Mapping[str, Any]) -> str:
    return n.count(_float(held.get("count", held.get("n", held.get("calls")))))


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else nan


def _number(result: StudyResult, key: str, stage: str, name: str) -> float:
    return _float(result.stages.get(key, {}).get(stage, {}).get(name))


def _told(result: StudyResult, key: str, name: str, stage: str) -> str:
    return f"{name} {n.milliseconds(_number(result, key, stage, 'p50'), 'not measured')}"
