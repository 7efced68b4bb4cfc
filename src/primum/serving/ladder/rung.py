"""An accepted artifact, open to be asked: its fast network, and of a guarded one its original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from primum.artifact.manifest import Manifest, artifact_digest, read_manifest
from primum.errors import InputError
from primum.serving.executor.answers import Answers
from primum.serving.executor.program import Executor, Network, Program
from primum.serving.wire.body import Parameters
from primum.validation.verdict import Outcome

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rung:
    """One way to answer a model's requests."""

    folder: Path
    manifest: Manifest
    digest: str
    """SHA-256 of the manifest, and through it of every file."""
    answers: Answers
    program: Program
    reference: Program | None
    """Of a guarded artifact: its original, asked about the cases that the fast network decides too narrowly."""

    @property
    def version(self) -> str:
        """The artifact, in short."""
        return self.digest[:12]

    @property
    def unproven(self) -> bool:
        """Delivered with --accept-inconclusive: nothing shows that it is no worse than its original."""
        return self.manifest.unproven

    @property
    def said(self) -> Parameters:
        """What the parameters of each answer of the protocol say of it; nothing where it is proven."""
        return {"unproven": True} if self.unproven else {}

    @property
    def programs(self) -> tuple[Program, ...]:
        """All its networks."""
        return (self.program,) if self.reference is None else (self.program, self.reference)


def open_rung(folder: Path, executor: Executor, factory: Callable[[], torch.nn.Module] | None = None) -> Rung:
    """Verify and load an artifact. Raises as `primum.load`; nothing stays open then."""
    manifest = read_manifest(folder)
    program = executor.open(Network(folder, manifest, factory=factory))
    try:
        reference = None
        if manifest.guard is not None:
            reference = executor.open(Network(folder, manifest, reference=True, factory=factory))
    except BaseException:
        executor.close(program)
        raise
    return Rung(folder, manifest, artifact_digest(folder), Answers(manifest), program, reference)


def check_ladder(name: str, rungs: Sequence[Manifest]) -> None:
    """Raises InputError where artifacts are not forms of one model, all proven: the server may change among them."""
    if len(rungs) < 2:
        return
    first = rungs[0]
    for number, manifest in enumerate(rungs, 1):
        which = f"model {name!r}: artifact {number} ({manifest.recipe})"
        if manifest.verdict != Outcome.NON_INFERIOR or manifest.unproven:
            raise InputError(f"{which} is {manifest.verdict}, not proven: a ladder is of accepted artifacts only")
        if manifest.parent_hash != first.parent_hash:
            raise InputError(f"{which} was made of another original than the first")
        for what in ("signature", "rule", "preprocessing"):
            if getattr(manifest, what) != getattr(first, what):
                raise InputError(f"{which} has another {what} than the first: requests would be answered differently")
