"""Judge an artifact against its original on labelled cases: the gate alone, without a search."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primum.artifact.manifest import Manifest, read_manifest
from primum.config import ClinicalPolicy
from primum.data.evaluation import Exclusion, materialize
from primum.data.pseudonym import local_key, pseudonyms
from primum.data.readers import DataOptions, read_data
from primum.errors import InputError
from primum.models.reference import ModelReference
from primum.progress import Progress, Silent
from primum.study.judging import judged_cases, judged_scores
from primum.validation.gate import judge
from primum.validation.verdict import Verdict
from primum.workflows.original import open_isolated, original_beside


@dataclass(frozen=True)
class Validation:
    """The verdict on all cases of the data, which the caller says are new to model and artifact."""

    manifest: Manifest
    verdict: Verdict
    excluded: tuple[Exclusion, ...]


def validate(
    artifact: Path,
    model: ModelReference,
    data: Path,
    options: DataOptions | None = None,
    policy: ClinicalPolicy | None = None,
    skip_bad_files: bool = False,
    plain_case_ids: bool = False,
    progress: Progress | None = None,
) -> Validation:
    """Run original and artifact on every case, each in a process of its own, and judge.

    Labels must be the artifact's classes. The policy's threshold gives way to the artifact's own where none is given.
    Raises InputError, IntegrityError.
    """
    progress = progress or Silent()
    manifest = read_manifest(artifact)
    policy = policy or ClinicalPolicy(threshold=manifest.threshold)
    cases = read_data(data, options, manifest.preprocessing)
    if cases.classes != manifest.signature.classes:
        raise InputError(
            f"{data}: labels are {', '.join(cases.classes)}; "
            f"the artifact decides {', '.join(manifest.signature.classes)}"
        )
    with tempfile.TemporaryDirectory(prefix="primum-") as scratch:
        work = Path(scratch)
        progress.stage("Reading and preprocessing", len(cases))
        ready = materialize(
            cases,
            manifest.preprocessing,
            work / "inputs.npy",
            skip_bad_files,
            lambda done, _: progress.advance(done),
        )
        everything = np.arange(len(ready.cases))
        original = original_beside(model, manifest, ready.path, work / "original")
        scores = []
        for name, folder in (("original", work / "original"), ("artifact", artifact)):
            progress.stage(f"Running the {name}")
            process, _ = open_isolated(folder, ready.path, original)
            with process:
                raw = process.predict(ready.path, everything)
            scores.append(judged_scores(raw, ready, everything, manifest.signature))
    kept = ready.cases
    names = kept.case_ids if plain_case_ids else pseudonyms(kept.case_ids, local_key())
    judged = judged_cases(kept, names, manifest.signature)
    return Validation(manifest, judge(judged, scores[0], scores[1], policy), kept.excluded)
