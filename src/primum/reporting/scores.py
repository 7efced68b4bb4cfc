"""The part of the page that holds the specification's five scores, what to do next, and the evidence checklist."""

from __future__ import annotations

from collections import Counter
from math import isfinite

from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Heading, Paragraph, Section, Table, columns, row
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.assessment import Assessment
from primum.validation.checklist import ItemStatus
from primum.validation.spec_scores import ScoreStatus, SpecScore

_TITLE = "The five scores"
_OF_A_KIND = 3
"""Pieces of advice of one kind that are shown; the others are folded."""
_KIND = 1
"""First words that tell kinds apart."""
_LONGEST = 420
"""Characters of a score's reason; report.json holds all."""
_STATUS = {
    ScoreStatus.MET: Cell("✓ Met", "good"),
    ScoreStatus.NOT_MET: Cell("✗ Not met", "bad"),
    ScoreStatus.INSUFFICIENT: Cell("○ Insufficient", "bad"),
    ScoreStatus.NOT_ASSESSED: Cell("– Not assessed", "muted"),
}
_ITEMS = {
    ItemStatus.PRESENT: Cell("✓ Present", "good"),
    ItemStatus.MISSING: Cell("✗ Missing", "bad"),
    ItemStatus.NOT_APPLICABLE: Cell("– Not applicable", "muted"),
    ItemStatus.SIGN_OFF: Cell("? Needs human sign-off", "warn"),
}


def scores_section(result: StudyResult) -> Section:
    """Each score beside its definition, the weakest link with its components, advice, and the checklist."""
    found = result.assessment
    if found is None:
        text = "What is delivered was not assessed: calibration, operating points and the five scores are not known."
        return Section("scores", _TITLE, (Paragraph(text),))
    blocks: list[Block] = [
        Paragraph(
            f"Of the delivered {w.readable(result.winner)}, on the {result.judged.part} cases. Each score is a bound "
            "that these cases support, by the definition beside it. None overrules the verdict."
        ),
        _table(found, result.model.task),
        Paragraph(_overall(found)),
    ]
    if found.notes:
        blocks.append(Paragraph(" ".join(f"{w.sentence(n.clean(note))}." for note in found.notes), "small"))
    if found.recommendations:
        blocks += [Heading("What to do next"), *_advice(found, result.model.task)]
    blocks += [Heading("Evidence checklist"), _checklist(found)]
    return Section("scores", _TITLE, tuple(blocks))


def score_name(score: SpecScore) -> str:
    """ "Medical accuracy" of medical_accuracy."""
    return w.sentence(score.name.value.replace("_", " "))


def _advice(found: Assessment, task: Task) -> list[Block]:
    """The most urgent first, a few of each kind; the others folded."""
    shown: list[tuple[Cell, ...]] = []
    more: list[tuple[Cell, ...]] = []
    kinds: Counter[str] = Counter()
    for one in found.recommendations:
        kind = " ".join(one.advice.split()[:_KIND])
        kinds[kind] += 1
        made = row(w.inline(one.advice, task), w.inline(one.fact, task))
        (shown if kinds[kind] <= _OF_A_KIND else more).append(made)
    titles = columns("Advice", "Measured fact")
    blocks: list[Block] = [Table("The most urgent first.", titles, tuple(shown))]
    if more:
        fold = f"More of the same kinds: {n.plural(len(more), 'row')}"
        blocks.append(Table("More of the same kinds.", titles, tuple(more), fold=fold))
    return blocks


def _table(found: Assessment, task: Task) -> Table:
    rows = []
    for score in found.scores:
        numbered = isfinite(score.threshold)
        needed = f"{n.plural(score.needed, 'patient')} needed" if score.needed is not None else ""
        # A score of 98.96% that misses 99% may not be shown as 99%.
        value = f"{score.value * 100:.2f}%" if isfinite(score.value) else n.NOTHING
        status = _STATUS[score.status] if numbered else Cell("checklist below", "muted")
        rows.append(
            row(
                score_name(score),
                value,
                f"{score.threshold * 100:g}%" if numbered else n.NOTHING,
                Cell(status.text, status.tone, needed),
                score.definition,
                n.shorten(w.inline(score.reason, task), _LONGEST) or n.NOTHING,
            )
        )
    titles = columns("Score", "#Value", "#Threshold", "Status", "What it means here", "Why")
    return Table("Names and thresholds are the specification's.", titles, tuple(rows), wide=True)


def _overall(found: Assessment) -> str:
    known = [s for s in found.scores if isfinite(s.value)]
    if not known or found.overall_of is None:
        return "Overall: no score could be assessed, so there is none."
    parts = ", ".join(f"{score_name(s).lower()} {s.value * 100:.2f}%" for s in known)
    name = found.overall_of.value.replace("_", " ")
    left = len(found.scores) - len(known)
    without = f"; {left} without a number" if left else ""
    return f"Overall {found.overall * 100:.2f}%: the weakest link, {name}, of {parts}{without}."


def _checklist(found: Assessment) -> Table:
    rows = tuple(row(item.framework, item.item, _ITEMS[item.status], item.where) for item in found.checklist)
    caption = "What a reviewer asks for, and where it is. It signs nothing and settles no question of law."
    return Table(caption, columns("Framework", "Item", "Status", "Where"), rows)
