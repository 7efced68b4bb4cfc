"""manifest.json: what an artifact is, and the SHA-256 of each of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from primum.config import explain
from primum.data.preprocessing_any import AnyPreprocessing
from primum.errors import InputError, IntegrityError
from primum.files import sha256, write_bytes
from primum.models.signature import Signature
from primum.task import Task
from primum.validation.decisions import Rule

SCHEMA_VERSION: Literal[1] = 1
NAME = "manifest.json"
UNPROVEN = "UNPROVEN: nothing shows that this artifact is no worse than the original"
"""What every surface says of an artifact that was delivered with --accept-inconclusive."""


class Guard(BaseModel):
    """How a guarded artifact defers to the original, which lies in its reference/ folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    band: float = Field(gt=0)
    """Largest distance from the decision boundary at which the original answers."""
    epsilon: float
    """Bound on P(a patient has a decision that changed undetected)."""
    delta: float | None
    """The bound holds with confidence 1 - delta; None: on average over draws of guard patients."""
    by_class: bool
    strict: bool
    patients: int
    """Guard patients that the band was set on."""
    deferred: float
    """Share of cases deferred where the artifact was judged."""
    reference: dict[str, Any]
    """Target of the original: runtime, precision, threads, layout."""


class Manifest(BaseModel):
    """Everything a loader needs to know, and what was proven of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = SCHEMA_VERSION
    primum_version: str
    created: str
    signature: Signature
    threshold: float
    """Decision threshold on P(positive)."""
    thresholds: tuple[float, ...] = ()
    """MULTILABEL: one a label, in the order of the classes; empty: `threshold` for each."""
    units: str = "probability"
    target: dict[str, Any]
    """Runtime, precision asked, threads, layout."""
    runtime_version: str
    precision_proven: str
    """What really ran, read back from the runtime."""
    provider: str
    """Execution provider or device, read back."""
    recipe: str
    """The recipe as one line."""
    parent_hash: str
    """SHA-256 of the original model."""
    preprocessing: AnyPreprocessing
    factory: str | None = None
    """module:callable that builds the network, for runtimes that keep weights only."""
    verdict: str = "NOT_ASSESSED"
    unproven: bool = False
    """True: delivered with --accept-inconclusive; nothing proves that it is no worse."""
    machine: str = ""
    """Fingerprint of the machine that judged it."""
    notes: tuple[str, ...] = ()
    guard: Guard | None = None
    """Present: reference/ holds the original, which answers near the decision boundary."""
    files: dict[str, str] = {}
    """Path inside the artifact -> SHA-256."""

    @property
    def rule(self) -> Rule | None:
        """How scores become decisions; None where the model decides nothing (regression, segmentation)."""
        task, labels = self.signature.task, len(self.signature.classes)
        if task in (Task.REGRESSION, Task.SEGMENTATION):
            return None
        if task is Task.MULTILABEL:
            return Rule(task, self.thresholds or (self.threshold,) * labels)
        return Rule(task, (self.threshold,) if task is Task.BINARY else ())


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file in `folder` and write its manifest; returns it with the hashes."""
    files = {name: sha256(folder / name) for name in sorted(_present(folder))}
    sealed = manifest.model_copy(update={"files": files})
    write_bytes(folder / NAME, sealed.model_dump_json(indent=1).encode())
    return sealed


def artifact_digest(folder: Path) -> str:
    """SHA-256 of the manifest, and through it of every file: what identifies an artifact as a whole.

    Whoever can change the folder can change the manifest too; only a digest kept elsewhere shows that nobody did.
    """
    return sha256(folder / NAME)


def read_manifest(folder: Path) -> Manifest:
    """Parse and check an artifact before anything else of it is opened.

    Raises InputError where `folder` is no artifact, IntegrityError where a file is changed, missing or unlisted.
    """
    path = folder / NAME
    if not path.is_file():
        raise InputError(f"{folder}: not an artifact (no {NAME})")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise IntegrityError(f"{path}: not a manifest of this version of primum ({explain(error)})") from error
    present = _present(folder)
    listed = set(manifest.files)
    if present != listed:
        changed = sorted(present ^ listed)
        what = "is not listed in" if changed[0] in present else "is missing, though listed in"
        raise IntegrityError(f"{folder}: {changed[0]} {what} the manifest; nothing was opened. Use an intact copy")
    for name, expected in manifest.files.items():
        if (folder / name).is_symlink() or sha256(folder / name) != expected:
            raise IntegrityError(f"{folder}: {name} does not match its SHA-256; nothing was opened. Use an intact copy")
    return manifest


def _present(folder: Path) -> set[str]:
    """Everything in the artifact but its manifest and its plain folders; links count, wherever they lead."""
    found = (p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    return {p.relative_to(folder).as_posix() for p in found} - {NAME}
