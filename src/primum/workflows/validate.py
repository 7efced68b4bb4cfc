"""Judge an artifact against its original on labelled cases: gate and scores alone, without a search."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import Manifest, artifact_digest, read_manifest
from primum.config import MEDICAL_ACCURACY, ClinicalPolicy, ValidationConfig
from primum.data.evaluation import EvaluationSet, Exclusion, Materialized, materialize, materialize_masks
from primum.data.ledger import VALIDATION, Ledger
from primum.data.pseudonym import local_key, pseudonymous, pseudonyms
from primum.data.readers import DataOptions, read_data
from primum.errors import InputError
from primum.files import size_of
from primum.hardware.machine import this_machine
from primum.models.reference import ModelReference
from primum.models.signature import Signature
from primum.progress import Progress, Silent
from primum.reporting.data import plain
from primum.runtimes.base import Target
from primum.study.judging import judged_cases, judged_scores, judgement_digest
from primum.study.labelling import fit_masks_of
from primum.study.recipe import Recipe
from primum.task import Task
from primum.validation.assessment import Assessment, assess
from primum.validation.cases import Cases
from primum.validation.checklist import Record
from primum.validation.decisions import rule_for
from primum.validation.fit import demand_fit, fit_of
from primum.validation.gate import judge
from primum.validation.guard_check import GuardCheck, GuardPromise, check_guard
from primum.validation.operating import FrozenThreshold, freeze_threshold
from primum.validation.verdict import Outcome, Verdict
from primum.validation.waivers import demand_waivers
from primum.version import VERSION
from primum.workflows.given import demand_structures
from primum.workflows.looks import say_prior, uncomparable
from primum.workflows.original import open_isolated, original_beside

FORMAT = "primum-validation/1"


@dataclass(frozen=True)
class Validation:
    """The verdict on all cases of the data, which the caller says are new to model and artifact."""

    manifest: Manifest
    policy: ClinicalPolicy
    """As it was in force, with the threshold that was held."""
    verdict: Verdict
    assessment: Assessment
    excluded: tuple[Exclusion, ...]
    data_name: str
    data_digest: str
    """Of the judged cases' content and labels."""
    size_bytes: int
    notes: tuple[str, ...] = ()
    prior_openings: tuple[str, ...] = ()
    """Earlier looks at these cases, by the ledger of this user and machine, as sentences."""
    uncomparable_openings: tuple[str, ...] = ()
    """Openings of an older release, of which nobody can tell whether they were of these cases."""
    guard: GuardCheck | None = None
    """Of a guarded artifact: whether what its guard promised holds on these patients."""

    @property
    def passed(self) -> bool:
        """Shown to be no worse, and no promise of its guard shown to be broken.

        The verdict itself is not changed by a broken bound: it asks whether the artifact as delivered, guard included,
        decides no worse within the margins, and undetected changes count there. The bound is a promise of its own,
        about every changed decision, for the better too. Who relies on it must not take the artifact for sound, so
        the exit status is that of one that is not proven.
        """
        return self.verdict.outcome is Outcome.NON_INFERIOR and not (self.guard is not None and self.guard.exceeded)

    def as_data(self) -> dict[str, Any]:
        """What `primum validate --json` prints, and `--previous` reads."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "machine": plain(this_machine()),
            "recipe": self.manifest.recipe,
            "parent_hash": self.manifest.parent_hash,
            "unproven": self.manifest.unproven,
            "size_bytes": self.size_bytes,
            "data": {"name": self.data_name, "digest": self.data_digest},
            "policy": plain(self.policy),
            "verdict": plain(self.verdict),
            "assessment": plain(self.assessment),
            "guard": plain(self.guard),
            "excluded": plain(self.excluded),
            "notes": list(self.notes),
            "prior_openings": list(self.prior_openings),
            "uncomparable_openings": list(self.uncomparable_openings),
        }


def validate(
    artifact: Path,
    model: ModelReference,
    data: Path,
    options: DataOptions | None = None,
    policy: ClinicalPolicy | None = None,
    skip_bad_files: bool = False,
    plain_case_ids: bool = False,
    progress: Progress | None = None,
    config: ValidationConfig | None = None,
    independent: bool = False,
) -> Validation:
    """Run original and artifact on every case, each in a process of its own, judge, and assess.

    Labels must be the artifact's classes. Without a policy the artifact's thresholds hold; a policy that holds a rate
    freezes its threshold on the original's scores of these cases. Without a config 0.98 of the accuracy is to be
    retained. Where the data name no patients the distinct input is the unit of evidence; `independent` declares that no
    patient has two cases, which the verdict says. The look is recorded in the ledger first. Of a guarded artifact the
    fast network runs by itself too: against the original's decisions it tells what the guard lets through.
    Raises InputError (labels that speak of other classes than the outputs among its reasons), IntegrityError.
    """
    progress = progress or Silent()
    config = config or ValidationConfig(accuracy_threshold=MEDICAL_ACCURACY)
    manifest = read_manifest(artifact)
    policy = policy or own_policy(manifest)
    cases = read_data(data, _options(options or DataOptions(), manifest), manifest.preprocessing)
    _check_classes(cases, manifest, data)
    demand_waivers(policy, cases.groups, cases.task, manifest.signature.classes, str(data))
    with tempfile.TemporaryDirectory(prefix="primum-") as scratch:
        ready = _materialized(cases, manifest, Path(scratch), skip_bad_files, progress)
        kept = ready.cases
        names = kept.case_ids if plain_case_ids else pseudonyms(kept.case_ids, local_key())
        contents = np.array(ready.digests, dtype=np.str_)
        judged = judged_cases(kept, contents, names, manifest.signature, independent)
        prior, untold = _look(artifact, manifest, policy, ready)
        said = _scores(artifact, model, manifest, ready, judged, Path(scratch), progress)
        digest = _digest(ready)
    reference, candidate = said.reference, said.candidate
    policy, frozen, notes = _held(policy, judged, reference, manifest)
    verdict = judge(judged, reference, candidate, policy, exported=_exported(manifest))
    records = {} if plain_case_ids else {Record.PSEUDONYMS: "this report"}
    return Validation(
        manifest=manifest,
        policy=policy,
        verdict=verdict,
        assessment=assess(judged, reference, candidate, policy, verdict, config, records, frozen),
        excluded=kept.excluded if plain_case_ids else pseudonymous(kept.excluded, local_key()),
        data_name=data.name,
        data_digest=digest,
        size_bytes=size_of(artifact / "model"),
        notes=(*kept.notes, *said.odd, *notes, *_elsewhere(policy, judged, manifest)),
        prior_openings=prior,
        uncomparable_openings=untold,
        guard=_guard_check(manifest, judged, said.fast, reference, policy.confidence),
    )


def _look(
    artifact: Path, manifest: Manifest, policy: ClinicalPolicy, ready: Materialized
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Record this look in the ledger, before any model runs; what it knows of earlier ones, as sentences."""
    parts = [VALIDATION, artifact_digest(artifact), manifest.parent_hash, policy.model_dump_json()]
    parts.append(judgement_digest(ready, np.arange(len(ready.cases))))
    mine, ledger = hashlib.sha256("\n".join(parts).encode()).hexdigest(), Ledger()
    prior = tuple(say_prior(before, share, "cases") for before, share in ledger.prior(ready.digests, mine))
    ledger.record(ready.digests, mine, VALIDATION)
    return prior, uncomparable(ledger.uncomparable())


def _exported(manifest: Manifest) -> bool:
    """Whether the artifact is the original's own weights at full precision: its recipe names nothing but a target."""
    plain = manifest.recipe == str(Recipe(Target.model_validate(manifest.target)))
    return plain and manifest.guard is None and manifest.target.get("precision") == "fp32"


def own_policy(manifest: Manifest) -> ClinicalPolicy:
    """Default margins at the artifact's own thresholds."""
    return with_own_thresholds(ClinicalPolicy(threshold=manifest.threshold), manifest)


def with_own_thresholds(policy: ClinicalPolicy, manifest: Manifest) -> ClinicalPolicy:
    """The policy with the artifact's thresholds of single labels, where it has them."""
    own = dict(zip(manifest.signature.classes, manifest.thresholds))
    return policy.model_copy(update={"thresholds": own}) if own else policy


def _options(options: DataOptions, manifest: Manifest) -> DataOptions:
    """What the data were not said to be, the artifact says."""
    signature = manifest.signature
    task = options.task or signature.task
    named = task in (Task.MULTICLASS, Task.ORDINAL) and not options.classes
    return replace(options, task=task, classes=signature.classes if named else options.classes)


def _check_classes(cases: EvaluationSet, manifest: Manifest, data: Path) -> None:
    decides, found = manifest.signature.classes, cases.classes
    if cases.task is not manifest.signature.task or (found and found != decides):
        unknown = len(set(found) - set(decides)) if cases.task in (Task.BINARY, Task.MULTICLASS, Task.ORDINAL) else 0
        # How many, not which: a column named by mistake may hold patients' names.
        told = (
            f"{unknown} of {len(found)} labels are not the artifact's" if unknown else f"labels are {', '.join(found)}"
        )
        raise InputError(
            f"{data}: {told} ({cases.task.value}); "
            f"the artifact decides {', '.join(decides)} ({manifest.signature.task.value})"
        )


def _materialized(
    cases: EvaluationSet, manifest: Manifest, work: Path, skip_bad_files: bool, progress: Progress
) -> Materialized:
    progress.stage("Reading and preprocessing", len(cases))
    ready = materialize(
        cases, manifest.preprocessing, work / "inputs.npy", skip_bad_files, lambda done, _: progress.advance(done)
    )
    if manifest.signature.task is not Task.SEGMENTATION:
        return ready
    signature = manifest.signature
    ready = materialize_masks(ready, manifest.preprocessing, signature.spatial, len(signature.classes))
    demand_structures(ready.masks)
    return ready


class _Said(NamedTuple):
    """Scores (N, ...) of original and artifact; of a guarded one those of its fast network alone too."""

    reference: NDArray[np.float64]
    candidate: NDArray[np.float64]
    fast: NDArray[np.float64] | None
    odd: tuple[str, ...]
    """About how the original's fit the labels."""


def _scores(
    artifact: Path,
    model: ModelReference,
    manifest: Manifest,
    ready: Materialized,
    judged: Cases,
    work: Path,
    progress: Progress,
) -> _Said:
    everything = np.arange(len(ready.cases))
    original = original_beside(model, manifest, ready.path, work / "original")
    scores: list[NDArray[np.float64]] = []
    odd: tuple[str, ...] = ()
    alone = None
    for name, folder in (("original", work / "original"), ("artifact", artifact)):
        progress.stage(f"Running the {name}")
        process, _ = open_isolated(folder, ready.path, original)
        with process:
            raw = process.predict(ready.path, everything)
            if folder == artifact and manifest.guard is not None:
                alone = process.predict_fast(ready.path, everything)
        scores.append(judged_scores(raw, ready, everything, manifest.signature))
        if name == "original":
            odd = _demand_fit(raw, scores[0], ready, judged, manifest.signature)
    fast = None if alone is None else judged_scores(alone, ready, everything, manifest.signature)
    return _Said(scores[0], scores[1], fast, odd)


def _guard_check(
    manifest: Manifest,
    cases: Cases,
    fast: NDArray[np.float64] | None,
    reference: NDArray[np.float64],
    confidence: float,
) -> GuardCheck | None:
    """What the guard promised, held against these patients, at the artifact's own thresholds."""
    guard, rule = manifest.guard, manifest.rule
    if guard is None or rule is None or fast is None:
        return None
    promise = GuardPromise(guard.epsilon, guard.delta, guard.by_class, guard.strict, guard.band)
    return check_guard(promise, rule, cases.classes, fast, reference, cases.units, confidence)


def _elsewhere(policy: ClinicalPolicy, cases: Cases, manifest: Manifest) -> tuple[str, ...]:
    """What must be said where the verdict is of other decisions than the guard's promise."""
    if manifest.guard is None or rule_for(cases.task, cases.classes, policy) == manifest.rule:
        return ()
    return ("the guard is checked at the artifact's own threshold, around which its band lies; the verdict is not",)


def _demand_fit(
    raw: NDArray[np.float32], scores: NDArray[np.float64], ready: Materialized, judged: Cases, signature: Signature
) -> tuple[str, ...]:
    """What is odd about how the original's answers fit the labels; InputError where they do not."""
    mend = "Look whether labels changed places, and mend the labels of these cases: the artifact's outputs stand for"
    if signature.task is not Task.SEGMENTATION:
        fit = fit_of(judged, scores)
        return demand_fit(fit, f"{mend} {', '.join(signature.classes)}, in this order")
    fit = fit_masks_of(ready.masks, judged, signature, raw)
    return demand_fit(fit, f"{mend} {', '.join(signature.classes)}, from 0 on in the masks")


def _held(
    policy: ClinicalPolicy, cases: Cases, reference: NDArray[np.float64], manifest: Manifest
) -> tuple[ClinicalPolicy, FrozenThreshold | None, tuple[str, ...]]:
    """The policy with the threshold that holds the rate asked for, and what must be said of it."""
    if policy.operating_point is None:
        return policy, None, _other_threshold(policy, cases, manifest)
    if cases.task is not Task.BINARY:
        raise InputError("a sensitivity or specificity can be held by the threshold of a binary model alone")
    where = "these very cases (the original's scores alone)"
    frozen = freeze_threshold(cases.labels, reference, policy.operating_point, cases.units, policy.confidence, where)
    note = (
        f"judged at {frozen.threshold:.4g}, where the original has the {frozen.held} of {frozen.asked:g} on these very "
        f"cases; the artifact itself decides at {manifest.threshold:g}"
    )
    return policy.model_copy(update={"threshold": frozen.threshold}), frozen, (note,)


def _other_threshold(policy: ClinicalPolicy, cases: Cases, manifest: Manifest) -> tuple[str, ...]:
    """What must be said where the policy's thresholds are not those that the artifact decides at."""
    rule, own = rule_for(cases.task, cases.classes, policy), manifest.rule
    if rule is None or own is None or rule.thresholds == own.thresholds:
        return ()
    at, delivered = (", ".join(f"{t:g}" for t in dict.fromkeys(r.thresholds)) for r in (rule, own))
    return (f"judged at {at}, which the policy names; the artifact itself decides at {delivered}",)


def _digest(ready: Materialized) -> str:
    content = hashlib.sha256()
    for item, label in zip(ready.digests, ready.cases.labels):
        content.update(f"{item}{label}".encode())
    return content.hexdigest()
