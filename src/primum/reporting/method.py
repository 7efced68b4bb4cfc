"""How it was judged: data, parts, planned power, declared sequence, policy, machine."""

from __future__ import annotations

from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Facts, Heading, Paragraph, Section, Table, bullets, columns, facts, row
from primum.study.result import StudyResult
from primum.validation.planning import EndpointPlan

_USES = {
    "calibration": "sets quantization ranges",
    "selection": "compares candidates, used freely",
    "guard": "kept closed for guarded prediction",
    "confirmation": "locked; opened once for each frozen winner",
}
_EXCLUSIONS = 20


def method_section(result: StudyResult) -> Section:
    """Everything a reviewer needs to repeat or to doubt the judgement."""
    blocks: list[Block] = [Heading("Data"), *_data(result), Heading("Planned power"), _power(result)]
    blocks += [Heading("Sequence and openings"), *_sequence(result)]
    blocks += [Heading("Policy"), _policy(result)]
    if result.adjustments:
        blocks.append(bullets(result.adjustments))
    if result.reasons:
        blocks += [Heading("Reasons given"), bullets(result.reasons)]
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
            patients=n.count(data.patients),
            unit_of_analysis=data.unit,
            groups=groups or "none named",
            excluded=n.plural(len(data.excluded), "case"),
        ),
        Table(
            "Parts of the data. A patient is in one part only, whatever the seed.",
            columns("Part", "#Cases", "#Patients", *(f"#{name}" for name in data.parts[0].counts), "Use"),
            tuple(
                row(
                    p.name,
                    *(n.count(v) for v in (p.cases, p.patients, *p.counts.values())),
                    _USES.get(p.name, ""),
                )
                for p in data.parts
            ),
        ),
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
    rows = [_plan_row(name, part) for name, p in result.power.items() for part in (p.sensitivity, p.specificity)]
    return Table(caption, titles, tuple(rows))


def _plan_row(question: str, part: EndpointPlan) -> tuple[Cell, ...]:
    def points(value: float | None) -> str:
        return "none below 1" if value is None else f"{value * 100:.1f} pp"

    return row(
        w.endpoint(f"{part.name}[{question}]" if question else part.name),
        n.count(part.n),
        n.margin(part.name, part.margin),
        n.probability(part.power),
        n.count(part.required),
        points(part.smallest_margin),
        points(part.margin_80),
    )


def _sequence(result: StudyResult) -> list[Block]:
    blocks: list[Block] = []
    if result.declared:
        blocks.append(Paragraph("Declared before the confirmation cases were opened, in this order:"))
        blocks.append(bullets((w.name_of(result, key) for key in result.declared), ordered=True))
        blocks.append(Paragraph(f"Why this sequence: {n.clean(result.declared_reason)}."))
    else:
        reason = n.clean(result.declared_reason) or "no candidate was worth confirming"
        blocks.append(Paragraph(f"Nothing was declared for confirmation: {reason}."))
    if result.confirmations:
        rows = tuple(
            row(
                w.name_of(result, c.recipe),
                w.outcome_cell(c.verdict.outcome, w.basis_word(c.verdict.basis)),
                c.verdict.reasons[0] if c.verdict.reasons else n.NOTHING,
            )
            for c in result.confirmations
        )
        blocks.append(Table("Openings in this study.", columns("Candidate", "Outcome", "First reason"), rows))
    if result.prior_openings:
        count = n.plural(len(result.prior_openings), "time")
        text = f"These confirmation cases were opened {count} before. Every further opening weakens the proof."
        blocks += [Paragraph(text, "warn"), bullets(result.prior_openings)]
    else:
        blocks.append(
            Paragraph("The ledger of this user and machine records no opening of these cases for another candidate.")
        )
    return blocks


def _policy(result: StudyResult) -> Facts:
    policy = result.policy
    margins = "; ".join(
        f"{w.endpoint(name)} {n.margin(name, policy.margins.value(name))}"
        + ("" if policy.margins.given(name) else f" ({w.DEFAULT})")
        for name in w.ENDPOINTS
    )
    return facts(
        level=result.level.value.replace("_", " "),
        threshold=f"{policy.threshold:g} on P({n.clean(result.model.positive)}), frozen on the original",
        margins=margins,
        confidence=f"{policy.confidence:.0%}, two-sided",
        groups_too_small="block acceptance unless waived by name"
        if policy.block_on_insufficient
        else "named, do not block",
        waived_groups=", ".join(policy.waived_subgroups) or "none",
        adjustments="" if result.adjustments else "none",
    )


def _model(result: StudyResult) -> Facts:
    model = result.model
    return facts(
        name=model.name,
        digest=model.digest,
        parameters=n.count(model.parameters),
        weights=n.size(model.weight_bytes),
        input_shape=" × ".join(str(v) for v in model.input_shape),
        classes=", ".join(model.classes),
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
