"""The part of the page that tells whether the scores can be read as probabilities, before and after."""

from __future__ import annotations

from functools import partial
from math import isfinite

from primum.reporting import figure_calibration
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Figure, Paragraph, Section, Table, columns, long_table, row
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.calibration import Calibration, CalibrationPair
from primum.validation.intervals import Interval
from primum.validation.verdict import Component

_PANELS = 9
_BY_QUESTION = (Task.BINARY, Task.MULTILABEL)
"""Tasks whose every question has a Brier score of its own; the others' one score is of all classes."""


def calibration_section(result: StudyResult) -> Section | None:
    """Curves and figures of every binary question; None where the task gives no probabilities."""
    pairs = result.assessment.calibration if result.assessment is not None else ()
    if not pairs:
        return None
    intro = (
        f"Original against the delivered {w.readable(result.winner)}, on the {result.judged.part} cases. The decision "
        f"rests on the paired difference of the {_score(result)} alone{_deciding(result)}; everything here describes."
    )
    blocks: list[Block] = [Paragraph(intro), _figure(result, pairs), _table(result, pairs), *_notes(pairs)]
    return Section("calibration", "Calibration", (*blocks, _bins(result, pairs)))


def _score(result: StudyResult) -> str:
    return "ranked probability score" if result.model.task is Task.ORDINAL else "Brier score"


def _brier(result: StudyResult, name: str = "") -> Component | None:
    """The paired difference of the delivered artifact, of one question or of the whole."""
    verdict = w.delivered_verdict(result)
    wanted = f"brier[{name}]" if name else "brier"
    return next((p for p in (verdict.components if verdict else ()) if p.name == wanted), None)


def _deciding(result: StudyResult) -> str:
    part = _brier(result)
    if part is None or not isfinite(part.difference):
        return ""
    return (
        f" ({n.difference(part.name, part.difference)}, {n.interval(part.name, part.lower, part.upper)}, negative "
        f"is worse; margin {n.margin(part.name, part.margin)}: {w.WORDS[part.outcome].lower()})"
    )


def _title(pair: CalibrationPair, result: StudyResult) -> str:
    return w.sentence(w.view(pair.name, result.model.task)) if pair.name else ""


def _figure(result: StudyResult, pairs: tuple[CalibrationPair, ...]) -> Figure:
    drawn = pairs[:_PANELS]
    panels = [figure_calibration.Reliability(_title(p, result), (p.reference.curve, p.candidate.curve)) for p in drawn]
    told = "; ".join(
        f"{_title(p, result) + ': ' if p.name else ''}"
        f"slope {n.plain(p.reference.slope)} and {n.plain(p.candidate.slope)}"
        for p in drawn
    )
    sizes = [b.n for p in drawn for side in (p.reference, p.candidate) for b in side.curve]
    least, most = (min(sizes), max(sizes)) if sizes else (0, 0)
    held = n.plural(most, "case") if least == most else f"{n.count(least)} to {n.count(most)} cases"
    caption = (
        f"Observed share against mean score, in bins of equal count ({held} each), with Wilson intervals by patient. "
        "On the diagonal 3 in 10 patients with a score of 0.3 have the finding."
    )
    if len(pairs) > _PANELS:
        caption += f" The first {_PANELS} of {len(pairs)} questions are drawn; the table holds all."
    draw = partial(figure_calibration.draw_reliability, panels)
    label = f"Reliability curves of original and delivered. {told}."
    return Figure("calibration", label, caption, draw, narrow=len(panels) == 1)


def _table(result: StudyResult, pairs: tuple[CalibrationPair, ...]) -> Table:
    rows = []
    for pair in pairs:
        name = _title(pair, result)
        rows.append(_model_row(name, "original", pair.reference))
        rows.append(_model_row(name, "delivered", pair.candidate))
        rows.append(_difference_row(name, pair, result))
    caption = (
        "Calibration-in-the-large: 0 is ideal, above it risks are too low. Slope: 1 is ideal, below it scores are too "
        "extreme. The expected calibration error (ECE, 15 bins) is biased upwards: even perfectly calibrated scores "
        "show what stands in the next column. Differences are delivered less original."
    )
    titles = columns(
        *("Question",) * any(p.name for p in pairs),
        "Model",
        "#Cases",
        "#Positives",
        "#In the large",
        "#Slope",
        "#Brier score",
        "#ECE",
        "#ECE if calibrated",
        "#Spiegelhalter z",
    )
    return long_table(Table(caption, titles, tuple(rows), wide=True), "Calibration by question")


def _model_row(name: str, side: str, held: Calibration) -> tuple[Cell, ...]:
    z = held.spiegelhalter
    return row(
        *([name] if name else []),
        w.sentence(side),
        Cell(n.count(held.n), "", f"{n.count(held.left_out)} not finite" if held.left_out else ""),
        n.count(held.n_positive),
        Cell(n.signed(held.intercept, 3), "", _error(held.intercept_error)),
        Cell(n.plain(held.slope), "", _error(held.slope_error)),
        n.plain(held.brier, 4),
        n.plain(held.ece),
        Cell(n.plain(held.ece_expected), "", f"up to {n.plain(held.ece_expected_upper)}"),
        Cell(n.signed(z.statistic, 2), "", f"p {n.p_value(z.p_value)}"),
    )


def _difference_row(name: str, pair: CalibrationPair, result: StudyResult) -> tuple[Cell, ...]:
    part = _brier(result, pair.name) if result.model.task in _BY_QUESTION else None
    brier = n.NOTHING if part is None else n.signed(-part.difference, 4)
    # The verdict counts a lower score of the candidate as better; here differences are candidate less original.
    ends = "" if part is None else n.between(-part.upper, -part.lower, 4)
    return row(
        *([name] if name else []),
        "Difference",
        "",
        "",
        "",
        _interval(pair.slope_difference),
        Cell(brier, "", "" if ends == n.NOTHING else ends),
        _interval(pair.ece_difference),
        "",
        "",
    )


def _error(number: float) -> str:
    return f"SE {n.plain(number)}" if isfinite(number) else ""


def _interval(found: Interval) -> Cell:
    ends = n.between(found.lower, found.upper)
    return Cell(n.signed(found.estimate, 3), "", "" if ends == n.NOTHING else ends)


def _notes(pairs: tuple[CalibrationPair, ...]) -> list[Block]:
    most = max((pair.resamples for pair in pairs), default=0)
    said = [
        f"Differences of slope and ECE are percentile intervals of a bootstrap of {n.plural(most, 'draw')} of patients."
    ]
    clipped = sum(side.clipped for pair in pairs for side in (pair.reference, pair.candidate))
    if clipped:
        said.append(f"{n.plural(clipped, 'score')} of (nearly) 0 or 1 moved to 1e-7 from it for intercept and slope.")
    for pair in pairs:
        why = pair.reason or pair.reference.reason or pair.candidate.reason
        if why:
            said.append(f"{n.clean(pair.name) + ': ' if pair.name else ''}{n.clean(why)}.")
    return [Paragraph(w.sentence(" ".join(said)), "small")]


def _bins(result: StudyResult, pairs: tuple[CalibrationPair, ...]) -> Table:
    rows = []
    for pair in pairs:
        for side, held in (("original", pair.reference), ("delivered", pair.candidate)):
            rows += [
                row(
                    Cell(_title(pair, result) or w.sentence(side), "", side if pair.name else ""),
                    n.count(b.n),
                    n.plain(b.predicted),
                    n.percent(b.observed),
                    f"{n.percent(b.lower)} to {n.percent(b.upper)}",
                )
                for b in held.curve
            ]
    titles = columns("Curve", "#Cases", "#Mean score", "#Observed", "Interval")
    return Table("Bins of the curves.", titles, tuple(rows), fold=f"Bins of the curves: {len(rows)} rows")
