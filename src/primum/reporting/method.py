"""How it was judged: data, parts, planned power, declared sequence, policy, machine."""

from __future__ import annotations

from math import isfinite

from primum.config import MARGINS_OF
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import (
    Block,
    Cell,
    Facts,
    Heading,
    Paragraph,
    Section,
    Table,
    bullets,
    columns,
    facts,
    long_table,
    row,
)
from primum.study.claim import Claim
from primum.study.result import DataSummary, StudyResult
from primum.task import Task
from primum.validation.cases import PATIENT
from primum.validation.planning import EndpointPlan

_USES = {
    "calibration": "sets quantization ranges",
    "selection": "compares candidates, used freely",
    "guard": "kept closed for guarded prediction",
    "confirmation": "locked; opened once for each frozen winner",
}
_OBJECTIVES = {"latency": "the least time a call", "size": "the fewest bytes, no slower than the original"}
_EXCLUSIONS = 20
_CLASSES = 20
"""Classes that are named in one line."""
_BESIDE = 6
"""Classes that have a column in the table of parts."""


def method_section(result: StudyResult) -> Section:
    """Everything a reviewer needs to repeat or to doubt the judgement."""
    blocks: list[Block] = [Heading("Data"), *_data(result), Heading("Planned power"), _power(result)]
    blocks += [Heading("Sequence and openings"), *_sequence(result)]
    blocks += [Heading("Policy"), _policy(result)]
    if result.adjustments:
        blocks.append(bullets(result.adjustments))
    if result.reasons:
        said = [w.said(reason, result.model.task) for reason in result.reasons]
        blocks += [Heading("Reasons given"), bullets(said)]
    blocks += [Heading("Original model"), _model(result)]
    if result.model.notes:
        blocks.append(bullets(result.model.notes))
    blocks += [Heading("Machine"), _machine(result)]
    return Section("method", "How it was judged", tuple(blocks))


def _data(result: StudyResult) -> list[Block]:
    data = result.data
    groups = "; ".join(
        f"{column}: " + ", ".join(f"{value} {n.count(size)}" for value, size in levels.items())
        for column, levels in data.groups.items()
    )
    blocks: list[Block] = [
        facts(
            data_set=data.name,
            made=("by a program: synthetic" if data.synthetic else ""),
            cases=n.count(data.cases),
            **{"patients" if data.unit == PATIENT else "distinct_cases": n.count(data.patients)},
            unit_of_analysis=data.unit,
            groups=groups or "none named",
            excluded=n.plural(len(data.excluded), "case"),
        ),
        *_parts(data),
    ]
    if data.excluded:
        shown = data.excluded[:_EXCLUSIONS]
        caption = "Cases left out of judging."
        if len(data.excluded) > len(shown):
            caption = f"The first {len(shown)} of {n.count(len(data.excluded))} cases left out; report.json holds all."
        blocks.append(Table(caption, columns("Case", "Why"), tuple(row(e.case, e.reason) for e in shown)))
    if data.notes:
        blocks.append(bullets(data.notes))
    return blocks


def _parts(data: DataSummary) -> list[Block]:
    """The parts with their cases by class; of many classes these apart, a row each."""
    classes = list(data.parts[0].counts) if data.parts else []
    beside = classes if len(classes) <= _BESIDE else []
    table = Table(
        f"Parts of the data. A {data.unit.partition(' (')[0]} is in one part only, whatever the seed.",
        columns(
            "Part",
            "#Cases",
            "#Patients" if data.unit == PATIENT else "#Distinct",
            *(f"#{name}" for name in beside),
            "Use",
        ),
        tuple(
            row(
                p.name,
                *(n.count(v) for v in (p.cases, p.patients, *(p.counts[name] for name in beside))),
                _USES.get(p.name, ""),
            )
            for p in data.parts
        ),
    )
    if len(beside) == len(classes):
        return [table]
    rows = tuple(row(name, *(n.count(p.counts.get(name, 0)) for p in data.parts)) for name in classes)
    titles = columns("Class or label", *(f"#{w.sentence(p.name)}" for p in data.parts))
    return [table, long_table(Table("Cases by class or label.", titles, rows), "Classes by part")]


def _power(result: StudyResult) -> Block:
    if not result.power:
        return Paragraph("Power is not foretold for a model that gives values: their spread is not known before.")
    plan = next(iter(result.power.values()))
    caption = (
        f"What the patients of the confirmation part could show, worked out before the first trial, assuming that "
        f"{n.percent(plan.loss)} of decisions are lost and {n.percent(plan.gain)} won. "
        "Power is the chance that a harmless candidate passes."
    )
    titles = columns(
        "Endpoint",
        "#Patients",
        "#Margin",
        "#Power",
        "#Needed with no flip",
        "#Smallest margin, no flip",
        "#Margin at 80% power",
    )
    task = result.model.task
    rows = [_plan_row(name, part, task) for name, p in result.power.items() for part in (p.sensitivity, p.specificity)]
    return long_table(Table(caption, titles, tuple(rows)), "Planned power by question")


def _plan_row(question: str, part: EndpointPlan, task: Task) -> tuple[Cell, ...]:
    def points(value: float | None) -> str:
        return "none below 1" if value is None else f"{value * 100:.1f} pp"

    return row(
        w.endpoint(f"{part.name}[{question}]" if question else part.name, task),
        n.count(part.n),
        n.margin(part.name, part.margin),
        n.probability(part.power),
        n.count(part.required),
        points(part.smallest_margin),
        points(part.margin_80),
    )


def _sequence(result: StudyResult) -> list[Block]:
    blocks = [block for claim in result.claims or (result,) for block in _declared(result, claim)]
    if result.openings:
        rows = tuple(
            row(
                w.name_of(result, c.recipe),
                w.outcome_cell(c.verdict.outcome, w.basis_word(c.verdict.basis)),
                w.said(c.verdict.reasons[0], result.model.task) if c.verdict.reasons else n.NOTHING,
            )
            for c in result.openings
        )
        blocks.append(Table("Openings in this study.", columns("Candidate", "Outcome", "First reason"), rows))
    if prior := result.earlier_openings:
        count = n.plural(len(prior), "time")
        text = f"These confirmation cases were opened {count} before. Every further opening weakens the proof."
        blocks += [Paragraph(text, "warn"), bullets(prior)]
    elif not result.untold_openings:
        blocks.append(
            Paragraph("The ledger of this user and machine records no opening of these cases for another candidate.")
        )
    return blocks + ([bullets(result.untold_openings)] if result.untold_openings else [])


def _declared(result: StudyResult, claim: Claim) -> list[Block]:
    """The sequence of one claim, and why it is this."""
    of = f"For {w.RUNTIMES.get(claim.runtime, n.clean(claim.runtime))}: " if claim.runtime else ""
    if not claim.declared:
        reason = n.clean(claim.declared_reason) or "no candidate was worth confirming"
        return [Paragraph(w.sentence(f"{of}nothing was declared for confirmation: {reason}."))]
    return [
        Paragraph(w.sentence(f"{of}declared before the confirmation cases were opened, in this order:")),
        bullets((w.name_of(result, key) for key in claim.declared), ordered=True),
        Paragraph(f"Why this sequence: {n.clean(claim.declared_reason)}."),
    ]


def _policy(result: StudyResult) -> Facts:
    policy, task = result.policy, result.model.task
    each = f", for each of {result.shared_by} claims that share the error of one" if result.shared_by > 1 else ""
    return facts(
        level=result.level.value.replace("_", " "),
        threshold=_threshold(result),
        thresholds_of_labels=", ".join(f"{name} {at:g}" for name, at in policy.thresholds.items()),
        actions=", ".join(f"{action.name} from {action.at:g}" for action in policy.actions),
        margins="; ".join(_margin(kind, result) for kind in MARGINS_OF[task]),
        tolerance=_tolerance(result),
        objective=_OBJECTIVES[result.objective],
        confidence=f"{n.confidence(policy.confidence)}, two-sided{each}",
        groups_too_small="block acceptance unless waived by name"
        if policy.block_on_insufficient
        else "named, do not block",
        waived=", ".join(policy.waived_subgroups) or "none",
        adjustments="" if result.adjustments else "none",
    )


def _threshold(result: StudyResult) -> str:
    policy, task = result.policy, result.model.task
    if task is Task.BINARY:
        return f"{n.threshold(policy.threshold)} on P({n.clean(result.model.positive)}), frozen on the original"
    if task is Task.MULTILABEL:
        return f"{policy.threshold:g} on each label's probability, unless it has its own; frozen on the original"
    return "none: the largest score decides" if task in (Task.MULTICLASS, Task.ORDINAL) else ""


def _margin(kind: str, result: StudyResult) -> str:
    margins = result.policy.margins
    name = w.margin_name(kind, result.model.task)
    if kind == "error" and (own := result.policy.error_margins):
        listed = ", ".join(f"{n.clean(output)} {value:g}" for output, value in own.items())
        return f"{name} {listed}" + (f", of others {margins.error:g}" if margins.error is not None else "")
    if not isfinite(margins.value(kind)):
        return f"{name}: none given, and there is no default"
    return f"{name} {n.margin(kind, margins.value(kind))}" + ("" if margins.given(kind) else f" ({w.DEFAULT})")


def _tolerance(result: StudyResult) -> str:
    if result.model.task is not Task.REGRESSION:
        return ""
    told = result.policy.list_tolerances(result.model.classes)
    return f"{n.clean(told)}, in units of the label" if told else "none given"


def _model(result: StudyResult) -> Facts:
    model = result.model
    named = ", ".join(model.classes[:_CLASSES])
    more = f" and {len(model.classes) - _CLASSES} more" if len(model.classes) > _CLASSES else ""
    what = {Task.MULTILABEL: "labels", Task.REGRESSION: "outputs", Task.SEGMENTATION: "structures"}
    return facts(
        name=model.name,
        task=model.task.value,
        digest=model.digest,
        parameters=n.count(model.parameters),
        weights=n.size(model.weight_bytes),
        input_shape=" × ".join(str(v) for v in model.input_shape),
        **{what.get(model.task, "classes"): named + more},
        positive_class=model.positive,
    )


def _machine(result: StudyResult) -> Facts:
    machine = result.machine
    return facts(
        processor=f"{machine.cpu} ({machine.architecture})",
        features=", ".join(machine.features) or "none that primum uses",
        cores=n.count(machine.cores),
        memory=n.size(machine.memory_bytes),
        system=f"{machine.system}, Python {machine.python}",
        libraries=", ".join(f"{name} {version}" for name, version in machine.libraries.items()),
        fingerprint=machine.fingerprint,
        primum=result.version,
        made=result.created,
    )
