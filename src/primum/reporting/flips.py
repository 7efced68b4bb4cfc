"""The decisions that changed, case by case, and the candidates rejected because of such cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import isfinite

from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Column, Heading, Paragraph, Section, Table, columns, row
from primum.reporting.decisions import class_names
from primum.reporting.endpoints import failing_table
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.segmentation import DICE_LOSS
from primum.validation.verdict import Flip, Verdict

LISTED = 50
NAMED = 20
_FIELDS = (
    "case_id",
    "view",
    "label",
    "reference_score",
    "candidate_score",
    "reference_decision",
    "candidate_decision",
    "harmful",
)
_FORMULA = ("=", "+", "-", "@")
_CLASSES = (Task.MULTICLASS, Task.ORDINAL)
_TITLES = {Task.REGRESSION: "Values that moved", Task.SEGMENTATION: "Masks that lost"}
_WORDS = {
    Task.REGRESSION: ("moved value", "moved values"),
    Task.SEGMENTATION: ("mask that lost", "masks that lost"),
}
_ONE_CLASS = ("the original was right", "the original was wrong")
_EFFECTS = {
    Task.REGRESSION: ("the error grew", "the error shrank"),
    Task.SEGMENTATION: ("Dice fell", "Dice rose"),
}


def flips_section(result: StudyResult) -> Section:
    """Every decision on which the judged candidate and the original differ."""
    verdict = result.verdict
    subject = w.name_of(result, result.verdict_recipe)
    blocks: list[Block] = [Paragraph(_account(verdict, subject, result))]
    if result.verdict_recipe != result.winner.recipe:
        text = f"{subject} is not what is delivered. {_delivered(result)}"
        blocks.append(Paragraph(text))
    if verdict.flips:
        blocks.append(_table(result))
    blocks += _rejected(result)
    return Section("flips", _TITLES.get(verdict.task, "Changed decisions"), tuple(blocks))


def flips_csv(flips: Sequence[Flip], classes: Sequence[str] = ()) -> bytes:
    """All flips as CSV in UTF-8; with the names of `classes`, in whose order labels are numbered, `label` names them.

    A text that a spreadsheet would run as a formula is led by an apostrophe.
    """
    names = _group_names(flips)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    headers = [f"group {name}" if name in _FIELDS else name for name in names]
    writer.writerow([*_FIELDS, *(_safe(name) for name in headers)])
    for flip in flips:
        scores = [repr(flip.reference_score), repr(flip.candidate_score)]
        label = _safe(classes[int(flip.label)]) if classes else flip.label
        called = [_safe(flip.reference_decision), _safe(flip.candidate_decision)]
        groups = [_safe(flip.groups.get(name, "")) for name in names]
        writer.writerow(
            [_safe(flip.case_id), _safe(flip.view), label, *scores, *called, str(flip.harmful).lower(), *groups]
        )
    return out.getvalue().encode()


def numbered_classes(verdict: Verdict) -> tuple[str, ...]:
    """The names by which labels of flips are numbered; none where they are 0 and 1, or values."""
    return verdict.classes if verdict.task in _CLASSES else ()


def _account(verdict: Verdict, subject: str, result: StudyResult) -> str:
    text, broken = _counted(verdict, subject, result), verdict.agreement.not_finite
    return f"{text} {n.plural(broken, 'output')} not a number: each counts as wrong." if broken else text


def _counted(verdict: Verdict, subject: str, result: StudyResult) -> str:
    found, (total, one) = verdict.agreement, w.decisions(verdict)
    every = n.plural(total, one)
    if verdict.task is Task.REGRESSION:
        tolerances = result.policy.say_tolerances(result.model.classes)
        if not tolerances:
            return "No tolerance was given, so no value counts as moved."
        moved = f"by more than the {n.clean(tolerances)}"
        if not verdict.flips:
            return f"No value moved {moved}: {subject} follows the original on all {every}."
        return f"{subject} moves {n.count(found.flips)} of {every} {moved}: {_split(verdict)}."
    if verdict.task is Task.SEGMENTATION:
        if not verdict.flips:
            return f"No mask lost more than {DICE_LOSS:g} Dice, of {every}."
        return f"With {subject} {n.count(found.flips)} of {every} lose more than {DICE_LOSS:g} Dice."
    if not verdict.flips:
        return f"No decision changed: {subject} and the original decide all {every} alike."
    return (
        f"{subject} decides {n.count(found.flips)} of {every} differently from the original "
        f"({n.percent(found.churn)}): {_split(verdict)}."
    )


def _split(verdict: Verdict) -> str:
    """Harmful, beneficial, and of several classes those from one wrong class to another."""
    found = verdict.agreement
    worse, better = _EFFECTS.get(verdict.task, _ONE_CLASS)
    text = f"{n.count(found.harmful)} harmful ({worse}) and {n.count(found.beneficial)} beneficial ({better})"
    neither = found.flips - found.harmful - found.beneficial
    return f"{text}; {n.count(neither)} from one wrong class to another" if neither > 0 else text


def _delivered(result: StudyResult) -> str:
    verdict = w.delivered_verdict(result)
    one, many = _WORDS.get(result.model.task, ("changed decision", "changed decisions"))
    if verdict is None:
        return f"For the delivered artifact the {many} are not known."
    total, what = w.decisions(verdict)
    return (
        f"The delivered {w.readable(result.winner)} has {n.plural(verdict.agreement.flips, one, many)} "
        f"on {n.plural(total, what)}."
    )


def _table(result: StudyResult) -> Table:
    verdict = result.verdict
    flips = sorted(verdict.flips, key=lambda flip: not flip.harmful)
    names = _group_names(flips)
    shown = flips[:LISTED]
    one, many = _WORDS.get(verdict.task, ("changed decision", "changed decisions"))
    caption = f"All {n.plural(len(flips), one, many)}, harmful ones first."
    if len(flips) > LISTED:
        caption = f"The first {LISTED} of {n.count(len(flips))} {many}, harmful ones first; "
        caption += "flips.csv and report.json hold all."
    caption += f" {_rule(result)}" if _rule(result) else ""
    titles = (*columns(*_heads(verdict)), *(Column(n.clean(name)) for name in names))
    rows = tuple(_row(flip, names, result) for flip in shown)
    return Table(caption, titles, rows, wide=len(titles) > 7)


def _rule(result: StudyResult) -> str:
    verdict = result.verdict
    if verdict.task in _CLASSES:
        return "Scores are of the true class."
    if verdict.task is Task.BINARY or (verdict.task is Task.MULTILABEL and not result.policy.thresholds):
        return f"Threshold {n.threshold(verdict.threshold)}."
    return ""


def _heads(verdict: Verdict) -> tuple[str, ...]:
    """The titles of the columns that say what changed."""
    if verdict.task in _CLASSES:
        return "Case", "Truth", "Original calls", "Candidate calls", "#Original score", "#Candidate score", "Effect"
    if verdict.task is Task.MULTILABEL:
        return "Case", "Label", "Truth", "#Original score", "#Candidate score", "#Threshold", "Effect"
    if verdict.task is Task.REGRESSION:
        several = ("Output",) if len(verdict.classes) > 1 else ()
        return "Case", *several, "#Truth", "#Original", "#Candidate", "#Moved by", "Effect"
    if verdict.task is Task.SEGMENTATION:
        return "Case", "Structure", "#Original Dice", "#Candidate Dice", "#Change", "Effect"
    return "Case", "Truth", "#Original score", "#Candidate score", "Effect"


def _row(flip: Flip, names: Sequence[str], result: StudyResult) -> tuple[Cell, ...]:
    groups = (flip.groups.get(name, n.NOTHING) for name in names)
    return row(flip.case_id, *_what(flip, result), _effect(flip, result.verdict), *groups)


def _what(flip: Flip, result: StudyResult) -> list[str]:
    verdict, before, after = result.verdict, flip.reference_score, flip.candidate_score
    if verdict.task in _CLASSES:
        # Scores decide by their order, so that digits cannot hide a side.
        scores = n.scores(before, after, 0.5)
        return [verdict.classes[int(flip.label)], flip.reference_decision, flip.candidate_decision, *scores]
    if verdict.task is Task.MULTILABEL:
        at = result.policy.thresholds.get(flip.view, verdict.threshold)
        return [flip.view, "present" if flip.label == 1 else "absent", *n.scores(before, after, at), f"{at:g}"]
    if verdict.task is Task.REGRESSION:
        several = [flip.view] if len(verdict.classes) > 1 else []
        shown = n.amount(after) if isfinite(after) else "not a number"
        return [*several, n.amount(float(flip.label)), n.amount(before), shown, n.signed_amount(after - before)]
    if verdict.task is Task.SEGMENTATION:
        return [flip.view, n.plain(before, 4), n.plain(after, 4), n.signed(after - before, 4)]
    positive, negative = class_names(result)
    return [positive if flip.label == 1 else negative, *n.scores(before, after, verdict.threshold)]


def _effect(flip: Flip, verdict: Verdict) -> Cell:
    worse, better = _EFFECTS.get(verdict.task, ("Harmful", "Beneficial"))
    if flip.harmful:
        return Cell(f"✗ {w.sentence(worse)}", "bad")
    if verdict.task in _CLASSES and flip.candidate_decision != verdict.classes[int(flip.label)]:
        return Cell("Another wrong class", "muted")
    return Cell(f"✓ {w.sentence(better)}", "good")


def _rejected(result: StudyResult) -> list[Block]:
    if not result.harmed:
        return []
    blocks: list[Block] = [
        Heading("Rejected because they would have harmed"),
        Paragraph(
            "These candidates were shown to be worse than the original by more than the margin. None is delivered."
        ),
    ]
    for recipe, verdict in result.harmed:
        harmful = list(dict.fromkeys(flip.case_id for flip in verdict.flips if flip.harmful))
        name = w.name_of(result, recipe)
        blocks.append(Heading(name if name == n.clean(recipe) else f"{name} ({n.clean(recipe)})"))
        blocks.append(Paragraph(_account(verdict, name, result)))
        table = failing_table(verdict)
        if table.rows:
            blocks.append(table)
        if harmful:
            more = f" (first {NAMED} of {n.count(len(harmful))})" if len(harmful) > NAMED else ""
            listed = ", ".join(n.clean(case) for case in harmful[:NAMED])
            blocks.append(Paragraph(f"Cases it would have harmed{more}: {listed}", "small"))
    return blocks


def _group_names(flips: Sequence[Flip]) -> list[str]:
    return list(dict.fromkeys(name for flip in flips for name in flip.groups))


def _safe(text: str) -> str:
    text = n.clean(text)
    return f"'{text}" if text.startswith(_FORMULA) else text
