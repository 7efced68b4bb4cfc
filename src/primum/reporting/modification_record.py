"""modification_record.json: what was changed, how it was tested, and what it may do to patients.

Shaped on a predetermined change control plan (FDA, "Marketing Submission Recommendations for a Predetermined Change
Control Plan for AI-Enabled Device Software Functions", 2024): modifications, protocol, impact assessment, traceability.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from primum.config import kind_of
from primum.data.split import fractions
from primum.reporting import numbers as n
from primum.reporting.data import plain
from primum.reporting.delivered import Delivered, Measured, measured
from primum.reporting.traceability import tests_of
from primum.reporting.wording import standing
from primum.study.claim import Confirmation
from primum.study.result import StudyResult
from primum.study.trial import Trial
from primum.task import Task
from primum.validation.conformal import Band
from primum.validation.gate import LOSSLESS
from primum.validation.verdict import Flip, Verdict

FORMAT = "primum-modification-record/1"
SCOPE = (
    "A predetermined change control plan binds only where it was already authorised in this device's own marketing "
    "submission. This record is shaped on such a plan; it is evidence for a reviewer and authorises nothing."
)
ORIGINAL = (
    "Every comparison is with the model given as the original, not with the release before this one: drift that "
    "releases add up shows here. Whether that model is the one originally authorised is for a human to confirm."
)
SIGNATURES = ("Prepared by", "Clinical review", "Regulatory review", "Approved by")
_ORDERS = {
    True: "declared before it was opened",
    False: "this very candidate had been opened on these cases before, in an earlier study",
    None: "not known: no time stamp",
}

Json = dict[str, Any]


def modification_record(result: StudyResult, made: Delivered, bill_of_materials: str) -> Json:
    """The record of the delivered artifact as plain data; NaN stays NaN (`write_json` makes it null).

    `bill_of_materials` says whether the ML-BOM was checked against its schema. Signatures are left empty.
    """
    changes = _changes(result)
    return {
        "format": FORMAT,
        "scope": SCOPE,
        "created": result.created,
        "primum": result.version,
        "modifications": _modifications(result, made, changes),
        "protocol": _protocol(result, made),
        "impact": _impact(result, made),
        "traceability": [
            {"test": f"T{number}", "modifications": [c["id"] for c in changes], **test}
            for number, test in enumerate(tests_of(result, made), 1)
        ],
        "comparison": [_compared(item) for item in measured(made.verdict)],
        "flips": _flips(made.verdict),
        "authorised_model": {"compared_with": result.model.digest, "statement": ORIGINAL, "confirmed_by": ""},
        "bill_of_materials": {"file": "mlbom.cdx.json", "schema": bill_of_materials},
        "checklist": plain(result.assessment.checklist if result.assessment else ()),
        "signatures": [{"role": role, "name": "", "date": "", "signature": ""} for role in SIGNATURES],
    }


def _changes(result: StudyResult) -> list[Json]:
    """The techniques of the recipe, and where its target differs from the original's as it stood."""
    data, before = result.winner.recipe_data, result.baseline.recipe_data.get("target", {})
    after = data.get("target", {})
    steps = [(f"technique {name}", None, how) for t in data.get("techniques", ()) for name, how in t.items()]
    if result.winner.guard is not None:
        steps.append(("guarded prediction", None, guard_settings(result.winner.guard.band)))
    steps += [(name, before.get(name), after[name]) for name in after if after[name] != before.get(name)]
    return [{"id": f"M{i}", "what": what, "from": old, "to": new} for i, (what, old, new) in enumerate(steps, 1)]


def guard_settings(band: Band) -> Json:
    """What the guard was set to, and on how many patients."""
    names = ("value", "epsilon", "delta", "by_class", "strict", "n_patients")
    return {name: getattr(band, name) for name in names}


def _modifications(result: StudyResult, made: Delivered, changes: list[Json]) -> Json:
    trial, model = result.winner, result.model
    return {
        "recipe": trial.recipe,
        "why": trial.why,
        "changes": changes,
        "parent": {
            "name": model.name,
            "sha256": model.digest,
            "parameters": model.parameters,
            "bytes": result.baseline.size_bytes,
        },
        "child": {
            "files": made.files,
            "sha256_of_files": made.digest,
            "bytes": trial.size_bytes,
            "bytes_of_the_original_inside": trial.guard.reference_bytes if trial.guard else 0,
            "precision_proven": trial.precision_proven,
            "provider": trial.provider,
            "threads": trial.threads,
        },
        "unchanged": ["intended use", "preprocessing", "classes", "decision threshold"],
        "tools": {"primum": result.version, **result.machine.libraries},
        "machine": plain(result.machine),
        "notes": list(trial.notes),
    }


def _protocol(result: StudyResult, made: Delivered) -> Json:
    recipes = {trial.key: trial.recipe for trial in result.trials}
    return {
        "data_management": _data(result),
        "acceptance_criteria": _criteria(result, made),
        "pre_registration": {
            "declared_at": result.declared_at or None,
            "sequence": [recipes.get(key, key) for key in result.declared],
            "reason": result.declared_reason,
            "openings": [_opening(c, result.declared_at) for c in result.confirmations],
            "prior_openings": list(result.prior_openings),
            "uncomparable_openings": list(result.uncomparable_openings),
            "claims_that_share_the_error": result.shared_by,
            "sequences_of_other_claims": {
                c.runtime: [recipes.get(key, key) for key in c.declared]
                for c in result.claims
                if c.runtime != result.runtime
            },
            "note": "What is frozen is the original, the recipe, the preprocessing, this policy, and the labels, "
            "groups and patients of the confirmation cases, by SHA-256.",
        },
        "evaluation_methods": [
            "Original and candidate judged on the same cases (paired), at a threshold frozen on the original.",
            *(f"{p.name}: {p.method}" for p in (made.verdict.components if made.verdict else ())),
            "Raw outputs compared with the original's; a candidate out of tolerance is not judged.",
            "Latency timed in rounds interleaved with the original, in processes of their own.",
        ],
        "candidates": [_candidate(result, trial) for trial in result.trials],
        "update_procedure": [
            "Before use: primum verify checks every SHA-256 and replays the golden vectors on the serving machine.",
            "Keep the original beside it, so that the update can be taken back.",
            "Roll-out, monitoring in use and the criteria for taking back: to be filled in by the owner.",
        ],
    }


def _data(result: StudyResult) -> Json:
    data = result.data
    shares = fractions("guard" in {p.name for p in data.parts})
    return {
        "name": data.name,
        "synthetic": data.synthetic,
        "cases": data.cases,
        "patients": data.patients,
        "unit": data.unit,
        "parts": [{**plain(p), "share_of_patients": shares.get(p.name)} for p in data.parts],
        "split": "by a keyed hash of the patient: no seed and no new folder changes who is in which part",
        "groups": data.groups,
        "excluded": plain(data.excluded),
        "notes": list(data.notes),
    }


def _criteria(result: StudyResult, made: Delivered) -> list[Json]:
    """What was demanded, one entry a kind of endpoint, and the rules for groups and for lossless exports."""
    policy = result.policy
    # Of one kind all endpoints have one margin, which the component names: accuracy borrows that of sensitivity.
    kinds = {kind_of(p.name): p for p in (made.verdict.components if made.verdict else ())}
    rule = f"lower bound of the {n.confidence(policy.confidence)} interval of the paired difference above −margin"
    groups = "too few cases block unless waived by name" if policy.block_on_insufficient else "too few cases are named"
    return [
        *(
            {
                "what": kind,
                "rule": rule,
                "margin": plain(part.margin),
                "stated_by_a_clinician": part.margin_given,
            }
            for kind, part in kinds.items()
        ),
        {"what": "groups", "rule": f"each group that can be judged passes at the same margins; {groups}"},
        {
            "what": "lossless export",
            "rule": f"largest difference of scores at most {LOSSLESS:g} and no decision changed",
        },
    ]


def _opening(opened: Confirmation, declared_at: str) -> Json:
    return {
        "recipe": opened.recipe,
        "opened_at": opened.opened or None,
        "frozen_sha256": opened.frozen or None,
        "ledger_sha256": opened.entry or None,
        "order": _ORDERS[declared_first(declared_at, opened.opened)],
        "outcome": opened.verdict.outcome.value,
    }


def declared_first(declared: str, opened: str) -> bool | None:
    """Whether criteria were fixed before an opening; None where a time is not known.

    Of a frozen candidate the ledger keeps the first opening, by any study: False is an opening in an earlier one.
    """
    if not declared or not opened:
        return None
    return datetime.fromisoformat(declared) <= datetime.fromisoformat(opened)


def _candidate(result: StudyResult, trial: Trial) -> Json:
    verdict, part = standing(result, trial)
    return {
        "recipe": trial.recipe,
        "status": trial.status.value,
        "outcome": verdict.outcome.value if verdict else None,
        "judged_on": part if verdict else None,
        "reason": trial.reason,
    }


def _impact(result: StudyResult, made: Delivered) -> Json:
    new, old = result.final.get(result.winner.key), result.final.get(result.baseline.key)
    verdict = made.verdict
    return {
        "benefits": {
            "latency_ms_p50": {"original": old.p50 if old else None, "delivered": new.p50 if new else None},
            "speedup": {"ratio": result.speedup, "interval": list(result.speedup_interval)} if new else None,
            "bytes": {"original": result.baseline.size_bytes, "delivered": result.winner.size_bytes},
        },
        "risks": {
            "outcome": verdict.outcome.value if verdict else "NOT_ASSESSED",
            "basis": verdict.basis.value if verdict else None,
            "unproven": result.unproven,
            "changed_decisions": plain(verdict.agreement) if verdict else None,
            "harmful_by_truth": _harmful(verdict),
            "groups_insufficient": list(verdict.insufficient) if verdict else [],
            "candidates_refused_for_harm": [recipe for recipe, _ in result.harmed],
            "margins_not_confirmed": [p.name for p in verdict.components if not p.margin_given] if verdict else [],
        },
        "residual_risk": {"severity": "", "acceptable": "", "judged_by": "", "note": "For a human (ISO 14971)."},
    }


def _flips(verdict: Verdict | None) -> list[Json]:
    return [{"truth": _truth(verdict, flip), **plain(flip)} for flip in verdict.flips] if verdict else []


def _harmful(verdict: Verdict | None) -> dict[str, int]:
    """Truth -> decisions that the original had right and the delivered model has wrong."""
    truths = [_truth(verdict, flip) for flip in verdict.flips if flip.harmful] if verdict else []
    return {truth: truths.count(truth) for truth in sorted(set(truths))}


def _truth(verdict: Verdict, flip: Flip) -> str:
    """What a changed decision was about: the true class, or a label, output or structure."""
    if verdict.task is Task.BINARY:
        return "positive" if flip.label == 1 else "negative"
    if verdict.task is Task.MULTILABEL:
        return f"{flip.view}: {'present' if flip.label == 1 else 'absent'}"
    if verdict.task in (Task.MULTICLASS, Task.ORDINAL):
        return verdict.classes[int(flip.label)]
    return flip.view


def _compared(item: Measured) -> Json:
    kept = ("name", "reference", "candidate", "difference", "lower", "upper", "margin", "margin_given")
    held = plain(item.part)
    named = {name: held[name] for name in (*kept, "method", "n", "n_patients", "outcome", "basis", "reason")}
    return {"group": item.group or None, **named}
