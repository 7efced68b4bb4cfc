"""Optuna's storage in one file of the study, an append-only journal that several processes share; and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from primum.files import storage
from primum.locking import Lock
from primum.study.space import Choice, Range


class KernelLock:
    """Who may append, as JournalFileBackend asks for it.

    Optuna's own lock, a link, outlives its holder by 30 s; this one ends with it.
    """

    def __init__(self, journal: Path) -> None:
        self._journal, self._lock = journal, Lock(journal.with_suffix(".lock"))

    def acquire(self) -> bool:
        """Wait for the lock, then cut off a line that a killed writer left unfinished: none could be read after it."""
        self._lock.take()
        with storage(self._journal), self._journal.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)
        return True

    def release(self) -> None:
        """Let the next one append."""
        self._lock.release()


def open_journal(path: Path) -> JournalStorage:
    """The storage in `path`, made where there is none."""
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return JournalStorage(JournalFileBackend(str(path), KernelLock(path)))


def distribution(setting: Choice | Range) -> Any:
    """A setting of a space as Optuna has it."""
    if isinstance(setting, Choice):
        return CategoricalDistribution(setting.values)
    return FloatDistribution(setting.low, setting.high, step=setting.step)
