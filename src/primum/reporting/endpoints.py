"""The part of the page that tells whether it is as good: every endpoint with its margin, drawn and listed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isfinite

from primum.config import kind_of
from primum.reporting import figure_forest
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Figure,
    Paragraph,
    Section,
    Table,
    columns,
    long_table,
    row,
)
from primum.reporting.headline import meaning
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.cases import PATIENT
from primum.validation.verdict import Basis, Component, Outcome, Verdict

_TOLD = 12
_COUNTED = 8
_DIRECTION = "A negative difference is worse for the candidate."


def endpoints_section(result: StudyResult) -> Section:
    """The paired differences against their margins: the figure, then all endpoints, those of single classes apart."""
    verdict = result.verdict
    blocks: list[Block] = [Paragraph(_where(result)), Paragraph(meaning(verdict), "muted")]
    if verdict.basis is Basis.NUMERIC:
        blocks.append(Paragraph(_lossless(verdict)))
    rows = figure_forest.rows_of(verdict)
    if rows:
        blocks.append(_forest(verdict, rows))
    whole = [p for p in verdict.components if not p.view]
    single = [p for p in verdict.components if p.view]
    for parts, about in ((whole, "All cases together."), (single, _BY_VIEW.get(verdict.task, ""))):
        if parts:
            apart = f"{about} " if whole and single else ""
            blocks.append(
                long_table(
                    endpoint_table(verdict, parts, f"{apart}{_DIRECTION}"), _FOLDED.get(verdict.task, "Endpoints")
                )
            )
    if verdict.clustered and any(p.table for p in verdict.components):
        blocks.append(Paragraph(_CLUSTERED if verdict.unit == PATIENT else _COPIED, "small"))
    return Section("endpoints", "Is it as good as the original?", (*blocks, *_beside(verdict)))


def _columns(verdict: Verdict) -> tuple[Column, ...]:
    before = ("Endpoint", "#Original", "#Candidate", "#Difference", "Interval", "Margin", "#Cases")
    return columns(*before, w.units_title(verdict), "Method", "Outcome")


def endpoint_table(verdict: Verdict, parts: Sequence[Component], caption: str) -> Table:
    """Endpoints with every number that decided them, the Brier score first."""
    rows = []
    for part in sorted(parts, key=lambda p: p.name != "brier"):
        note = w.basis_word(part.basis) if part.basis is not Basis.STATISTICAL else ""
        undecided = part.outcome in (Outcome.INCONCLUSIVE, Outcome.INSUFFICIENT)
        if undecided and (needed := w.would_decide(part, verdict)):
            note = f"{needed} would decide"
        if part.outcome is Outcome.NOT_ASSESSED:
            note = part.reason
        note += "; waived by name" if part.waived else ""
        rows.append(_endpoint_row(w.endpoint(part.name, verdict.task), part, w.outcome_cell(part.outcome, note)))
    return Table(
        f"{caption} Intervals at {n.confidence(verdict.confidence)}.", _columns(verdict), tuple(rows), wide=True
    )


def failing_table(verdict: Verdict) -> Table:
    """The endpoints, overall and by group, at which a candidate was found inferior."""
    parts = [(w.endpoint(p.name, verdict.task), p) for p in verdict.components]
    parts += [
        (f"{w.endpoint(p.name, verdict.task)}, {s.column} {s.value}", p)
        for s in verdict.subgroups
        for p in s.components
    ]
    rows = [_endpoint_row(name, p, w.outcome_cell(p.outcome)) for name, p in parts if p.outcome is Outcome.INFERIOR]
    return Table(
        f"What was worse. Intervals at {n.confidence(verdict.confidence)}.", _columns(verdict), tuple(rows), wide=True
    )


_BY_VIEW = {
    Task.MULTICLASS: "Each class against all others.",
    Task.ORDINAL: "Each grade or higher against all lower ones.",
    Task.MULTILABEL: "Each label, on the cases where it is known.",
}
_FOLDED = {
    Task.MULTICLASS: "Endpoints by class",
    Task.ORDINAL: "Endpoints by grade",
    Task.MULTILABEL: "Endpoints by label",
}
_COPIED = (
    "Some cases repeat the input of another. The values and their difference count cases; the interval rests on "
    "distinct inputs, for a copy is no evidence."
)
_CLUSTERED = (
    "Some patients have several cases. The values and their difference count cases; the interval rests on patients, "
    "for several cases of one are not as much evidence as cases of several."
)


def _where(result: StudyResult) -> str:
    verdict = result.verdict
    subject = w.name_of(result, result.verdict_recipe)
    return (
        f"{subject} against the original, on the {w.part_judged(result)} cases: {w.cases_of(verdict)}"
        f"{_composition(verdict)}."
    )


def _composition(verdict: Verdict) -> str:
    """What the cases are, by task."""
    if verdict.n_positive is not None and verdict.n_negative is not None:
        return (
            f", {n.count(verdict.n_positive)} positive and {n.count(verdict.n_negative)} negative, decided at a score "
            f"of {n.threshold(verdict.threshold)}"
        )
    listed = [f"{n.clean(name)} {n.count(size)}" for name, size in verdict.class_counts.items()][:_COUNTED]
    more = len(verdict.class_counts) - len(listed)
    counts = ", ".join(listed) + (f" and {more} more" if more else "")
    if verdict.task is Task.MULTILABEL:
        return f", each with {n.plural(len(verdict.classes), 'label')} (with the finding: {counts})"
    return f" ({counts})" if counts else ""


def _lossless(verdict: Verdict) -> str:
    change = n.small(verdict.agreement.max_abs_difference)
    what = {Task.REGRESSION: "value", Task.SEGMENTATION: "Dice"}.get(verdict.task, "score")
    return (
        f"This candidate is lossless: no decision changed and no {what} moved by more than {change}. It passes on that "
        "ground; the endpoints below say what these cases alone would show."
    )


def _forest(verdict: Verdict, rows: list[figure_forest.Row]) -> Figure:
    named = [
        f"{w.endpoint(p.name, verdict.task)} {n.difference(p.name, p.difference)} "
        f"({n.interval(p.name, p.lower, p.upper)}), margin {n.margin(p.name, p.margin)}, {w.WORDS[p.outcome]}"
        for p in sorted(verdict.components, key=lambda p: p.name != "brier")
    ]
    told = "; ".join(named[:_TOLD]) + (f"; and {len(named) - _TOLD} more" if len(named) > _TOLD else "")
    drawn = figure_forest.fitting(rows)
    left = f" {len(drawn)} of {len(rows)} rows are drawn; the tables hold all." if len(rows) > len(drawn) else ""
    beside = any(p.reported for p in verdict.subgroups)
    caption = (
        "Difference between candidate and original with its interval. The red tick is the margin: an interval that "
        "stays to its right is non-inferior. Hollow marks are too few to decide; an arrow runs off the axis."
    )
    caption += " The Brier score of a group is shown beside its rates and decides nothing." if beside else ""
    draw = partial(figure_forest.draw, drawn, figure_forest.axis_of(verdict.task))
    label = f"Forest plot of paired differences, worse to the left. {told}."
    return Figure("forest", label, caption + left, draw)


def _endpoint_row(name: str, part: Component, outcome: Cell) -> tuple[Cell, ...]:
    told = "" if part.margin_given or not isfinite(part.margin) else w.DEFAULT
    return row(
        name,
        n.level(part.name, part.reference),
        n.level(part.name, part.candidate),
        n.difference(part.name, part.difference),
        n.interval(part.name, part.lower, part.upper),
        Cell(n.margin(part.name, part.margin), "", told),
        n.count(part.n),
        n.count(part.n_patients),
        Cell(part.method, "", _aside(part)),
        outcome,
    )


def _aside(part: Component) -> str:
    """What a reader needs besides the method."""
    if kind_of(part.name) == "agreement" and "limit_lower" in part.beside:
        held = part.beside
        return f"limits {n.signed_amount(held['limit_lower'])} to {n.signed_amount(held['limit_upper'])}"
    return "" if part.design_effect == 1 else f"design effect {part.design_effect:.2f}"


def _beside(verdict: Verdict) -> list[Block]:
    """Figures of the whole that decide nothing."""
    held = verdict.beside
    macro = shift = ""
    if isfinite(held.get("macro_auroc_difference", float("nan"))):
        macro = (
            f"{held['macro_auroc_reference']:.4f} → {held['macro_auroc_candidate']:.4f}, difference "
            f"{n.signed(held['macro_auroc_difference'], 4)} "
            f"({n.between(held['macro_auroc_lower'], held['macro_auroc_upper'], 4)}), patient bootstrap"
        )
    if "stuart_maxwell_p" in held:
        shift = (
            f"p {n.p_value(held['stuart_maxwell_p'])} (Stuart-Maxwell), {n.p_value(held['bhapkar_p'])} (Bhapkar): "
            "whether both models name each class equally often"
        )
    told = (("Macro-AUROC", macro), ("Shift of classes", shift))
    if not macro and not shift:
        return []
    return [Paragraph("Beside these, and deciding nothing:", "muted"), Facts(tuple(pair for pair in told if pair[1]))]
