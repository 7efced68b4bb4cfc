"""What the evidence documents say alike of the delivered artifact: its files, its verdict, what was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from primum.files import sha256
from primum.reporting.wording import delivered_verdict
from primum.study.result import StudyResult
from primum.validation.verdict import Component, SubgroupVerdict, Verdict

_FOLDERS = ("model", "reference")


@dataclass(frozen=True)
class Delivered:
    """The delivered artifact. `files`: path inside the artifact -> SHA-256, of the models alone."""

    verdict: Verdict | None
    part: str
    """Part of the data that the verdict rests on."""
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the list of files as `sha256sum` prints it, sorted by path."""
        listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(listed.encode()).hexdigest()


@dataclass(frozen=True)
class Measured:
    """One endpoint, on all cases or on one level of a grouping column."""

    part: Component
    level: SubgroupVerdict | None = None

    @property
    def group(self) -> str:
        """For example "sex=F"; "" for all cases."""
        return "" if self.level is None else f"{self.level.column}={self.level.value}"


def delivered(result: StudyResult, artifact: Path) -> Delivered:
    """Read what is to be said of the delivered artifact; hashes its model files."""
    found = (p for folder in _FOLDERS for p in (artifact / folder).rglob("*") if p.is_file())
    files = {p.relative_to(artifact).as_posix(): sha256(p) for p in sorted(found)}
    opened = any(c.recipe == result.winner.recipe for c in result.confirmations)
    return Delivered(delivered_verdict(result), "confirmation" if opened else "selection", files)


def measured(verdict: Verdict | None) -> Iterator[Measured]:
    """Every endpoint of a verdict: of all cases first, then group by group."""
    if verdict is None:
        return
    yield from (Measured(part) for part in verdict.components)
    for level in verdict.subgroups:
        yield from (Measured(part, level) for part in level.components)
