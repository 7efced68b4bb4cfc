"""The part of the page that sets the delivered artifacts side by side, where runtimes were named that each get one."""

from __future__ import annotations

from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Paragraph, Section, Table, bullets, columns, row
from primum.reporting.speed import changes_title
from primum.study.claim import Claim, NotDelivered
from primum.study.deliveries import DeliveredRow, delivered_rows
from primum.study.result import StudyResult

_REASONS = 3
"""Of a stand-in that are said; report.json holds all."""


def deliveries_section(result: StudyResult) -> Section | None:
    """One row a runtime; None where no runtime was named."""
    if not result.runtime:
        return None
    titles = columns(
        "Runtime",
        "Delivered",
        "Outcome",
        "#Speed-up",
        "#Size",
        f"#{changes_title(result.model.task)}",
        "Lies in",
    )
    made = zip(result.claims, delivered_rows(result))
    rows = [_row(result, claim, told) for claim, told in made]
    rows += [_absent(item) for item in result.not_delivered]
    caption = (
        "One artifact a runtime, each with its own manifest, verdict and evidence. Speed-ups with their intervals are "
        "of the last run of original and finalists together; outcomes are of the very artifact."
    )
    blocks: list[Block] = [Paragraph(_shared(result)), Table(caption, titles, tuple(rows), wide=True)]
    stand_ins = [_stand_in(result, told) for told in delivered_rows(result) if told.lossless]
    if stand_ins:
        blocks.append(bullets(stand_ins))
    return Section("deliveries", "Delivered, by runtime", tuple(blocks))


def _shared(result: StudyResult) -> str:
    count, confidence = result.shared_by, result.policy.confidence
    if count == 1:
        return "One runtime was named: what is delivered had to run in it."
    error = count * (1 - confidence) / 2
    return (
        f"An artifact was asked for each of {count} runtimes. Each is a claim with a sequence of candidates of its "
        "own, all declared before the confirmation cases were opened for any; the ledger records every opening. The "
        "claims share the error that one would be allowed (Bonferroni): each is judged at "
        f"{n.confidence(confidence)}, so that the chance to call any harmful candidate proven is at most "
        f"{n.confidence(error)}. The best of the delivered artifacts needs no claim of its own."
    )


def _row(result: StudyResult, claim: Claim, told: DeliveredRow) -> tuple[Cell, ...]:
    marks = [
        word
        for word, holds in (
            ("the best of all", told.overall and result.shared_by > 1),
            ("the subject of this report", claim.runtime == result.runtime and result.shared_by > 1),
            ("lossless: the original itself", told.lossless),
            ("UNPROVEN", told.unproven),
        )
        if holds
    ]
    verdict, changed = claim.own_verdict, Cell(n.NOTHING, "muted")
    if verdict is not None:
        total, one = w.decisions(verdict)
        changed = Cell(n.count(told.flips), "", f"of {n.plural(total, one)}")
    basis = f"{w.basis_word(told.basis)}; " if told.basis is not None else ""
    places = [f"{told.artifact}/", *(["artifact/"] if told.overall else [])]
    return row(
        w.RUNTIMES.get(told.runtime, told.runtime),
        Cell(w.readable(claim.winner), "", ", ".join(marks)),
        w.outcome_cell(told.outcome, f"{basis}on {told.part}"),
        Cell(n.ratio(told.speedup), "", n.span(*told.speedup_interval)),
        Cell(n.size(told.size_bytes), "", w.times(told.size_ratio, "smaller", "larger", "the same")),
        changed,
        Cell(places[0], "", " and ".join(places[1:])),
    )


def _absent(item: NotDelivered) -> tuple[Cell, ...]:
    none = Cell(n.NOTHING, "muted")
    name = w.RUNTIMES.get(item.runtime, item.runtime)
    return row(
        name, Cell("nothing", "bad", item.reason), Cell("–\N{NO-BREAK SPACE}None", "muted"), none, none, none, none
    )


def _stand_in(result: StudyResult, told: DeliveredRow) -> str:
    name = w.RUNTIMES.get(told.runtime, told.runtime)
    said = [w.said(reason, result.model.task) for reason in told.reasons if not reason.startswith("default margins")]
    more = [f"and {len(said) - _REASONS} more"] if len(said) > _REASONS else []
    return (
        f"{name} has the original, lossless: {'; '.join([*said[:_REASONS], *more]) or 'nothing else was tried there'}."
    )
