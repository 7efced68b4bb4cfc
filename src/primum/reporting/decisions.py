"""The part of the page that tells what is decided: ROC curves and confusion matrices, in the form of each task."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from primum.reporting import figure_roc
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Figure, Paragraph, Section, Side, Table, columns, long_table, row
from primum.reporting.values import values_blocks
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.auroc import worst_ranked
from primum.validation.cases import Cases
from primum.validation.decisions import NO_DECISION, Rule, rule_for
from primum.validation.flips import NO_CLASS
from primum.validation.metrics import auroc, roc_curve
from primum.validation.views import View, views

_TITLE = "Discrimination and decisions"
_MOST_CLASSES = 12
"""Classes of which the whole matrix is shown; of more the largest confusions."""
_BESIDE = 4
"""Classes of which two matrices stand side by side."""
_CONFUSIONS = 20
_CURVES = 9
"""Questions of which a curve is drawn."""
_SIDES = ("Original", "Delivered")


def decisions_section(result: StudyResult) -> Section:
    """ROC curves and confusion matrices of original and delivered artifact; of values and masks how far they lie."""
    judged, task = result.judged, result.model.task
    finite = len(judged.labels) and np.isfinite(judged.reference).all()
    if not finite or (task is Task.REGRESSION and not np.isfinite(judged.candidate).all()):
        text = "The scores are not all finite numbers, so no curve and no matrix is drawn."
        return Section("decisions", _TITLE, (Paragraph(text),))
    intro = Paragraph(
        f"Original against the delivered {w.readable(result.winner)}, "
        f"on the {judged.part} cases ({n.count(len(judged.labels))})."
    )
    classes = result.model.classes
    rule = rule_for(task, classes, result.policy)
    if rule is None:
        title = "Masks" if task is Task.SEGMENTATION else "Values"
        return Section("decisions", title, (intro, *values_blocks(result)))
    curves = _curves(result, rule)
    return Section("decisions", _TITLE, (intro, *curves, *_tables(result, rule)))


def class_names(result: StudyResult) -> tuple[str, str]:
    """The positive class of a binary model, and what everything else is called."""
    positive = result.model.positive
    others = [c for c in result.model.classes if c != positive]
    return n.clean(positive), n.clean(others[0]) if len(others) == 1 else f"not {n.clean(positive)}"


def _seen(result: StudyResult, rule: Rule) -> list[View]:
    """The binary questions that have both answers, with what the two models say."""
    judged, task = result.judged, result.model.task
    ids = np.arange(len(judged.labels)).astype(str)
    classes = ("negative", "positive") if task is Task.BINARY else result.model.classes
    cases = Cases(judged.labels, ids, {}, ids, task=task, classes=classes)
    found = views(cases, judged.reference, judged.candidate, rule)
    kept = [v for v in found if v.labels.size and v.labels.min() < v.labels.max()]
    # As the gate ranks them: an answer that is no number is the worst there is.
    return [replace(v, candidate=worst_ranked(v.labels, v.candidate)) for v in kept]


def _curves(result: StudyResult, rule: Rule) -> list[Block]:
    seen, task = _seen(result, rule), result.model.task
    if not seen:
        return []
    made = [(_panel(view, result), auroc(view.labels, view.candidate)) for view in seen]
    shown = sorted(range(len(made)), key=lambda i: made[i][1])[:_CURVES]
    panels = [made[i][0] for i in sorted(shown)]
    told = "; ".join(f"{p.title + ': ' if p.title else ''}{', '.join(line.label for line in p.lines)}" for p in panels)
    about = f"ROC curves on the {result.judged.part} cases: {told}."
    marks = "at the largest score"
    if task is Task.BINARY:
        marks = f"at the threshold of {n.threshold(result.policy.threshold)}"
    elif task is Task.MULTILABEL:
        marks = "at each label's threshold"
    caption = f"The marks are the operating points {marks}. Original dashed, delivered solid."
    if task is Task.BINARY:
        caption = f"{about} The marks are the operating points {marks}."
    if not np.isfinite(result.judged.candidate).all():
        caption += " Scores of the candidate that are not numbers are ranked worst."
    if len(made) > len(panels):
        caption += f" Of {len(made)} curves the {len(panels)} of the lowest AUROC are drawn."
    draw = partial(figure_roc.draw, panels)
    return [Figure("roc", about, caption, draw, narrow=len(panels) == 1)]


def _panel(view: View, result: StudyResult) -> figure_roc.Panel:
    lines = []
    for name, scores, calls in (
        (_SIDES[0], view.reference, view.reference_calls),
        (_SIDES[1], view.candidate, view.candidate_calls),
    ):
        fpr, tpr, _ = roc_curve(view.labels, scores)
        point = float((calls[view.labels == 0] == 1).mean()), float((calls[view.labels == 1] == 1).mean())
        area = auroc(view.labels, scores)
        lines.append(figure_roc.Line(f"{name}, AUROC {area:.3f}", area, fpr, tpr, point))
    title = w.sentence(w.view(view.name, result.model.task)) if view.name else ""
    return figure_roc.Panel(title, tuple(lines))


def _tables(result: StudyResult, rule: Rule) -> list[Block]:
    judged = result.judged
    calls = tuple(rule.decisions(scores) for scores in (judged.reference, judged.candidate))
    if result.model.task is Task.BINARY:
        return [Side(tuple(_binary(name, c, result) for name, c in zip(_SIDES, calls)))]
    if result.model.task is Task.MULTILABEL:
        return [_by_label(result, rule, calls)]
    size = len(result.model.classes)
    tables = [_count(judged.labels, c, size) for c in calls]
    if size > _MOST_CLASSES:
        return [_largest(result, tables)]
    width = size + bool(tables[1][:, -1].any())
    matrices = (
        _matrix(_SIDES[0], tables[0], None, width, result),
        _matrix(_SIDES[1], tables[1], tables[0], width, result),
    )
    return [Side(matrices)] if width <= _BESIDE else list(matrices)


def _binary(name: str, calls: np.ndarray, result: StudyResult) -> Table:
    positive, negative = class_names(result)
    labels = result.judged.labels
    # A case without a decision is wrong, whatever it is.
    found, silent = (int(((labels == truth) & (calls == truth)).sum()) for truth in (1, 0))
    tp, fn = n.count(found), n.count(int((labels == 1).sum()) - found)
    fp, tn = n.count(int((labels == 0).sum()) - silent), n.count(silent)
    return Table(
        f"{name}: decisions at a threshold of {n.threshold(result.policy.threshold)}",
        columns("Truth", f"#Called {n.shorten(positive, 24)}", f"#Called {n.shorten(negative, 24)}"),
        (
            row(f"{positive} (positive)", f"{tp} right", f"{fn} missed"),
            row(f"{negative} (negative)", f"{fp} false alarms", f"{tn} right"),
        ),
    )


def _count(labels: np.ndarray, calls: np.ndarray, size: int) -> np.ndarray:
    """(K, K + 1) cases by truth and call; the last column holds those without a decision."""
    placed = np.where(calls == NO_DECISION, size, calls)
    return np.bincount((size + 1) * labels + placed, minlength=size * (size + 1)).reshape(size, size + 1)


def _matrix(name: str, table: np.ndarray, before: np.ndarray | None, width: int, result: StudyResult) -> Table:
    names = [n.shorten(c, 18) for c in (*result.model.classes, NO_CLASS)][:width]
    rows = []
    for i, truth in enumerate(result.model.classes):
        cells = []
        for j in range(width):
            moved = 0 if before is None else int(table[i, j] - before[i, j])
            note = f"{moved:+,d}".replace("-", "\N{MINUS SIGN}") if moved else ""
            cells.append(Cell(n.count(table[i, j]), "good" if i == j else "" if table[i, j] else "muted", note))
        rows.append(row(truth, *cells))
    about = "cases by truth (rows) and the class called (columns); right in bold"
    small = "" if before is None else ", the change from the original in small"
    titles = columns("Truth", *(f"#{c}" for c in names))
    return Table(f"{name}: {about}{small}.", titles, tuple(rows), wide=width > _BESIDE)


def _largest(result: StudyResult, tables: list[np.ndarray]) -> Table:
    """The confusions that are most frequent or changed most, of more classes than a matrix shows."""
    names = (*result.model.classes, NO_CLASS)
    before, after = tables
    places = [(i, j) for i, j in np.argwhere(before + after > 0) if i != j]
    places.sort(key=lambda p: (-abs(int(after[p]) - int(before[p])), -int(after[p])))
    rows = tuple(
        row(
            names[i],
            names[j],
            n.count(before[i, j]),
            n.count(after[i, j]),
            n.signed(float(after[i, j] - before[i, j]), 0),
        )
        for i, j in places[:_CONFUSIONS]
    )
    right = [int(np.trace(table)) for table in tables]
    caption = (
        f"The {len(rows)} of {len(places)} confusions that changed most, then the most frequent. Right: "
        f"{n.count(right[0])} by the original, {n.count(right[1])} by what is delivered."
    )
    return Table(caption, columns("Truth", "Called", "#Original", "#Delivered", "#Change"), rows)


def _by_label(result: StudyResult, rule: Rule, calls: tuple[np.ndarray, ...]) -> Table:
    rows = []
    for k, name in enumerate(result.model.classes):
        labels = result.judged.labels[:, k]
        figures: list[str | Cell] = []
        for call in calls:
            held = call[:, k]
            found = int(((labels == 1) & (held == 1)).sum())
            missed = int((labels == 1).sum()) - found
            silent = int(((labels == 0) & (held == 0)).sum())
            figures += [n.count(v) for v in (found, missed, int((labels == 0).sum()) - silent, silent)]
        known = int((labels >= 0).sum())
        unknown = Cell(n.count(known), "", f"{n.count(len(labels) - known)} not known" if known < len(labels) else "")
        rows.append(row(Cell(name, "", f"called from {n.threshold(rule.thresholds[k])}"), unknown, *figures))
    heads = [f"#{side}: {what}" for side in _SIDES for what in ("found", "missed", "false alarms", "right absent")]
    caption = "Decisions by label, on the cases where the label is known."
    return long_table(Table(caption, columns("Label", "#Known", *heads), tuple(rows), wide=True), "Labels")
