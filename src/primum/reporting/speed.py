"""The parts of the page that tell how fast and how small: key figures, latency, the front, all trials."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import isfinite, nan
from typing import Any

from primum.reporting import figure_curves, figure_pareto
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Card, Cell, Figure, Paragraph, Section, Table, columns, row
from primum.study.result import StudyResult
from primum.study.trial import Status, Trial

_STATISTICS = ("mean", "p50", "p95", "p99", "min", "max", "stddev")
_TRIAL_COLUMNS = columns(
    "Recipe",
    "Outcome",
    "#Speed-up",
    "#p50, ms",
    "#p95, ms",
    "#Size",
    "#Load, ms",
    "#First call, ms",
    "#Peak memory",
    "Ran as",
    "#Parity",
    "Remarks",
)
_STATUS = {Status.FAILED: Cell("✗ Failed", "bad"), Status.SKIPPED: Cell("– Skipped", "muted")}


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
        sizes += f"; {n.ratio(result.size_ratio_with_reference)} with the original that it carries"
    return (
        speed or Card("Speed-up", n.NOTHING, "not measured"),
        Card("Size", w.sentence(w.times(result.size_ratio, "smaller", "larger", "the same")), sizes),
        Card("Latency of the model call", p50, f"median (p50); p95 {p95}"),
        _changes(result),
    )


def _changes(result: StudyResult) -> Card:
    verdict = w.delivered_verdict(result)
    if verdict is None:
        return Card("Decisions changed", n.NOTHING, "not assessed")
    found = verdict.agreement
    detail = f"{n.count(found.harmful)} harmful, {n.count(found.beneficial)} beneficial"
    figure = f"{n.count(found.flips)} of {n.count(verdict.n)}"
    return Card("Decisions changed", figure, detail if found.flips else "no case decided differently")


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
        blocks.append(
            Figure("latency", f"Latency by stage. {told}.", caption, partial(figure_curves.draw_latency, bars))
        )
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
        interval = n.span(timings.ratio_lower, timings.ratio_upper)
        held = {s: getattr(timings, s) for s in _STATISTICS}
        rows.append(
            row(Cell(name, "", note), n.ratio(timings.ratio), interval, *_statistics(held), n.count(timings.calls))
        )
    titles = columns(
        "Finalist", "#Speed-up", "Interval", "#Mean", "#p50", "#p95", "#p99", "#Min", "#Max", "#Std. dev.", "#Calls"
    )
    caption = (
        "The last run: original and finalists timed in turn, in one interleaved run. The headline comes from here. "
        "Milliseconds for the model call alone, batch 1."
    )
    return Table(caption, titles, tuple(rows), wide=True)


def front_section(result: StudyResult) -> Section:
    """Speed against size of every trial that ran."""
    points: list[figure_pareto.Point] = []
    for trial in (result.baseline, *result.trials):
        if trial.timings is None or not isfinite(trial.speed) or trial.size_bytes <= 0:
            continue
        verdict, _ = w.standing(result, trial)
        point = figure_pareto.Point(
            name=n.shorten(w.readable(trial), 34),
            megabytes=trial.size_bytes / 1e6,
            speed=trial.speed,
            outcome=verdict.outcome if verdict is not None else trial.outcome,
            front=trial.key in result.front,
            winner=trial.key == result.winner.key,
            baseline=trial.key == result.baseline.key,
        )
        if not any(p.baseline for p in points) or not point.baseline:
            points.append(point)
    if not points:
        return Section("front", "Speed against size", (Paragraph("No candidate was timed."),))
    told = "; ".join(
        f"{p.name}: {n.ratio(p.speed)} at {p.megabytes:.1f} MB, {w.WORDS[p.outcome]}" + ", delivered" * p.winner
        for p in points
    )
    caption = (
        "Up is faster (by the fast tenth of the calls, which a busy machine disturbs least), left is smaller. "
        "The line joins the Pareto front: candidates that no other beats in speed, size "
        "and verdict together. The ring marks what is delivered."
    )
    draw = partial(figure_pareto.draw, points)
    return Section("front", "Speed against size", (Figure("pareto", f"Speed-up against size. {told}.", caption, draw),))


def trials_section(result: StudyResult) -> Section:
    """Every recipe tried, and every one left out."""
    known = {t.key for t in result.trials}
    trials = [*([] if result.baseline.key in known else [result.baseline]), *result.trials]
    caption = (
        "Speed-up is each candidate's own paired run against the original. Outcomes are on the selection cases, "
        "unless said otherwise. Parity "
        "is the relative error of the raw outputs, and what is tolerated at that precision."
    )
    table = Table(caption, _TRIAL_COLUMNS, tuple(_trial_row(t, result) for t in trials), wide=True)
    blocks: list[Block] = [table]
    if result.left_out:
        rows = tuple(row(item.what, item.why) for item in result.left_out)
        blocks.append(Table("Left out, and why.", columns("What", "Why"), rows))
    return Section("trials", "Everything that was tried", tuple(blocks))


def _trial_row(trial: Trial, result: StudyResult) -> tuple[Cell, ...]:
    marks = [
        word
        for word, holds in (
            ("original", trial.key == result.baseline.key),
            ("delivered", trial.key == result.winner.key),
            ("on the front", trial.key in result.front),
        )
        if holds
    ]
    name = w.readable(trial)
    line = trial.recipe if n.clean(trial.recipe) != name else ""
    note = " · ".join(part for part in (line, ", ".join(marks)) if part)
    return row(Cell(name, "", note), _trial_outcome(trial, result), *_trial_speed(trial), *_trial_rest(trial))


def _trial_outcome(trial: Trial, result: StudyResult) -> Cell:
    if trial.status in _STATUS:
        return _STATUS[trial.status]
    verdict, part = w.standing(result, trial)
    if verdict is None:
        return w.outcome_cell(trial.outcome)
    note = w.basis_word(verdict.basis)
    if part == "confirmation":
        note += f"; on confirmation ({w.WORDS[trial.outcome].lower()} on selection)"
    return w.outcome_cell(verdict.outcome, note)


def _trial_speed(trial: Trial) -> list[Cell]:
    held, absent = trial.timings, Cell(n.NOTHING, "muted")
    if held is None:
        return [absent] * 3 + [Cell(n.size(trial.size_bytes))] + [absent] * 3
    return [
        Cell(n.ratio(held.ratio), "", n.span(held.ratio_lower, held.ratio_upper)),
        Cell(n.milliseconds(held.p50, n.TOO_FEW, False)),
        Cell(n.milliseconds(held.p95, n.TOO_FEW, False)),
        Cell(n.size(trial.size_bytes)),
        Cell(n.milliseconds(held.load_ms, unit=False)),
        Cell(n.milliseconds(held.first_ms, unit=False)),
        Cell(n.size(held.peak_memory_bytes)),
    ]


def _trial_rest(trial: Trial) -> list[Cell]:
    ran = f"{trial.precision_proven.upper()} on {trial.provider}" if trial.precision_proven else n.NOTHING
    threads = n.plural(trial.threads, "thread") if trial.threads else ""
    parity = trial.parity
    error = Cell(n.NOTHING, "muted")
    if parity is not None:
        error = Cell(n.small(parity.relative), "" if parity.passed else "bad", f"of {n.small(parity.tolerance)}")
    remarks = [trial.reason, *trial.notes]
    if not trial.self_contained:
        remarks.append("weights only: loading needs your own factory")
    return [Cell(ran, "", threads), error, Cell("; ".join(r for r in remarks if r) or trial.why)]


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
