"""The part of the page that tells what the threshold does: the rates, the actions, and what they are worth."""

from __future__ import annotations

from functools import partial

from primum.reporting import figure_calibration
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import (
    Block,
    Cell,
    Figure,
    Heading,
    Paragraph,
    Section,
    Table,
    columns,
    long_table,
    row,
)
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.assessment import Assessment
from primum.validation.concordance import Concordance
from primum.validation.intervals import Interval
from primum.validation.net_benefit import NetBenefit
from primum.validation.operating import FrozenThreshold, OperatingPair, Rates

_PANELS = 9
_MOST_ACTIONS = 12


def operating_section(result: StudyResult) -> Section | None:
    """Threshold, rates, actions and net benefit of original and delivered; None where nothing of these is known."""
    found = result.assessment
    if found is None or not (found.operating or found.concordance):
        return None
    blocks: list[Block] = []
    if found.operating:
        blocks += [Paragraph(_threshold(result, found)), _rates_table(result, found.operating)]
        blocks += [Paragraph(_own(found.operating), "small")] if any(p.held for p in found.operating) else []
    if found.concordance is not None:
        head = [Heading("Actions")] if found.operating else []
        blocks += [*head, *_actions(found.concordance)]
    if found.net_benefit:
        blocks += [Heading("Net benefit"), *_benefit(result, found)]
    title = "Operating points and actions" if found.operating else "Actions"
    return Section("operating", title, tuple(blocks))


def _threshold(result: StudyResult, found: Assessment) -> str:
    task = result.model.task
    frozen = found.frozen or result.frozen
    if frozen is not None and task is Task.BINARY:
        return _frozen(frozen)
    if task is Task.BINARY:
        return f"The threshold of {n.threshold(result.policy.threshold)} was given, and holds for both models."
    if task is Task.MULTILABEL:
        return "Each label has the threshold that the policy gives it, for both models."
    return "No threshold: the class of the largest score is called."


def _frozen(frozen: FrozenThreshold) -> str:
    which = "lowest" if frozen.held == "specificity" else "highest"
    rate = frozen.achieved.specificity if frozen.held == "specificity" else frozen.achieved.sensitivity
    reached = f" (it reaches {_share(rate)} there, optimistic by that choice)" if rate is not None else ""
    return (
        f"The threshold of {n.threshold(frozen.threshold)} is the {which} at which the original holds a "
        f"{frozen.held} of {frozen.asked:.4g}{reached}. It was frozen on {n.clean(frozen.cases)} "
        f"({n.plural(frozen.n, 'case')} of "
        f"{n.plural(frozen.n_patients, 'patient')}) by the original's scores alone, and holds for both models."
    )


def _rates_table(result: StudyResult, pairs: tuple[OperatingPair, ...]) -> Table:
    several, own = any(p.name for p in pairs), any(p.candidate_own for p in pairs)
    thresholds = result.model.task in (Task.BINARY, Task.MULTILABEL)
    titles = columns(
        "Question" if several else "Model",
        *(["Model"] if several else []),
        *(["#Threshold"] if thresholds else []),
        "#Sensitivity",
        "Interval",
        "#Specificity",
        "Interval",
    )
    rows = []
    for pair in pairs:
        name = w.sentence(w.view(pair.name, result.model.task)) if pair.name else ""
        sides: list[tuple[str, Rates]] = [("Original", pair.reference), ("Delivered", pair.candidate)]
        if pair.candidate_own is not None:
            sides.append(("Delivered, at a threshold of its own", pair.candidate_own))
        for side, held in sides:
            cells = [*([name] if several else []), side, *([n.plain(held.threshold, 4)] if thresholds else [])]
            rows.append(row(*cells, *_cells(held.sensitivity), *_cells(held.specificity)))
    caption = "Rates of each model; Wilson intervals by patient."
    caption += " The last line of a question describes only: it decides nothing." if own else ""
    return long_table(Table(caption, titles, tuple(rows)), "Rates by question")


def _cells(rate: Interval | None) -> tuple[str, str]:
    if rate is None:
        return n.NOTHING, "no such case"
    return n.percent(rate.estimate), f"{n.percent(rate.lower)} to {n.percent(rate.upper)}"


def _share(rate: Interval) -> str:
    return f"{n.percent(rate.estimate)}, {n.percent(rate.lower)} to {n.percent(rate.upper)}"


def _own(pairs: tuple[OperatingPair, ...]) -> str:
    pair = next(p for p in pairs if p.held)
    text = (
        f"The candidate's own threshold is the one at which it would hold the same {pair.held} on these cases. It is "
        "not used: another threshold would be another, declared change of the device."
    )
    notes = [n.clean(p.note) for p in pairs if p.note]
    return f"{text} {w.sentence('; '.join(notes))}." if notes else text


def _actions(found: Concordance) -> list[Block]:
    share = found.unchanged
    text = (
        f"The action stays the same for {n.percent(share.estimate)} of {n.plural(found.n, 'case')} (at least "
        f"{n.percent(share.lower)} with {n.confidence(share.confidence)} confidence, two-sided, by patient); it "
        f"changes for {n.plural(found.changed, 'case')} of {n.plural(found.patients_changed, 'patient')}."
    )
    if found.kappa is not None:
        weighted = ", quadratic weights" if found.weights == "quadratic" else ""
        kappa = found.kappa
        text += f" Kappa {n.plain(kappa.estimate)} ({n.within(kappa.lower, kappa.upper)}{weighted})."
    if found.not_finite:
        text += f" {n.plural(found.not_finite, 'case')} without an answer counted as changed."
    blocks: list[Block] = [Paragraph(text)]
    if found.note:
        blocks.append(Paragraph(w.sentence(n.clean(found.note)) + ".", "muted"))
    if 0 < len(found.actions) <= _MOST_ACTIONS:
        blocks.append(_action_table(found))
    if found.moves:
        rows = tuple(row(m.among, n.count(m.n), n.count(m.up), n.count(m.down)) for m in found.moves)
        titles = columns("Truth", "#Decisions", "#To more", "#To less")
        blocks.append(Table("Moves to a more or a less intensive action, by truth.", titles, rows))
    return blocks


def _action_table(found: Concordance) -> Table:
    names = [n.shorten(name, 20) for name in found.actions]
    rows = []
    for i, (name, counts) in enumerate(zip(found.actions, found.table)):
        cells = [Cell(n.count(v), "good" if i == j else "" if v else "muted") for j, v in enumerate(counts)]
        rows.append(row(name, *cells))
    caption = "Actions by the original (rows) and by what is delivered (columns); unchanged in bold."
    titles = columns("Original", *(f"#{name}" for name in names))
    return Table(caption, titles, tuple(rows), wide=len(names) > 5)


def _benefit(result: StudyResult, found: Assessment) -> list[Block]:
    task = result.model.task
    used: dict[str, list[float]] = {}
    for held in found.net_benefit:
        used.setdefault(held.name if task is Task.MULTILABEL else "", []).append(held.threshold)
    panels = [
        figure_calibration.Benefit(
            w.sentence(w.view(curve.name, task)) if curve.name else "",
            curve.thresholds,
            curve.reference,
            curve.candidate,
            curve.treat_all,
            tuple(used.get(curve.name, ())),
        )
        for curve in found.decision_curves[:_PANELS]
    ]
    caption = (
        "Net benefit: true positives a case, less false alarms at the odds of the threshold. The lines stand for "
        "treating by each model, everybody, or nobody; the vertical ones are the thresholds in use."
    )
    if len(found.decision_curves) > _PANELS:
        caption += f" The first {_PANELS} of {len(found.decision_curves)} labels."
    told = "; ".join(
        f"{n.clean(h.name) + ', ' if h.name else ''}at {h.threshold:g}: {n.plain(h.reference, 4)} and "
        f"{n.plain(h.candidate, 4)}"
        for h in found.net_benefit
    )
    figure = Figure(
        "benefit",
        f"Decision curves of original and delivered. {told}.",
        caption,
        partial(figure_calibration.draw_benefit, panels),
        narrow=len(panels) == 1,
    )
    return [figure, _benefit_table(found.net_benefit)]


def _benefit_table(held: tuple[NetBenefit, ...]) -> Table:
    named = any(h.name for h in held)
    rows = []
    for one in held:
        gap = one.difference
        ends = n.between(gap.lower, gap.upper, 4)
        rows.append(
            row(
                *([one.name] if named else []),
                f"{one.threshold:g}",
                n.plain(one.reference, 4),
                n.plain(one.candidate, 4),
                n.signed(gap.estimate, 4),
                "no decision differs" if gap.degenerate else ends,
                n.plain(one.treat_all, 4),
                n.count(one.n),
            )
        )
    titles = columns(
        *(["Action or label"] if named else []),
        "Threshold" if not named else "#Threshold",
        "#Original",
        "#Delivered",
        "#Difference",
        "Interval",
        "#Treat all",
        "#Cases",
    )
    caption = "Net benefit at each threshold, paired by case, t interval by patient. Treating nobody has 0."
    return long_table(Table(caption, titles, tuple(rows)), "Thresholds")
