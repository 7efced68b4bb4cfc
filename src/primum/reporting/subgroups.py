"""The part of the page that tells for whom it holds: each level of each grouping column, and the gaps between them."""

from __future__ import annotations

from math import isfinite

from primum.config import kind_of
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Column, Paragraph, Section, Table, columns, long_table, row
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.fairness import Fairness
from primum.validation.verdict import Component, Outcome, SubgroupVerdict, Verdict

_TITLE = "Subgroups"
_MOST_COLUMNS = 4
_NAMED = 3


def subgroups_section(result: StudyResult) -> Section:
    """Each level judged at the margins of the whole, and equal opportunity before and after."""
    verdict = result.verdict
    blocks: list[Block] = []
    if not verdict.subgroups:
        blocks.append(
            Paragraph("The data name no groups, so nothing is known about performance by sex, age, site or scanner.")
        )
        return Section("subgroups", _TITLE, tuple(blocks))
    small = [s for s in verdict.subgroups if s.outcome is Outcome.INSUFFICIENT]
    if small:
        text = (
            f"INSUFFICIENT: {n.plural(len(small), 'group')} too small to decide. "
            "That is never a pass: harm in such a group would not show in these data."
        )
        blocks.append(Paragraph(text, "bad"))
    blocks.append(long_table(_table(verdict), "Groups"))
    if any(level.harmed for level in verdict.subgroups):
        text = (
            "Harm: the smallest p-value of a group's endpoints, adjusted by Holm for all endpoints of all groups. It "
            "is against no loss at all, so that a loss within the margin shows too. It points, and decides nothing."
        )
        blocks.append(Paragraph(text, "small"))
    return Section("subgroups", _TITLE, (*blocks, *_fairness(result)))


def _table(verdict: Verdict) -> Table:
    """The endpoints of each level, those of all its cases in columns; of many classes the ones that are open, named."""
    binary = verdict.task is Task.BINARY
    names = _columns_of(verdict)
    single = {p.name for s in verdict.subgroups for p in s.components} - set(names)
    titles = [
        *columns("Group", "#Cases", w.units_title(verdict)),
        *(columns("#Positives") if binary else ()),
        *(Column(w.endpoint(name, verdict.task)) for name in names),
        *(columns("Single classes") if single else ()),
        *columns("Outcome", "What would decide"),
    ]
    beside = ", the Brier score beside" if "brier" in names and binary else ""
    caption = (
        f"Each group judged at the same margins{beside}: original → candidate, and the difference with its interval."
    )
    rows = tuple(_row(level, verdict, names, bool(single)) for level in verdict.subgroups)
    return Table(caption, tuple(titles), rows, wide=True)


def _columns_of(verdict: Verdict) -> list[str]:
    """Endpoints that have a column: those of all cases; where each is of one structure or output, the first few."""
    found = dict.fromkeys(p.name for s in verdict.subgroups for p in (*s.components, *s.reported) if not p.view)
    if not found:
        found = dict.fromkeys(p.name for s in verdict.subgroups for p in s.components)
    order = [p.name for p in verdict.components]
    ranked = sorted(found, key=lambda name: (name != "brier", order.index(name) if name in order else len(order)))
    return ranked[:_MOST_COLUMNS]


def _row(level: SubgroupVerdict, verdict: Verdict, names: list[str], single: bool) -> tuple[Cell, ...]:
    parts = {part.name: part for part in (*level.components, *level.reported)}
    needed = "; ".join(w.most_needed(level.components, verdict))
    tone = "bad" if level.outcome is Outcome.INSUFFICIENT else ""
    note = "waived by name" if level.waived else ""
    if level.harmed and level.harm_p_adjusted is not None:
        note += ("; " if note else "") + f"harm, p {n.p_value(level.harm_p_adjusted)}"
    return row(
        f"{level.column}: {level.value}",
        n.count(level.n),
        n.count(level.n_patients),
        *([n.count(level.n_positive)] if level.n_positive is not None else []),
        *(_figures(parts.get(name), name) for name in names),
        *([_open_classes(level, names)] if single else []),
        w.outcome_cell(level.outcome, note),
        Cell(needed or n.NOTHING, tone),
    )


def _figures(part: Component | None, name: str) -> Cell:
    if part is None:
        return Cell(n.NOTHING, "muted", {"sensitivity": "no positives", "specificity": "no negatives"}.get(name, ""))
    figures = f"{n.level(part.name, part.reference)} → {n.level(part.name, part.candidate)}"
    if not isfinite(part.lower):
        return Cell(figures)
    wide = n.interval(part.name, part.lower, part.upper)
    return Cell(figures, "", f"{n.difference(part.name, part.difference).removesuffix(' pp')} ({wide})")


def _open_classes(level: SubgroupVerdict, names: list[str]) -> Cell:
    """How many endpoints of single classes passed, and the names of those that did not."""
    parts = [p for p in level.components if p.name not in names]
    said = []
    for outcome in (Outcome.INFERIOR, Outcome.INCONCLUSIVE, Outcome.NOT_ASSESSED, Outcome.INSUFFICIENT):
        kinds: dict[str, list[str]] = {}
        for part in parts:
            if part.outcome is outcome:
                kinds.setdefault(kind_of(part.name), []).append(n.shorten(part.view.replace(">= ", "≥ "), 24))
        if kinds:
            listed = "; ".join(f"{kind} ({_some(names)})" for kind, names in kinds.items())
            said.append(f"{w.WORDS[outcome].lower()}: {listed}")
    passed = sum(p.outcome is Outcome.NON_INFERIOR for p in parts)
    return Cell(f"{passed} of {n.plural(len(parts), 'endpoint')} non-inferior", "", ". ".join(said))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _fairness(result: StudyResult) -> list[Block]:
    """Sensitivities side by side: how far apart the groups lie, before and after."""
    gaps = result.assessment.fairness if result.assessment is not None else ()
    if not gaps:
        return []
    subject = w.readable(result.winner)
    caption = (
        f"Equal opportunity, original → delivered ({subject}): the largest sensitivity of a group less the smallest, "
        "and the smallest over the largest, among groups large enough to compare."
    )
    titles = columns("Column", "#Gap", "#Change", "#Ratio", "Lowest sensitivity", "Groups too small to compare")
    rows = tuple(_gap_row(gap, result) for gap in gaps)
    return [long_table(Table(caption, titles, rows), "Equal opportunity by column and class")]


def _gap_row(gap: Fairness, result: StudyResult) -> tuple[Cell, ...]:
    compared = isfinite(gap.candidate_gap)
    worst = next((level for level in gap.levels if level.level == gap.worst), None)
    small = ", ".join(gap.insufficient)
    wanted = f"{n.plural(gap.required, 'patient')} with positives needed" if gap.insufficient else ""
    of = Cell(gap.column, "", w.view(gap.name, result.model.task) if gap.name else "")
    if not compared:
        return row(of, n.NOTHING, n.NOTHING, n.NOTHING, Cell("not compared", "muted"), Cell(small, "", wanted))
    return row(
        of,
        f"{_points(gap.reference_gap)} → {_points(gap.candidate_gap)} pp",
        f"{n.signed(gap.change * 100, 2)} pp",
        f"{n.plain(gap.reference_ratio)} → {n.plain(gap.candidate_ratio)}",
        Cell(worst.level, "", f"{n.percent(worst.reference)} → {n.percent(worst.candidate)}") if worst else n.NOTHING,
        Cell(small or "none", "", wanted),
    )


def _points(share: float) -> str:
    return n.plain(share * 100, 2)
