"""The modification record as a page to print, read and sign by hand."""

from __future__ import annotations

from typing import Any

from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Heading, Page, Paragraph, Section, Table, bullets, columns, facts, row
from primum.reporting.headline import banners, headline
from primum.reporting.modification_record import ORIGINAL, SCOPE, SIGNATURES, Json
from primum.reporting.speed import cards
from primum.study.result import StudyResult
from primum.task import Task

LISTED = 100
_CLOSING = (SCOPE, "No signature is made automatically. modification_record.json holds the same as data.")


def modification_page(result: StudyResult, record: Json) -> Page:
    """`record` as a page, under the banners and the headline of the report."""
    return Page(
        name=f"Modification record: {n.clean(result.model.name)}",
        made=n.clean(f"{result.created} · primum {result.version}"),
        banners=banners(result),
        headline=headline(result),
        cards=cards(result),
        sections=(
            _modifications(record["modifications"]),
            _protocol(record["protocol"]),
            _impact(record["impact"]),
            _traceability(record["traceability"]),
            _comparison(record["comparison"], result.model.task),
            _flips(record["flips"]),
            _original(record),
            _checklist(record["checklist"]),
        ),
        closing=_CLOSING,
        signature=tuple(f"{role}: name, date, signature" for role in SIGNATURES),
    )


def _modifications(held: Json) -> Section:
    parent, child = held["parent"], held["child"]
    changes = Table(
        "What was changed. Whatever is not listed is as it was.",
        columns("Number", "What", "From", "To"),
        tuple(row(c["id"], c["what"], _told(c["from"]), _told(c["to"])) for c in held["changes"]),
    )
    files = Table(
        "The files of the delivered model.",
        columns("File", "SHA-256"),
        tuple(row(name, digest) for name, digest in child["files"].items()),
        wide=True,
    )
    lines = facts(
        recipe=held["recipe"],
        why=held["why"],
        original=f"{parent['name']}, {n.size(parent['bytes'])}, SHA-256 {parent['sha256']}",
        delivered=f"{n.size(child['bytes'])}, SHA-256 of the list of files {child['sha256_of_files']}",
        ran_as=f"{child['precision_proven']} on {child['provider']}, {n.plural(child['threads'], 'thread')}",
        unchanged=", ".join(held["unchanged"]),
        tools=", ".join(f"{name} {version}" for name, version in held["tools"].items()),
        machine=f"{held['machine']['cpu']}, {held['machine']['system']}",
        notes="; ".join(held["notes"]),
    )
    nothing = Paragraph("Nothing was changed: the original is delivered as it is.")
    return Section("modifications", "Modifications", (lines, changes if held["changes"] else nothing, files))


def _protocol(held: Json) -> Section:
    data, before = held["data_management"], held["pre_registration"]
    criteria = Table(
        "What was demanded of a candidate.",
        columns("What", "Rule", "Margin"),
        tuple(row(c["what"], c["rule"], _margin(c)) for c in held["acceptance_criteria"]),
    )
    times = facts(
        declared=before["declared_at"] or "no time stamp",
        sequence=", ".join(before["sequence"]) or "none: the confirmation part stayed closed",
        reason=before["reason"],
        note=before["note"],
    )
    blocks: list[Block] = [
        Heading("Data management"),
        facts(
            data_set=data["name"] + (" (SYNTHETIC)" if data["synthetic"] else ""),
            cases=n.count(data["cases"]),
            patients=n.count(data["patients"]),
            unit_of_analysis=data["unit"],
            excluded=n.plural(len(data["excluded"]), "case"),
        ),
        _parts(data),
        Heading("Acceptance criteria"),
        times,
        criteria,
        *([_openings(before["openings"])] if before["openings"] else []),
        *([bullets(before["prior_openings"])] if before["prior_openings"] else []),
        Heading("Evaluation methods"),
        bullets(held["evaluation_methods"]),
        _candidates(held["candidates"]),
        Heading("Update procedure"),
        bullets(held["update_procedure"]),
    ]
    return Section("protocol", "Modification protocol", tuple(blocks))


def _parts(data: Json) -> Table:
    return Table(
        f"Parts of the data: {data['split']}.",
        columns("Part", "#Share of patients", "#Cases", "#Patients", "Cases by class"),
        tuple(
            row(
                p["name"],
                "" if p["share_of_patients"] is None else f"{p['share_of_patients']:.0%}",
                n.count(p["cases"]),
                n.count(p["patients"]),
                ", ".join(f"{name} {n.count(size)}" for name, size in p["counts"].items()) or n.NOTHING,
            )
            for p in data["parts"]
        ),
    )


def _openings(held: list[Json]) -> Table:
    return Table(
        "Openings of the confirmation part, as the ledger has them.",
        columns(
            "Candidate", "Opened", "Order", "Outcome", "Frozen candidate, SHA-256", "Record in the ledger, SHA-256"
        ),
        tuple(
            row(
                o["recipe"],
                o["opened_at"] or n.NOTHING,
                o["order"],
                o["outcome"],
                o["frozen_sha256"] or n.NOTHING,
                o["ledger_sha256"] or n.NOTHING,
            )
            for o in held
        ),
        wide=True,
    )


def _candidates(held: list[Json]) -> Table:
    return Table(
        "Every candidate that was tried.",
        columns("Recipe", "Status", "Outcome", "Judged on", "Reason"),
        tuple(
            row(c["recipe"], c["status"], c["outcome"] or n.NOTHING, c["judged_on"] or n.NOTHING, c["reason"])
            for c in held
        ),
        wide=True,
    )


def _impact(held: Json) -> Section:
    gains, risks = held["benefits"], held["risks"]
    latency, changed = gains["latency_ms_p50"], risks["changed_decisions"]
    told = "not assessed"
    if changed is not None:
        told = f"{changed['flips']}: {changed['harmful']} harmful, {changed['beneficial']} beneficial"
    benefits = facts(
        median_latency=f"{_ms(latency['original'])} → {_ms(latency['delivered'])}",
        speed_up=n.ratio(gains["speedup"]["ratio"]) if gains["speedup"] else "not measured",
        size=f"{n.size(gains['bytes']['original'])} → {n.size(gains['bytes']['delivered'])}",
    )
    harms = facts(
        outcome=risks["outcome"] + (", UNPROVEN" if risks["unproven"] else ""),
        changed_decisions=told,
        harmful_by_true_label=", ".join(f"{label}: {count}" for label, count in risks["harmful_by_truth"].items()),
        groups_with_too_few_cases=", ".join(risks["groups_insufficient"]) or "none",
        margins_that_no_clinician_confirmed=", ".join(risks["margins_not_confirmed"]) or "none",
        candidates_refused_for_harm=", ".join(risks["candidates_refused_for_harm"]) or "none",
    )
    residual = Table(
        "Residual risk, for a human to judge (ISO 14971).",
        columns("Severity", "Acceptable", "Judged by"),
        (row(*(held["residual_risk"][k] or "________" for k in ("severity", "acceptable", "judged_by"))),),
    )
    return Section("impact", "Impact assessment", (Heading("Benefits"), benefits, Heading("Risks"), harms, residual))


def _traceability(held: list[Json]) -> Section:
    table = Table(
        "The artifact is tested whole: each test bears on every modification named.",
        columns("Test", "Modifications", "What", "Criterion", "#Result", "Outcome", "Evidence"),
        tuple(
            row(
                t["test"],
                ", ".join(t["modifications"]) or "none",
                t["what"],
                t["criterion"],
                n.small(t["result"]).replace("-", "\N{MINUS SIGN}"),
                t["outcome"],
                t["evidence"],
            )
            for t in held
        ),
        wide=True,
    )
    return Section("traceability", "Traceability: modification, test, result", (table,))


def _comparison(held: list[Json], task: Task) -> Section:
    table = Table(
        "Original against delivered. A negative difference is worse.",
        columns(
            "Cases of", "Endpoint", "#Original", "#Delivered", "#Difference", "Interval", "Margin", "#n", "Outcome"
        ),
        tuple(
            row(
                c["group"] or "all",
                w.endpoint(c["name"], task),
                n.level(c["name"], c["reference"]),
                n.level(c["name"], c["candidate"]),
                n.difference(c["name"], c["difference"]),
                n.interval(c["name"], c["lower"], c["upper"]),
                n.margin(c["name"], c["margin"]) + ("" if c["margin_given"] else f" ({w.DEFAULT})"),
                n.count(c["n"]),
                c["outcome"],
            )
            for c in held
        ),
        wide=True,
    )
    blocks: tuple[Block, ...] = (table,) if held else (Paragraph("Not assessed."),)
    return Section("comparison", "Old against new, overall and by group", blocks)


def _flips(held: list[Json]) -> Section:
    if not held:
        return Section("flips", "Changed decisions", (Paragraph("No decision changed."),))
    more = f"The first {LISTED} of {n.count(len(held))}; the JSON holds all." if len(held) > LISTED else "All of them."
    table = Table(
        f"Decisions that changed. {more}",
        columns("Case", "Truth", "#Original score", "#Delivered score", "Effect", "Groups"),
        tuple(
            row(
                f["case_id"],
                f["truth"],
                _told(f["reference_score"]),
                _told(f["candidate_score"]),
                "harmful" if f["harmful"] else "beneficial",
                ", ".join(f"{name}={value}" for name, value in f["groups"].items()),
            )
            for f in sorted(held, key=lambda f: not f["harmful"])[:LISTED]
        ),
        wide=True,
    )
    return Section("flips", "Changed decisions", (table,))


def _original(record: Json) -> Section:
    held = record["authorised_model"]
    lines = facts(
        compared_with=f"SHA-256 {held['compared_with']}",
        confirmed_as_the_authorised_model_by="________",
        bill_of_materials=f"{record['bill_of_materials']['file']}: {record['bill_of_materials']['schema']}",
    )
    return Section("original", "The originally authorised model", (Paragraph(ORIGINAL), lines))


def _checklist(held: list[Json]) -> Section:
    if not held:
        return Section("checklist", "Evidence checklist", (Paragraph("Not assessed."),))
    table = Table(
        "Which records that a reviewer asks for are here. A list of evidence, not a judgement.",
        columns("Framework", "Asked for", "Status", "Where, or what is missing"),
        tuple(row(item["framework"], item["item"], item["status"], item["where"]) for item in held),
        wide=True,
    )
    return Section("checklist", "Evidence checklist", (table,))


def _margin(criterion: Json) -> str:
    if "margin" not in criterion:
        return n.NOTHING
    stated = "" if criterion["stated_by_a_clinician"] else f" ({w.DEFAULT})"
    return n.margin(criterion["what"], criterion["margin"]) + stated


def _ms(value: float | None) -> str:
    return n.NOTHING if value is None else n.milliseconds(value)


def _told(value: Any) -> str:
    """A setting or a score as a reader sees it."""
    if value is None:
        return n.NOTHING
    if isinstance(value, dict):
        return ", ".join(f"{name}={_told(v)}" for name, v in value.items()) or "as it is"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
