"""The parts of the page that tell what was tried: speed against size, and every recipe with what became of it."""

from __future__ import annotations

from functools import partial
from math import isfinite

from primum.reporting import figure_pareto
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Figure, Paragraph, Section, Table, columns, row
from primum.study.result import StudyResult
from primum.study.trial import Status, Trial

_TRIAL_COLUMNS = columns(
    "Recipe",
    "Outcome",
    "#Speed-up",
    "#p50, ms",
    "#Original p50, ms",
    "#p95, ms",
    "#Size",
    "#Load, ms",
    "#First call, ms",
    "#Peak memory",
    "Ran as",
    "#Parity",
    "Remarks",
)
_STATUS = {
    Status.FAILED: Cell("✗ Failed", "bad"),
    Status.SKIPPED: Cell("– Skipped", "muted"),
    Status.CUT_OFF: Cell("– Cut off", "warn"),
}


def front_section(result: StudyResult) -> Section:
    """Speed against size of every trial that ran."""
    points: list[figure_pareto.Point] = []
    for trial in (result.baseline, *result.trials):
        speed = _shown_speed(trial, result)
        if not trial.ok or not isfinite(speed) or trial.size_bytes <= 0:
            continue
        verdict, _ = w.standing(result, trial)
        point = figure_pareto.Point(
            name=n.shorten(w.readable(trial), 34),
            megabytes=trial.size_bytes / 1e6,
            speed=speed,
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
        "Up is faster, left is smaller. The original and the finalists stand where the last run put them, as in the "
        "headline; the others where their own trial did, by the fast tenth of its calls, which a busy machine "
        "disturbs least. "
        "The line joins the Pareto front: candidates that no other beats in speed, size "
        "and verdict together. The ring marks what is delivered."
    )
    draw = partial(figure_pareto.draw, points)
    return Section("front", "Speed against size", (Figure("pareto", f"Speed-up against size. {told}.", caption, draw),))


def _shown_speed(trial: Trial, result: StudyResult) -> float:
    """Of a finalist what the last run gave, so that a reader meets one figure; else its own trial's."""
    final = result.final.get(trial.key)
    if final is None:
        return trial.speed
    return final.effective if trial.guard is not None else final.ratio


def trials_section(result: StudyResult) -> Section:
    """Every recipe tried, and every one left out."""
    known = {t.key for t in result.trials}
    trials = [*([] if result.baseline.key in known else [result.baseline]), *result.trials]
    caption = (
        "Figures of a row are from one run: the candidate's own trial, or that which ranked it beside other leaders. "
        "The original's p50 is from the same run, for runs differ; the finalists were timed "
        "again, together, and the speed-up quoted elsewhere is from that last run. Outcomes are on the selection "
        "cases, unless said otherwise. Parity is the relative error of the raw outputs, and what is tolerated at "
        "that precision."
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
        return [absent] * 4 + [_size(trial)] + [absent] * 3
    ends = (held.ratio, held.ratio_lower, held.ratio_upper)
    if trial.guard is not None:
        ends = (held.effective, held.effective_lower, held.effective_upper)
    return [
        Cell(n.ratio(ends[0]), "", n.span(*ends[1:])),
        Cell(n.milliseconds(held.p50, n.TOO_FEW, False)),
        Cell(n.milliseconds(held.original_median, n.TOO_FEW, False)),
        Cell(n.milliseconds(held.p95, n.TOO_FEW, False)),
        _size(trial),
        Cell(n.milliseconds(held.load_ms, unit=False)),
        Cell(n.milliseconds(held.first_ms, unit=False)),
        Cell(n.size(held.peak_memory_bytes)),
    ]


def _size(trial: Trial) -> Cell:
    held = trial.guard.reference_bytes if trial.guard is not None else 0
    return Cell(n.size(trial.size_bytes), "", f"{n.size(trial.size_bytes + held)} with the original" if held else "")


def _guarded(trial: Trial) -> str:
    """What the guard of a candidate defers."""
    band = trial.guard.band if trial.guard is not None else None
    if trial.guard is None or band is None or band.value is None:
        return ""
    share = n.percent(trial.guard.deferred)
    return f"band {n.small(band.value)} at epsilon {n.percent(band.epsilon)}: {share} of selection cases deferred"


def _trial_rest(trial: Trial) -> list[Cell]:
    ran = f"{trial.precision_proven.upper()} on {trial.provider}" if trial.precision_proven else n.NOTHING
    threads = n.plural(trial.threads, "thread") if trial.threads else ""
    parity = trial.parity
    error = Cell(n.NOTHING, "muted")
    if parity is not None:
        error = Cell(n.small(parity.relative), "" if parity.passed else "bad", f"of {n.small(parity.tolerance)}")
    guarded = _guarded(trial)
    # The guard's own note says again what share is deferred.
    notes = [note for note in trial.notes if not (guarded and note.endswith("deferred to the original"))]
    remarks = [trial.reason, guarded, *notes]
    if not trial.self_contained:
        remarks.append("weights only: loading needs your own factory")
    said = "; ".join(r for r in remarks if r)
    return [Cell(ran, "", threads), error, Cell(said or trial.why, "", trial.why if said else "")]
