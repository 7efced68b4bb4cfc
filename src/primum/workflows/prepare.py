"""Steps 1 to 3 of the main job: load the model and the data safely, check them, split by patient, plan."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy, OptimizationLevel, ResolvedConfig
from primum.data.evaluation import EvaluationSet, Materialized, materialize, materialize_masks
from primum.data.preprocessing import Color, Preprocessing
from primum.data.preprocessing_any import AnyPreprocessing
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.data.preprocessing_table import NumericColumn, TablePreprocessing
from primum.data.pseudonym import local_key, pseudonymous, pseudonyms
from primum.data.readers import read_data
from primum.data.sources import ArraySource, TableSource
from primum.data.split import FRACTIONS, Split, fractions, split
from primum.errors import InputError
from primum.files import sha256, write_bytes
from primum.hardware.machine import this_machine
from primum.models.signature import Signature
from primum.progress import Progress
from primum.study.judging import Judging
from primum.study.original import Original
from primum.study.result import DataSummary, ModelSummary, PartSummary
from primum.study.stages import TrainingFiles
from primum.study.store import Store
from primum.task import Task
from primum.validation.cases import PATIENT, say_copies, unit_without_patients
from primum.validation.decisions import rule_for
from primum.validation.operating import FrozenThreshold, freeze_threshold
from primum.validation.planning import Plan, plan
from primum.validation.views import questions
from primum.validation.waivers import demand_waivers
from primum.version import VERSION
from primum.workflows.examine import CHECKED_CASES, examine, forward, inspect
from primum.workflows.given import demand_structures
from primum.workflows.request import OptimizeRequest
from primum.workflows.training import check_training, prepare_training

_OLDER = (
    f"this study was begun by an older release, which kept {FRACTIONS['guard']:.0%} of patients for a guard, whatever "
    "the task: it goes on with these parts; in a new output folder they are confirmed on too"
)


@dataclass(frozen=True)
class Prepared:
    """Everything that trials need."""

    original: Original
    judging: Judging
    model: ModelSummary
    data: DataSummary
    power: dict[str, Plan]
    """Planned power by binary question ("" for a binary model); none for regression and segmentation."""
    answers: NDArray[np.float32]
    """Raw outputs of the original on a few cases: a network whose code was changed answers differently."""
    frozen: FrozenThreshold | None
    """How the threshold was set, where a rate to hold was asked for."""
    training: TrainingFiles | None = None
    """None: no --train-data, or nothing that trains was asked for."""


_BINDING = {"level", "objective", "threads", "runtimes", "deliver", "seed"}
_PARTS = "parts"
"""What the fingerprint of a study without a guard part calls that; older releases kept one for every task."""


def prepare(
    request: OptimizeRequest, resolved: ResolvedConfig, work: Path, progress: Progress, store: Store
) -> Prepared:
    """Load, check, split and plan; files go into `work`. `store` may hold the study already, which keeps its parts.

    Raises InputError (or a kin) on anything that cannot be used.
    """
    cases = read_data(request.data, request.options, request.preprocessing)
    _check_unit(request, cases, resolved)
    if cases.classes:  # before anything that takes long, where the data name their classes
        demand_waivers(resolved.policy, cases.groups, cases.task, cases.classes, str(request.data))
    if resolved.guard is not None and not cases.task.guardable:
        raise InputError(f"a {cases.task.value} model gives values, not decisions: leave out --guard")
    shape, weight_bytes, parameters, notes = inspect(request)
    preprocessing, more = _preprocessing(request, cases, shape)
    data = _materialize(request, cases, preprocessing, work, progress)
    units = data.cases.patients if data.cases.patients is not None else np.array(data.digests, dtype=np.str_)
    older = not cases.task.guardable and _begun_with_guard(store)
    parts = split(units, cases.task.guardable or older)
    _check_parts(data.cases, parts)
    leaked = check_training(request, data) if request.train_data else ()
    leaked += _repeated(data) + ((_OLDER,) if older else ())
    original, answers = examine(request, resolved, data, parts, preprocessing, work, progress)
    demand_waivers(resolved.policy, cases.groups, cases.task, original.signature.classes, str(request.data))
    if original.signature.task is Task.SEGMENTATION:
        data = materialize_masks(data, preprocessing, original.signature.spatial, len(original.signature.classes))
        demand_structures(data.masks)
    policy, frozen = _freeze(request, resolved.policy, original.signature, data, parts, units)
    original = replace(original, threshold=policy.threshold, thresholds=_thresholds(original.signature, policy))
    activation = original.signature.activation
    inferred = () if request.activation else (f"activation inferred from the outputs: {activation}",)
    binary = original.signature.task is Task.BINARY
    model = ModelSummary(
        name=str(request.model),
        digest=original.digest,
        parameters=parameters,
        weight_bytes=weight_bytes,
        input_shape=original.signature.input_shape,
        classes=original.signature.classes,
        positive=original.signature.classes[original.signature.positive] if binary else "",
        task=original.signature.task,
        notes=(*notes, *more, *inferred, *original.onnx_notes),
    )
    judging = Judging(data, parts, policy, _case_names(request, data.cases, work), request.independent)
    described = _describe(request, data.cases, parts, units, original.signature, leaked)
    power = _power(judging, units, original.signature)
    training = None
    if request.train_data is not None and _may_train(request, resolved):
        training = prepare_training(request, preprocessing, original.signature, work, progress)
    return Prepared(original, judging, model, described, power, answers, frozen, training)


def _begun_with_guard(store: Store) -> bool:
    """Whether the study was begun with a guard part; False of one that does not exist yet."""
    begun = store.record("study")
    return begun is not None and _PARTS not in begun


def _may_train(request: OptimizeRequest, resolved: ResolvedConfig) -> bool:
    levels = (OptimizationLevel.AGGRESSIVE, OptimizationLevel.MEDICAL_CRITICAL)
    return resolved.config.level in levels or any(r.trains for r in request.recipes)


def _power(judging: Judging, units: NDArray[np.str_], signature: Signature) -> dict[str, Plan]:
    """Planned power of the confirmation part, in patients: several cases of one may be no more evidence than one."""
    rows, policy = judging.split.confirmation, judging.policy
    own, found = units[rows], {}
    for asked in questions(judging.cases(rows, signature)):
        sick, well = (len(np.unique(own[asked.rows][asked.labels == answer])) for answer in (1, 0))
        found[asked.name] = plan(sick, well, policy.margins, confidence=policy.confidence)
    return found


def _freeze(
    request: OptimizeRequest,
    policy: ClinicalPolicy,
    signature: Signature,
    data: Materialized,
    parts: Split,
    units: NDArray[np.str_],
) -> tuple[ClinicalPolicy, FrozenThreshold | None]:
    """The policy with the threshold that holds the rate asked for, on the original's selection cases."""
    rule_for(signature.task, signature.classes, policy)
    point = policy.operating_point
    if point is None:
        return policy, None
    if signature.task is not Task.BINARY:
        raise InputError("a sensitivity or specificity can be held by the threshold of a binary model alone")
    rows = parts.selection
    blocks = [rows[i : i + CHECKED_CASES] for i in range(0, len(rows), CHECKED_CASES)]
    raw = np.concatenate([forward(request, np.asarray(data.inputs[block])) for block in blocks])
    labels = (data.cases.labels[rows] == signature.positive).astype(np.int64)
    frozen = freeze_threshold(
        labels, signature.scores(raw), point, units[rows], policy.confidence, "the selection part"
    )
    return policy.model_copy(update={"threshold": frozen.threshold}), frozen


def _thresholds(signature: Signature, policy: ClinicalPolicy) -> tuple[float, ...]:
    rule = rule_for(signature.task, signature.classes, policy)
    return rule.thresholds if rule is not None and signature.task is Task.MULTILABEL else ()


def _check_unit(request: OptimizeRequest, cases: EvaluationSet, resolved: ResolvedConfig) -> None:
    critical = resolved.config.level is OptimizationLevel.MEDICAL_CRITICAL
    if critical and cases.patients is None and not request.independent:
        raise InputError(
            "MEDICAL_CRITICAL needs to know which cases share a patient: give --patient-column, or declare with "
            "--independent that no patient has two"
        )


def _preprocessing(
    request: OptimizeRequest, cases: EvaluationSet, shape: tuple[int | None, ...] | None
) -> tuple[AnyPreprocessing, tuple[str, ...]]:
    if request.preprocessing is not None:
        return request.preprocessing, ()
    if isinstance(cases.source, TableSource):
        columns = tuple(NumericColumn(name=name) for name in request.options.feature_columns)
        return TablePreprocessing(columns=columns), ("no --preprocessing given: feature columns are taken as they are",)
    if isinstance(cases.source, ArraySource) and cases.source.label != "image":
        return ArrayPreprocessing(), ("no --preprocessing given: arrays are taken as they are",)
    if shape is None or len(shape) != 3:
        raise InputError("what the network takes cannot be told from it: give --preprocessing FILE.yaml")
    if shape[0] not in (1, 3):
        raise InputError(f"the network takes {shape[0]} channels; give --preprocessing FILE.yaml")
    color = Color.GREY if shape[0] == 1 else Color.RGB
    size = (shape[1], shape[2]) if shape[1] and shape[2] else None
    chosen = Preprocessing(color=color, size=size)
    note = f"no --preprocessing given: {color} images{f' resized to {size}' if size else ''}, scaled to 0..1"
    return chosen, (note,)


def _materialize(
    request: OptimizeRequest,
    cases: EvaluationSet,
    preprocessing: AnyPreprocessing,
    work: Path,
    progress: Progress,
) -> Materialized:
    progress.stage("Reading and preprocessing", len(cases))
    path = work / "inputs.npy"
    return materialize(cases, preprocessing, path, request.skip_bad_files, lambda done, _: progress.advance(done))


def _check_parts(cases: EvaluationSet, parts: Split) -> None:
    for name, rows in parts.parts().items():
        if name != "guard" and not len(rows):
            raise InputError(
                f"{len(cases)} cases are too few: the {name} part (about {fractions(parts.guarded)[name]:.0%} of "
                "patients) is empty"
            )


def _repeated(data: Materialized) -> tuple[str, ...]:
    """Cases that share their content with one of another patient (or name): not as much evidence as they look."""
    if data.cases.patients is None:
        copies = len(data.digests) - len(set(data.digests))
        return (say_copies(copies, len(data.digests)),) if copies else ()
    owners: dict[str, set[str]] = {}
    for item, patient in zip(data.digests, data.cases.patients):
        owners.setdefault(item, set()).add(str(patient))
    copies = sum(len(owners[item]) > 1 for item in data.digests)
    return (f"{copies} case(s) have the same content as a case of another patient",) if copies else ()


def _case_names(request: OptimizeRequest, cases: EvaluationSet, work: Path) -> NDArray[np.str_]:
    """What evidence calls the cases; the list that tells which is which stays in the study folder."""
    if request.plain_case_ids:
        return cases.case_ids
    listed = np.array([*cases.case_ids, *(e.case for e in cases.excluded)], dtype=np.str_)
    names = pseudonyms(listed, local_key())
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["case_id", "case"])
    writer.writerows(zip(names, listed))
    write_bytes(work / "case-names.csv", buffer.getvalue().encode())
    (work / "case-names.csv").chmod(0o600)
    return names[: len(cases)]


def _describe(
    request: OptimizeRequest,
    cases: EvaluationSet,
    parts: Split,
    units: NDArray[np.str_],
    signature: Signature,
    notes: tuple[str, ...],
) -> DataSummary:
    def part(name: str, rows: NDArray[np.int64]) -> PartSummary:
        return PartSummary(name, len(rows), len(np.unique(units[rows])), _counts(cases.labels[rows], signature))

    named = cases.patients is not None
    return DataSummary(
        name=request.data.name,
        cases=len(cases),
        patients=len(np.unique(units)),
        unit=PATIENT if named else unit_without_patients(request.independent),
        parts=tuple(part(name, rows) for name, rows in parts.parts().items()),
        groups={c: {str(v): int((g == v).sum()) for v in np.unique(g)} for c, g in cases.groups.items()},
        excluded=cases.excluded if request.plain_case_ids else pseudonymous(cases.excluded, local_key()),
        notes=cases.notes + notes,
        synthetic=request.synthetic,
        copies=0 if named else len(cases) - len(np.unique(units)),
    )


def _counts(labels: NDArray[Any], signature: Signature) -> dict[str, int]:
    """Cases by class; of several labels those that have each. Empty where there are no classes."""
    if signature.task in (Task.REGRESSION, Task.SEGMENTATION):
        return {}
    column = labels if signature.task is Task.MULTILABEL else labels[:, None] == np.arange(len(signature.classes))
    return {name: int((column[:, k] == 1).sum()) for k, name in enumerate(signature.classes)}


def fingerprint(prepared: Prepared, resolved: ResolvedConfig) -> dict[str, object]:
    """What binds a study to its inputs."""
    data = prepared.judging.data
    content = hashlib.sha256()
    for item, label in zip(data.digests, data.cases.labels):
        content.update(f"{item}{label.tolist()}".encode())
    if data.mask_path is not None:
        content.update(sha256(data.mask_path).encode())
    for column in [data.cases.patients, *data.cases.groups.values()]:
        content.update(b"" if column is None else "\n".join(map(str, column)).encode())
    without = {} if prepared.judging.split.guarded else {_PARTS: "no guard part"}
    return {
        "primum": VERSION,
        "machine": this_machine().fingerprint,
        "model": prepared.original.digest,
        "data": content.hexdigest(),
        "preprocessing": prepared.original.preprocessing.model_dump(mode="json"),
        "signature": prepared.original.signature.model_dump(mode="json"),
        "policy": prepared.judging.policy.model_dump(mode="json"),
        "guard": resolved.guard.model_dump(mode="json") if resolved.guard else None,
        "training": prepared.training.digest if prepared.training else None,
        **resolved.config.model_dump(mode="json", include=_BINDING),
        **without,
    }
