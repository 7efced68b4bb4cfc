"""The parts of the page that tell whether it is as good: endpoints, subgroups, ROC curves and confusion matrices."""

from __future__ import annotations

from functools import partial
from math import isfinite, isnan

import numpy as np

from primum.reporting import figure_curves, figure_forest
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Figure, Paragraph, Section, Side, Table, columns, row
from primum.study.result import StudyResult
from primum.validation.metrics import Confusion, auroc, confusion_matrix, roc_curve
from primum.validation.verdict import Basis, Component, Outcome, SubgroupVerdict, Verdict

_ENDPOINT_COLUMNS = columns(
    "Endpoint",
    "#Original",
    "#Candidate",
    "#Difference",
    "Interval",
    "Margin",
    "#Cases",
    "#Patients",
    "Method",
    "Outcome",
)
_LEVEL_COLUMNS = columns(
    "Group", "#Cases", "#Patients", "#Positives", "Sensitivity", "Specificity", "Outcome", "What would decide"
)


def endpoints_section(result: StudyResult) -> Section:
    """The paired differences against their margins, drawn and listed."""
    verdict = result.verdict
    subject = w.name_of(result, result.verdict_recipe)
    where = (
        f"{subject} against the original, on the {w.part_judged(result)} cases: {n.plural(verdict.n, 'case')} of "
        f"{n.plural(verdict.n_patients, 'patient')}, {n.count(verdict.n_positive)} positive and "
        f"{n.count(verdict.n_negative)} negative, decided at a score of {verdict.threshold:g}."
    )
    blocks: list[Block] = [Paragraph(where), Paragraph(w.meaning(verdict), "muted")]
    if verdict.basis is Basis.NUMERIC:
        change = n.small(verdict.agreement.max_abs_difference)
        text = (
            f"This candidate is lossless: no decision changed and no score moved by more than {change}. It passes on "
            "that ground; the endpoints below say what these cases alone would show."
        )
        blocks.append(Paragraph(text))
    rows = figure_forest.rows_of(verdict)
    if rows:
        blocks.append(_forest(result, rows))
    blocks.append(endpoint_table(verdict, "Endpoints. A negative difference is worse for the candidate."))
    title = "Is it as good as the original?"
    return Section("endpoints", title, tuple(blocks))


def endpoint_table(verdict: Verdict, caption: str) -> Table:
    """Every endpoint with every number that decided it."""
    rows = []
    for part in verdict.components:
        note = f"{w.basis_word(part.basis)}" if part.basis is not Basis.STATISTICAL else ""
        if part.outcome is Outcome.INCONCLUSIVE and (needed := w.would_decide(part, verdict.clustered)):
            note = f"{needed} would decide"
        if part.outcome is Outcome.NOT_ASSESSED:
            note = part.reason
        rows.append(_endpoint_row(w.endpoint(part.name), part, w.outcome_cell(part.outcome, note)))
    return Table(f"{caption} Intervals at {verdict.confidence:.0%}.", _ENDPOINT_COLUMNS, tuple(rows), wide=True)


def subgroups_section(result: StudyResult) -> Section:
    """Each level of each grouping column."""
    levels = result.verdict.subgroups
    title = "Subgroups"
    if not levels:
        text = "The data name no groups, so nothing is known about performance by sex, age, site or scanner."
        return Section("subgroups", title, (Paragraph(text),))
    clustered = result.verdict.clustered
    table = Table(
        "Each group judged at the same margins; difference and interval in percentage points.",
        _LEVEL_COLUMNS,
        tuple(_level_row(level, clustered) for level in levels),
        wide=True,
    )
    blocks: list[Block] = []
    small = result.verdict.insufficient
    if small:
        text = (
            f"INSUFFICIENT: {n.plural(len(small), 'group')} too small to decide. "
            "That is never a pass: harm in such a group would not show in these data."
        )
        blocks.append(Paragraph(text, "bad"))
    return Section("subgroups", title, (*blocks, table))


def decisions_section(result: StudyResult) -> Section:
    """ROC curves and confusion matrices of original and delivered artifact."""
    judged, title = result.judged, "Discrimination and decisions"
    curves = []
    for name, scores in (("Original", judged.reference), ("Delivered", judged.candidate)):
        if len(judged.labels) and np.isfinite(scores).all():
            curves.append((name, *roc_curve(judged.labels, scores)[:2]))
    if len(curves) < 2:
        text = "The scores are not all finite numbers, so no curve and no matrix is drawn."
        return Section("decisions", title, (Paragraph(text),))
    threshold = result.policy.threshold
    blocks: list[Block] = []
    both = (judged.reference, judged.candidate)
    labels = [f"{name}, AUROC {auroc(judged.labels, s):.3f}" for (name, *_), s in zip(curves, both)]
    if not any(isnan(rate) for _, fpr, tpr in curves for rate in (fpr[-1], tpr[-1])):
        at = [_operating_point(result, scores) for scores in both]
        draw = partial(figure_curves.draw_roc, [(la, x, y, p) for la, (_, x, y), p in zip(labels, curves, at)])
        about = f"ROC curves on the {judged.part} cases: {'; '.join(labels)}."
        caption = f"{about} The marks are the operating points at the threshold of {threshold:g}."
        blocks.append(Figure("roc", about, caption, draw))
    matrices = [
        _matrix(name, confusion_matrix(judged.labels, (scores >= threshold).astype(np.int64)), result)
        for name, scores in (("Original", judged.reference), ("Delivered", judged.candidate))
    ]
    intro = Paragraph(
        f"Original against the delivered {w.readable(result.winner)}, "
        f"on the {judged.part} cases ({n.count(len(judged.labels))})."
    )
    return Section("decisions", title, (intro, *blocks, Side(tuple(matrices))))


def _forest(result: StudyResult, rows: list[figure_forest.Row]) -> Figure:
    told = "; ".join(
        f"{w.endpoint(p.name)} {n.difference(p.name, p.difference)} "
        f"({n.interval(p.name, p.lower, p.upper)}), margin {n.margin(p.name, p.margin)}, {w.WORDS[p.outcome]}"
        for p in result.verdict.components
    )
    drawn = rows[: figure_forest.MOST_ROWS]
    left = (
        f" The first {len(drawn)} of {len(rows)} rows are drawn; the tables hold all." if len(rows) > len(drawn) else ""
    )
    return Figure(
        "forest",
        f"Forest plot of paired differences, worse to the left. {told}.",
        "Difference between candidate and original with its interval. The red tick is the margin: an interval that "
        "stays to its right is non-inferior. Hollow marks are groups too small to decide; an arrow runs off the axis."
        + left,
        partial(figure_forest.draw, drawn),
    )


def _margin_cell(part: Component) -> Cell:
    return Cell(n.margin(part.name, part.margin), "", "" if part.margin_given else w.DEFAULT)


def _endpoint_row(name: str, part: Component, outcome: Cell) -> tuple[Cell, ...]:
    return row(
        name,
        n.level(part.name, part.reference),
        n.level(part.name, part.candidate),
        n.difference(part.name, part.difference),
        n.interval(part.name, part.lower, part.upper),
        _margin_cell(part),
        n.count(part.n),
        n.count(part.n_patients),
        Cell(part.method, "", "" if part.design_effect == 1 else f"design effect {part.design_effect:.2f}"),
        outcome,
    )


def failing_table(verdict: Verdict) -> Table:
    """The endpoints, overall and by group, at which a candidate was found inferior."""
    parts = [(w.endpoint(p.name), p) for p in verdict.components]
    parts += [(f"{w.endpoint(p.name)}, {s.column} {s.value}", p) for s in verdict.subgroups for p in s.components]
    rows = [_endpoint_row(name, p, w.outcome_cell(p.outcome)) for name, p in parts if p.outcome is Outcome.INFERIOR]
    return Table(f"What was worse. Intervals at {verdict.confidence:.0%}.", _ENDPOINT_COLUMNS, tuple(rows), wide=True)


def _level_row(level: SubgroupVerdict, clustered: bool) -> tuple[Cell, ...]:
    parts = {part.name: part for part in level.components}
    needed = "; ".join(text for p in level.components if (text := w.would_decide(p, clustered)))
    tone = "bad" if level.outcome is Outcome.INSUFFICIENT else ""
    return row(
        f"{level.column}: {level.value}",
        n.count(level.n),
        n.count(level.n_patients),
        n.count(level.n_positive),
        _rate_cell(parts.get("sensitivity"), "no positives"),
        _rate_cell(parts.get("specificity"), "no negatives"),
        w.outcome_cell(level.outcome, "waived by name" if level.waived else ""),
        Cell(needed or n.NOTHING, tone),
    )


def _rate_cell(part: Component | None, absent: str) -> Cell:
    if part is None:
        return Cell(n.NOTHING, "muted", absent)
    figures = f"{n.level(part.name, part.reference)} → {n.level(part.name, part.candidate)}"
    if not isfinite(part.lower):
        return Cell(figures)
    wide = n.interval(part.name, part.lower, part.upper).removesuffix(" pp")
    return Cell(figures, "", f"{n.difference(part.name, part.difference)} ({wide})")


def _operating_point(result: StudyResult, scores: np.ndarray) -> tuple[float, float]:
    table = confusion_matrix(result.judged.labels, (scores >= result.policy.threshold).astype(np.int64))
    return table.fp / max(table.fp + table.tn, 1), table.tp / max(table.tp + table.fn, 1)


def _matrix(name: str, table: Confusion, result: StudyResult) -> Table:
    positive, negative = class_names(result)
    return Table(
        f"{name}: decisions at a threshold of {result.policy.threshold:g}",
        columns("Truth", f"#Called {n.shorten(positive, 24)}", f"#Called {n.shorten(negative, 24)}"),
        (
            row(f"{positive} (positive)", f"{n.count(table.tp)} right", f"{n.count(table.fn)} missed"),
            row(f"{negative} (negative)", f"{n.count(table.fp)} false alarms", f"{n.count(table.tn)} right"),
        ),
    )


def class_names(result: StudyResult) -> tuple[str, str]:
    """The positive class, and what everything else is called."""
    positive = result.model.positive
    others = [c for c in result.model.classes if c != positive]
    return n.clean(positive), n.clean(others[0]) if len(others) == 1 else f"not {n.clean(positive)}"
