"""The decisions that changed, case by case, and the candidates rejected because of such cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Column, Heading, Paragraph, Section, Table, columns, row
from primum.reporting.quality import class_names, failing_table
from primum.study.result import StudyResult
from primum.validation.verdict import Flip, Verdict

LISTED = 50
NAMED = 20
_FIELDS = ("case_id", "label", "reference_score", "candidate_score", "harmful")
_FORMULA = ("=", "+", "-", "@")


def flips_section(result: StudyResult) -> Section:
    """Every decision on which the judged candidate and the original differ."""
    verdict = result.verdict
    subject = w.name_of(result, result.verdict_recipe)
    blocks: list[Block] = [Paragraph(_account(verdict, subject))]
    if result.verdict_recipe != result.winner.recipe:
        text = f"{subject} is not what is delivered. {_delivered(result)}"
        blocks.append(Paragraph(text))
    if verdict.flips:
        blocks.append(_table(result))
    blocks += _rejected(result)
    return Section("flips", "Changed decisions", tuple(blocks))


def flips_csv(flips: Sequence[Flip]) -> bytes:
    """All flips as CSV in UTF-8. A text that a spreadsheet would run as a formula is led by an apostrophe."""
    names = _group_names(flips)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    headers = [f"group {name}" if name in _FIELDS else name for name in names]
    writer.writerow([*_FIELDS, *(_safe(name) for name in headers)])
    for flip in flips:
        scores = [repr(flip.reference_score), repr(flip.candidate_score)]
        groups = [_safe(flip.groups.get(name, "")) for name in names]
        writer.writerow([_safe(flip.case_id), flip.label, *scores, str(flip.harmful).lower(), *groups])
    return out.getvalue().encode()


def _account(verdict: Verdict, subject: str) -> str:
    agreement = verdict.agreement
    if not verdict.flips:
        return f"No decision changed: {subject} and the original decide all {n.plural(verdict.n, 'case')} alike."
    text = (
        f"{subject} decides {n.count(agreement.flips)} of {n.plural(verdict.n, 'case')} differently from the original "
        f"({n.percent(agreement.churn)}): {n.count(agreement.harmful)} harmful (the original was right) and "
        f"{n.count(agreement.beneficial)} beneficial (the original was wrong)."
    )
    if agreement.not_finite:
        text += f" {n.plural(agreement.not_finite, 'output')} not a number: each counts as wrong."
    return text


def _delivered(result: StudyResult) -> str:
    verdict = w.delivered_verdict(result)
    if verdict is None:
        return "For the delivered artifact the changed decisions are not known."
    return (
        f"The delivered {w.readable(result.winner)} changes {n.plural(verdict.agreement.flips, 'decision')} "
        f"on {n.plural(verdict.n, 'case')}."
    )


def _table(result: StudyResult) -> Table:
    flips = sorted(result.verdict.flips, key=lambda flip: not flip.harmful)
    names = _group_names(flips)
    shown = flips[:LISTED]
    caption = f"All {n.plural(len(flips), 'changed decision')}, harmful ones first."
    if len(flips) > LISTED:
        caption = f"The first {LISTED} of {n.count(len(flips))} changed decisions, harmful ones first; "
        caption += "flips.csv and report.json hold all."
    caption += f" Threshold {result.verdict.threshold:g}."
    fixed = columns("Case", "Truth", "#Original score", "#Candidate score", "Effect")
    titles = (*fixed, *(Column(n.clean(name)) for name in names))
    return Table(caption, titles, tuple(_row(flip, names, result) for flip in shown))


def _row(flip: Flip, names: Sequence[str], result: StudyResult) -> tuple[Cell, ...]:
    positive, negative = class_names(result)
    scores = n.scores(flip.reference_score, flip.candidate_score, result.verdict.threshold)
    effect = Cell("✗ Harmful", "bad") if flip.harmful else Cell("✓ Beneficial", "good")
    truth = positive if flip.label == 1 else negative
    return row(flip.case_id, truth, *scores, effect, *(flip.groups.get(name, n.NOTHING) for name in names))


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
        harmful = [flip.case_id for flip in verdict.flips if flip.harmful]
        name = w.name_of(result, recipe)
        blocks.append(Heading(name if name == n.clean(recipe) else f"{name} ({n.clean(recipe)})"))
        blocks.append(Paragraph(_account(verdict, name)))
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
