"""The part of the page that tells what guarded prediction bounds, defers, leaves and costs."""

from __future__ import annotations

from functools import partial
from math import nan

from primum.reporting import figure_guard
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Figure, Paragraph, Section, Table, bullets, columns, facts, row
from primum.study.claim import GuardPoint, GuardResult
from primum.study.result import StudyResult
from primum.study.trial import Status
from primum.validation.conformal import Band

_TITLE = "Guarded prediction"


def guard_section(result: StudyResult) -> Section | None:
    """What the guard of the delivered artifact does; None where none was asked for."""
    refused = [t for t in result.trials if t.status is Status.FAILED and t.recipe.endswith(" guarded")]
    if result.guard is None and not refused:
        return None
    if result.guard is None:
        text = "Guarded prediction was asked for, and no unguarded candidate is delivered in its place."
        rows = tuple(row(t.recipe, t.reason) for t in refused)
        table = Table("Candidates that could not be guarded.", columns("Candidate", "Why"), rows)
        return Section("guard", _TITLE, (Paragraph(text), table))
    guard = result.guard
    blocks: list[Block] = [Paragraph(_promise(guard)), *_fixed(guard), _set_on(guard)]
    if guard.band.note:
        blocks.append(Paragraph(guard.band.note[0].upper() + guard.band.note[1:] + ".", "warn"))
    blocks += [_leaks(guard), _speed(result, guard), *_curve(guard)]
    return Section("guard", _TITLE, tuple(blocks))


def _promise(guard: GuardResult) -> str:
    band = guard.band
    what = "score moves by more than the band" if band.strict else "decision changes"
    return (
        f"The fast model answers. Where its score lies within {n.small(band.value or 0.0)} of a decision boundary, the "
        f"original is asked too, and its answer stands. For patients like those of the guard part, at most "
        f"{n.percent(band.epsilon)} have a case whose {what} without being deferred, {how_sure(band)}."
    )


def how_sure(band: Band) -> str:
    """In what sense the bound holds, and for whom."""
    sure = (
        "on average over draws of guard patients"
        if band.delta is None
        else f"with confidence {n.confidence(1 - band.delta)}"
    )
    return sure + (", within each class that the original calls" if band.by_class else "")


def how_fixed(guard: GuardResult) -> str:
    """Whether model, threshold and epsilon were fixed before the guard patients were looked at, without which the bound
    does not hold; and who else had a band set on them."""
    if guard.prior:
        count = n.plural(len(guard.prior), "time")
        said = (
            f"These guard patients had been looked at {count} before: what was seen then may have entered the choice "
            "of model, threshold or epsilon, which the bound does not cover."
        )
    else:
        said = "Model, threshold and epsilon were fixed before the guard patients were looked at."
    if guard.chosen_among:
        own = f"{guard.bands} candidates of this study had a band set on these patients, and this one was chosen after"
        return f"{own}: the bound does not cover that choice." + (f" {said}" if guard.prior else "")
    if guard.bands == 1:
        return f"{said} No other candidate of this study had a band set on them."
    together = (
        "each bound holds for its own artifact, not for one that is chosen by what the guards defer"
        if guard.band.delta is None
        else f"the error allowed to the bounds is divided among {guard.claims}, so that they hold together"
    )
    return f"{said} {guard.bands} artifacts had a band set on them, one candidate each: {together}."


def _fixed(guard: GuardResult) -> list[Block]:
    loud = bool(guard.prior) or guard.chosen_among
    said: list[Block] = [Paragraph(how_fixed(guard), "warn" if loud else "")]
    return [*said, bullets(guard.prior)] if guard.prior else said


def _set_on(guard: GuardResult) -> Table:
    band = guard.band
    rows = [
        row(
            "all patients" if part.name == band.overall.name else part.name,
            n.count(part.n_patients),
            n.count(part.flips),
            n.count(part.needed),
            n.count(part.rank or nan),
            n.small(nan if part.band is None else part.band),
        )
        for part in (band.overall, *band.classes)
    ]
    smallest = n.percent(band.smallest_epsilon)
    caption = f"The band, set on the guard part. The smallest epsilon that these patients support is {smallest}."
    titles = columns("Original calls", "#Patients", "#With a changed decision", "#Patients needed", "#Rank", "#Band")
    return Table(caption, titles, tuple(rows))


def _leaks(guard: GuardResult) -> Table:
    found = guard.outcome
    rows = [_leak_row("all patients", found.n_patients, found.patients_left, found.lower, found.upper, guard)]
    rows += [_leak_row(k.name, k.n_patients, k.patients_left, k.lower, k.upper, guard) for k in found.by_class]
    caption = (
        f"What it leaves on the {guard.part} cases, which did not set it: {n.count(found.flips_unguarded)} of "
        f"{n.plural(found.n, 'case')} change without the guard, {n.count(found.flips_left)} with it; "
        f"{n.percent(found.deferred)} of cases are deferred. Clopper-Pearson intervals at "
        f"{n.confidence(found.confidence)}."
    )
    titles = columns("Original calls", "#Patients", "#With an undetected change", "#Share", "Interval", "Bound")
    return Table(caption, titles, tuple(rows))


def _leak_row(name: str, patients: int, left: int, lower: float, upper: float, guard: GuardResult) -> tuple[Cell, ...]:
    share = left / patients if patients else nan
    held = share <= guard.band.epsilon
    bound = Cell(f"{n.percent(guard.band.epsilon)}", "" if held else "warn", "" if held else "exceeded here")
    return row(
        name, n.count(patients), n.count(left), n.percent(share), f"{n.percent(lower)} to {n.percent(upper)}", bound
    )


def _speed(result: StudyResult, guard: GuardResult) -> Block:
    own = result.final[result.winner.key]
    lower, upper = result.speedup_interval
    return facts(
        effective_speed_up=f"{n.ratio(result.speedup)} ({n.span(lower, upper)}), mean latencies, deferrals included",
        fast_model_alone=n.ratio(guard.fast.ratio),
        original_in_its_guard_runtime=n.ratio(guard.reference.ratio),
        latency=f"p50 {n.milliseconds(own.p50)}, p95 {n.milliseconds(own.p95, n.TOO_FEW)}, "
        f"p99 {n.milliseconds(own.p99, n.TOO_FEW)}",
        size=f"{w.times(result.size_ratio, 'smaller', 'larger', 'the same')}; with the original that it carries "
        f"{w.times(result.size_ratio_with_reference, 'smaller', 'larger', 'the same')}",
    )


def _curve(guard: GuardResult) -> list[Block]:
    lines = []
    for label, averaged in (("bound on average", True), ("bound with confidence", False)):
        points = [p for p in guard.curve if (p.point.delta is None) == averaged and p.point.outcome is not None]
        lines.append((label, [_spot(p) for p in points]))
    if not any(spots for _, spots in lines):
        return [Paragraph("No epsilon of the curve has a band on so few guard patients.", "muted")]
    told = "; ".join(
        f"{label}: " + ", ".join(f"epsilon {s.epsilon:.2%} defers {s.deferred:.1%}, {s.speed:.1f}×" for s in spots)
        for label, spots in lines
        if spots
    )
    caption = (
        f"Every band is set on the guard part and applied to the {guard.part} cases. Whiskers are Clopper-Pearson "
        "intervals of each point alone. An epsilon that is chosen by this curve needs new patients for its band; the "
        "vertical line marks the one in force."
    )
    draw = partial(figure_guard.draw, lines, guard.band.epsilon)
    return [Figure("guard", f"Guard curve. {told}.", caption, draw)]


def _spot(point: GuardPoint) -> figure_guard.Spot:
    found = point.point.outcome
    assert found is not None
    share = found.patients_left / found.n_patients
    return figure_guard.Spot(point.point.epsilon, found.deferred, share, found.lower, found.upper, point.speed)
