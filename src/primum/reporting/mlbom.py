"""mlbom.cdx.json: the delivered model as a CycloneDX 1.6 machine-learning bill of materials (ECMA-424).

Written directly: the Python library of CycloneDX knows no model card and drops it when it reads and writes one.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from math import isfinite

from primum.errors import InputError, MissingExtra
from primum.files import finite
from primum.hardware.machine import installed
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.delivered import Delivered, Measured, measured
from primum.reporting.libraries import Json, library, runtime_libraries, without_none
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.verdict import Outcome, SubgroupVerdict

NAME = "mlbom.cdx.json"
_VALIDATOR = "cyclonedx-python-lib"
_SHA256_DIGITS = 64
_OUTPUTS = {Task.REGRESSION: "values in the units of the labels", Task.SEGMENTATION: "the class of every pixel"}


def mlbom(result: StudyResult, made: Delivered) -> bytes:
    """The document. Figures that are not finite are left out: CycloneDX has no word for them."""
    libraries = runtime_libraries(result)
    needed = [c["bom-ref"] for c in libraries if c["scope"] == "required"]
    body: Json = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": without_none(
            {
                "timestamp": _timestamp(result.created),
                "tools": {"components": [library("primum", result.version, "application")]},
                "component": {
                    "type": "application",
                    "bom-ref": "artifact",
                    "name": f"{n.clean(result.model.name)}, primum artifact",
                    "version": made.digest[:12],
                },
            }
        ),
        "components": [_model(result, made), *libraries],
        "dependencies": [{"ref": "artifact", "dependsOn": ["model"]}, {"ref": "model", "dependsOn": needed}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return json.dumps(finite({**body, "serialNumber": f"urn:uuid:{serial}"}), indent=1, allow_nan=False).encode()


def validate_mlbom(data: bytes) -> None:
    """Check a document against the official schema of CycloneDX 1.6, strictly.

    Raises InputError naming where it does not fit, MissingExtra where the validator is not installed.
    """
    try:
        from cyclonedx.exception import MissingOptionalDependencyException
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError as error:
        raise MissingExtra("checking an ML-BOM against its schema", "evidence") from error
    try:
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())
    except MissingOptionalDependencyException as error:
        raise MissingExtra("checking an ML-BOM against its schema", "evidence") from error
    except ValueError as error:
        raise InputError(f"the ML-BOM is not JSON: {error}") from error
    if problem is not None:
        where = "/".join(str(p) for p in getattr(problem.data, "absolute_path", ()))
        what = getattr(problem.data, "message", str(problem.data))
        raise InputError(f"the ML-BOM does not fit the schema of CycloneDX 1.6 at {where or 'its top'}: {what[:300]}")


def schema_check(data: bytes) -> str:
    """One sentence: whether the document was checked when it was written, by what, and what was found."""
    try:
        validate_mlbom(data)
    except MissingExtra as error:
        return f"not checked against the schema: {error}"
    except InputError as error:
        return f"FAILED: {error}"
    return f"valid CycloneDX 1.6 (strict schema, {_VALIDATOR} {installed(_VALIDATOR)})"


def _model(result: StudyResult, made: Delivered) -> Json:
    files = [
        {"type": "file", "bom-ref": name, "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
        for name, digest in made.files.items()
    ]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": n.clean(result.model.name),
        "version": made.digest[:12],
        "description": f"{w.readable(result.winner)}, made from {n.clean(result.model.name)} by primum",
        "pedigree": {"ancestors": [_original(result)], "notes": _lineage(result)},
        "components": files,
        "modelCard": _card(result, made),
    }


def _original(result: StudyResult) -> Json:
    model = result.model
    hashes = [{"alg": "SHA-256", "content": model.digest}] if len(model.digest) == _SHA256_DIGITS else None
    facts = _properties(parameters=model.parameters, weight_bytes=model.weight_bytes, digest=model.digest)
    return without_none(
        {
            "type": "machine-learning-model",
            "name": n.clean(model.name),
            "version": n.clean(model.digest[:12]),
            "hashes": hashes,
            "properties": facts,
        }
    )


def _lineage(result: StudyResult) -> str:
    notes = "; ".join(n.clean(note) for note in result.winner.notes)
    return (
        f"Recipe: {n.clean(result.winner.recipe)}. Ran as {n.clean(result.winner.precision_proven)} on "
        f"{n.clean(result.winner.provider)}. The ancestor's SHA-256 is of its weights as primum reads them; with a "
        f"factory, of the factory's name and the checkpoint's SHA-256.{f' Notes: {notes}' if notes else ''}"
    )


def _card(result: StudyResult, made: Delivered) -> Json:
    model, verdict = result.model, made.verdict
    given = _OUTPUTS.get(model.task, f"probabilities: {', '.join(n.clean(c) for c in model.classes)}")
    metrics = [metric for item in measured(verdict) for metric in _metrics(item, made)]
    margins = {f"margin_{p.name}": _number(p.margin) for p in (verdict.components if verdict else ())}
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": model.task.value,
            "datasets": [_dataset(result)],
            "inputs": [{"format": f"float32 (N, {', '.join(str(v) for v in model.input_shape)})"}],
            "outputs": [{"format": given}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [*metrics, *_agreement(made), *_speed(result)]},
        "considerations": _considerations(result, made),
        "properties": _properties(
            verdict=verdict.outcome.value if verdict else Outcome.NOT_ASSESSED.value,
            basis=verdict.basis.value if verdict else "none",
            judged_on=made.part,
            unproven=str(result.unproven).lower(),
            synthetic_data=str(result.data.synthetic).lower(),
            threshold=_number(result.policy.threshold),
            confidence=_number(result.policy.confidence),
            **margins,
            files_sha256=made.digest,
            machine=result.machine.fingerprint,
        ),
    }


def _dataset(result: StudyResult) -> Json:
    data = result.data
    kind = "synthetic cases" if data.synthetic else "health data"
    parts = {f"cases_{p.name}": p.cases for p in data.parts}
    return {
        "type": "dataset",
        "name": n.clean(data.name),
        "contents": {"properties": _properties(cases=data.cases, patients=data.patients, unit=data.unit, **parts)},
        "classification": kind,
        "sensitiveData": [f"{kind}: labelled cases that judged the model; none of them is in this document"],
    }


def _metrics(item: Measured, made: Delivered) -> list[Json]:
    """Original, delivered, and their paired difference with its interval."""
    part, where = item.part, _slice(item.group, made.part)
    bounds = (part.lower, part.upper)
    return [
        *_metric(f"{part.name}, original", part.reference, where),
        *_metric(f"{part.name}, delivered", part.candidate, where),
        *_metric(f"{part.name}, difference (negative is worse)", part.difference, where, bounds),
    ]


def _agreement(made: Delivered) -> list[Json]:
    if made.verdict is None:
        return []
    found, where = made.verdict.agreement, _slice("", made.part)
    return [
        *_metric("decisions changed", found.flips, where),
        *_metric("decisions changed, harmful", found.harmful, where),
        *_metric("largest difference of scores", found.max_abs_difference, where),
    ]


def _speed(result: StudyResult) -> list[Json]:
    where = f"one case a call; {n.clean(result.machine.cpu)}"
    new, old = result.final.get(result.winner.key), result.final.get(result.baseline.key)
    if new is None or old is None:
        return []
    return [
        *_metric("median latency in ms, original", old.p50, where),
        *_metric("median latency in ms, delivered", new.p50, where),
        *_metric("speed-up", result.speedup, where, result.speedup_interval),
    ]


def _metric(kind: str, value: float, where: str, interval: tuple[float, float] | None = None) -> list[Json]:
    if not isfinite(value):
        return []
    out: Json = {"type": n.clean(kind), "value": _number(value), "slice": where}
    bounds = zip(("lowerBound", "upperBound"), interval or ())
    held = {name: _number(bound) for name, bound in bounds if isfinite(bound)}
    return [{**out, "confidenceInterval": held} if held else out]


def _considerations(result: StudyResult, made: Delivered) -> Json:
    levels = made.verdict.subgroups if made.verdict else ()
    return {
        "users": ["to be filled in by the owner of the model"],
        "useCases": ["to be filled in by the owner of the model: primum changes no intended use"],
        "technicalLimitations": limitations(result, made),
        "ethicalConsiderations": [_risk(made)],
        "fairnessAssessments": [_fairness(level) for level in levels]
        or [{"groupAtRisk": "unknown", "harms": "the data name no groups: nothing is known about any of them"}],
    }


def limitations(result: StudyResult, made: Delivered) -> list[str]:
    """What the figures do not show, as sentences."""
    verdict = made.verdict
    out = ["The comparison is with the model given as the original; it does not say that the original is good."]
    if verdict is not None:
        out.append(
            f"Judged on {w.units(verdict)} of the {made.part} part, on one machine: {n.clean(result.machine.cpu)}."
        )
        out.extend(f"INSUFFICIENT: too few cases of {n.clean(name)} to decide." for name in verdict.insufficient)
    else:
        out.append("Not assessed.")
    if result.guard is not None:
        out.append(
            f"Guarded: near the decision boundary the original answers ({n.percent(result.guard.outcome.deferred)} of "
            f"the {result.guard.part} cases); a deferred case pays for both models."
        )
        out.extend(f"{n.clean(text)}." for text in result.guard.prior)
    if earlier := result.earlier_openings:
        out.append(f"Not a first look: the confirmation cases were opened {n.plural(len(earlier), 'time')} before.")
    out.extend(f"{n.clean(text)}." for text in (*earlier, *result.untold_openings))
    if result.unproven:
        out.append("UNPROVEN: delivered on request; nothing shows that it is no worse than the original.")
    if result.data.synthetic:
        out.append("SYNTHETIC DATA: nothing here says anything about real patients.")
    kinds = dict.fromkeys(item.part.name for item in measured(verdict) if not item.part.margin_given)
    if kinds:
        out.append(f"Margins of {', '.join(n.clean(k) for k in kinds)}: {w.DEFAULT}.")
    return out


def _risk(made: Delivered) -> Json:
    told = "not assessed"
    if made.verdict is not None:
        found = made.verdict.agreement
        told = f"{found.harmful} harmful of {found.flips} changed decisions among {made.verdict.n} cases"
    return {
        "name": f"A decision changed by the optimization harms a patient ({told})",
        "mitigationStrategy": "Non-inferiority gate with margins on paired cases; every changed decision is listed in "
        "flips.csv. The residual risk is for a human to judge.",
    }


def _fairness(level: SubgroupVerdict) -> Json:
    outcome = f"{level.outcome.value} on {n.plural(level.n, 'case')}"
    told = {
        Outcome.NON_INFERIOR: f"none shown beyond the margins: {outcome}",
        Outcome.INFERIOR: f"worse than the original by more than the margin: {outcome}",
    }
    return {
        "groupAtRisk": n.clean(f"{level.column}={level.value}"),
        "harms": told.get(level.outcome, f"not known, too little evidence: {outcome}"),
        "mitigationStrategy": "waived by name in the policy"
        if level.waived
        else "judged on its own at the same margins",
    }


def _slice(group: str, part: str) -> str:
    return n.clean(f"{group or 'all cases'}; {part} part")


def _properties(**values: object) -> list[Json]:
    return [{"name": f"primum:{name}", "value": n.clean(value)} for name, value in values.items()]


def _timestamp(created: str) -> str | None:
    """An RFC 3339 time, None where `created` is none."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return None
    return moment.isoformat() if moment.tzinfo else None


def _number(value: float) -> str:
    return f"{value:.6g}"
