"""The evidence checklist: which records that a reviewer asks for exist, and where. It signs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Record(StrEnum):
    """A record that a study, an artifact or a server may leave."""

    MODIFICATION = "modification record (technique, parameters, parent hash)"
    CRITERIA = "acceptance criteria, fixed before the data were opened"
    OPENINGS = "ledger of openings of the confirmation cases"
    VERDICT = "paired comparison with the original"
    SUBGROUPS = "comparison by subgroup"
    FLIPS = "list of changed decisions"
    CALIBRATION = "calibration of both models"
    TIMINGS = "latency before and after"
    HASHES = "SHA-256 of every delivered file"
    TOOLS = "versions of tools and libraries"
    ML_BOM = "machine-readable bill of materials"
    PSEUDONYMS = "case ids replaced by keyed pseudonyms"
    EVENT_LOG = "event log in service"
    SIGNATURE = "signature of a responsible person"


class ItemStatus(StrEnum):
    """Of one item."""

    PRESENT = "present"
    MISSING = "missing"
    NOT_APPLICABLE = "N.A."
    SIGN_OFF = "needs human sign-off"


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """One thing that a framework asks for."""

    framework: str
    item: str
    status: ItemStatus
    where: str
    """Where the evidence is, which records are missing, or why the item does not apply."""


@dataclass(frozen=True, slots=True)
class _Ask:
    framework: str
    item: str
    needs: tuple[Record, ...] = ()
    person: str = ""
    """What a person must add, whatever software wrote."""
    in_service: bool = False
    """Asked of a running device: does not apply before there is an event log."""


_PERSON_WEIGHS = "benefits and risks weighed by the sponsor"
_ASKS = (
    _Ask("FDA PCCP", "description of the modification", (Record.MODIFICATION, Record.HASHES)),
    _Ask("FDA PCCP", "acceptance criteria stated before the data were opened", (Record.CRITERIA, Record.OPENINGS)),
    _Ask("FDA PCCP", "performance against the original, overall", (Record.VERDICT, Record.FLIPS)),
    _Ask("FDA PCCP", "performance against the original, by subgroup", (Record.SUBGROUPS,)),
    _Ask("FDA PCCP", "impact assessment", (Record.VERDICT, Record.TIMINGS), _PERSON_WEIGHS),
    _Ask("FDA PCCP", "the plan is part of this device's authorisation", person="a plan binds only where authorised"),
    _Ask("FDA 2017", "whether the change needs a submission", (Record.MODIFICATION,), "decided by the manufacturer"),
    _Ask("EU AI Act Art. 12", "event logs over the lifetime", (Record.EVENT_LOG,), in_service=True),
    _Ask("EU AI Act Annex IV 2(f)", "pre-determined changes described", (Record.MODIFICATION, Record.CRITERIA)),
    _Ask("EU AI Act Annex IV 2(g)", "validation procedures and metrics", (Record.VERDICT, Record.CALIBRATION)),
    _Ask("EU AI Act Annex IV 2(g)", "potentially discriminatory impacts", (Record.SUBGROUPS,)),
    _Ask("EU AI Act Annex IV 2(g)", "signed test report", (Record.VERDICT, Record.SIGNATURE), "date and signature"),
    _Ask("IEC 62304", "tools and libraries (SOUP) with versions", (Record.TOOLS,)),
    _Ask("IEC 62304", "configuration items identified", (Record.HASHES, Record.ML_BOM)),
    _Ask("IEC 62304", "regression evidence of the change", (Record.VERDICT, Record.FLIPS)),
    _Ask("ISO 14971", "new false negatives for the risk file", (Record.FLIPS,), "severity and residual risk"),
    _Ask("HIPAA 45 CFR 164.312", "no identifier in the evidence", (Record.PSEUDONYMS,)),
    _Ask("HIPAA 45 CFR 164.312", "access and audit controls in service", (Record.EVENT_LOG,), in_service=True),
)


def checklist(records: Mapping[Record, str]) -> tuple[ChecklistItem, ...]:
    """Every item, judged by the records that exist (each with where it is)."""
    return tuple(_judge(ask, records) for ask in _ASKS)


def _judge(ask: _Ask, records: Mapping[Record, str]) -> ChecklistItem:
    if ask.in_service and Record.EVENT_LOG not in records:
        where = "asked of a running service; this is evidence from before it"
        return ChecklistItem(ask.framework, ask.item, ItemStatus.NOT_APPLICABLE, where)
    signed = Record.SIGNATURE in ask.needs and Record.SIGNATURE in records
    missing = [need.value for need in ask.needs if need not in records and need is not Record.SIGNATURE]
    if missing:
        return ChecklistItem(ask.framework, ask.item, ItemStatus.MISSING, f"no {'; no '.join(missing)}")
    found = ", ".join(dict.fromkeys(records[need] for need in ask.needs if need in records))
    if ask.person and not signed:
        where = f"{ask.person}; drafts in {found}" if found else ask.person
        return ChecklistItem(ask.framework, ask.item, ItemStatus.SIGN_OFF, where)
    return ChecklistItem(ask.framework, ask.item, ItemStatus.PRESENT, found)
