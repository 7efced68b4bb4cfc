"""The study on disk: one atomically renamed record a recipe, so that a kill at any moment loses nothing."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from primum.benchmark.timing import Timings
from primum.errors import InputError
from primum.files import storage, write_bytes, write_json
from primum.locking import Lock
from primum.study.trial import Trial, trial_from_json, trial_to_json

_RANKING = TypeAdapter(dict[str, Timings])
SHARING = "sharing"
"""Name of the record by which the leader of a study tells joiners what there is to do."""
_ASKED_S, _ASKS = 0.05, 10
"""A joiner that asks whether somebody leads holds the leader's lock for an instant."""


class Store:
    """Files below one folder: inputs, export, candidates, predictions, trials, records.

    One process leads the study (`locked`); others may join it (`joined`) and run trials, nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lead the study; raises InputError where another process does."""
        lock = Lock(self.folder / "lock")
        for left in reversed(range(_ASKS)):
            if lock.take(wait=False):
                break
            if not left:
                raise InputError(
                    f"{self.folder}: another run is working on this study; wait for it, join it (--join), or use "
                    "another --out"
                )
            time.sleep(_ASKED_S)
        with lock:
            (self.folder / f"{SHARING}.json").unlink(missing_ok=True)
            joiners = Lock(self._joiners)
            # What a joiner of an earlier leader is in the middle of writing is not left over.
            if not self._joiners.exists() or joiners.take(wait=False):
                self._sweep()
            joiners.release()
            yield

    @contextmanager
    def joined(self, worker: str) -> Iterator[Path]:
        """Take part beside the leader; yields a folder of this worker's own, which vanishes in the end."""
        own = self.folder / "workers" / worker
        joiners = Lock(self._joiners)
        joiners.take(shared=True)
        try:
            with storage(own):
                own.mkdir(parents=True, exist_ok=True)
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)
            joiners.release()

    @property
    def led(self) -> bool:
        """Whether some process leads this study now."""
        lock = Lock(self.folder / "lock")
        free = lock.take(wait=False, shared=True)
        lock.release()
        return not free

    @property
    def _joiners(self) -> Path:
        return self.folder / "joiners"

    def _sweep(self) -> None:
        """Remove what a killed run was in the middle of writing; finished files never have such names."""
        written = (".artifact-*", ".report.*.tmp", ".flips.*.tmp", "artifacts/.*")
        beside = (p for kind in written for p in self.folder.parent.glob(kind))
        hidden = (*self.folder.rglob(".*.tmp"), *self.folder.glob("candidates/.*"), *self.folder.glob(".*"))
        inside = (*hidden, *self.folder.glob("workers/*"))
        for left in (*inside, *beside):
            shutil.rmtree(left, ignore_errors=True)
            left.unlink(missing_ok=True)

    def claim(self, inputs: dict[str, Any]) -> bool:
        """Bind the study to its inputs; True where it goes on from an earlier run.

        Raises InputError naming what differs where the folder holds a study of other inputs.
        """
        if self.record("study") is None:
            self.keep("study", inputs)
            return False
        self.meet(inputs, "study", "choose another --out, or delete that folder to start again")
        return True

    def meet(self, inputs: dict[str, Any], name: str, advice: str) -> None:
        """InputError, naming what differs and giving `advice`, where the record `name` is not of these inputs."""
        known = self.record(name) or {}
        differing = sorted(k for k in {*known, *inputs} if known.get(k) != _plain(inputs.get(k)))
        if differing:
            raise InputError(
                f"{self.folder}: holds a study of other inputs (differs in: {', '.join(differing)}); {advice}"
            )

    def same_answers(self, answers: NDArray[np.float32]) -> None:
        """Keep the original's raw outputs on a few cases, or (InputError) find that it answers differently now."""
        known = self.scores("original", "answers")
        if known is None:
            self.keep_scores("original", "answers", np.asarray(answers, np.float64))
        elif known.shape != answers.shape or not np.allclose(known, answers, rtol=1e-3, atol=1e-3):
            raise InputError(
                f"{self.folder}: holds a study of another network: with the same weights, this one answers differently "
                "(was its code changed?); choose another --out, or delete that folder to start again"
            )

    def trial(self, key: str) -> Trial | None:
        """The trial of a recipe, None where it has not ended (an unreadable record counts as not ended)."""
        path = self.folder / "trials" / f"{key}.json"
        try:
            return trial_from_json(path.read_bytes())
        except (FileNotFoundError, ValidationError, ValueError):
            return None

    def save(self, trial: Trial) -> None:
        """Record a trial."""
        write_bytes(self.folder / "trials" / f"{trial.key}.json", trial_to_json(trial))

    def ranking(self, name: str) -> dict[str, Timings] | None:
        """Timings by key of candidates that ran side by side, None where they did not."""
        try:
            return _RANKING.validate_python(json.loads((self.folder / "rankings" / f"{name}.json").read_bytes()))
        except (FileNotFoundError, ValueError):
            return None

    def keep_ranking(self, name: str, timings: dict[str, Timings]) -> None:
        """Keep the timings of one common run."""
        plain = json.dumps(_RANKING.dump_python(timings, mode="json"))  # NaN stays NaN
        write_bytes(self.folder / "rankings" / f"{name}.json", plain.encode())

    @property
    def stages(self) -> Path:
        """Where networks that techniques changed are kept, by content."""
        return self.folder / "stages"

    def candidate(self, key: str) -> Path:
        """Where the candidate's files lie."""
        return self.folder / "candidates" / key

    def keep_scores(self, key: str, part: str, scores: NDArray[np.float64]) -> None:
        """Keep P(positive) of a candidate on a part."""
        import io

        buffer = io.BytesIO()
        np.save(buffer, scores)
        write_bytes(self.folder / "scores" / f"{key}-{part}.npy", buffer.getvalue())

    def scores(self, key: str, part: str) -> NDArray[np.float64] | None:
        """P(positive) of a candidate on a part, None where it was not kept."""
        path = self.folder / "scores" / f"{key}-{part}.npy"
        return np.load(path, allow_pickle=False) if path.is_file() else None

    def keep(self, name: str, value: dict[str, Any]) -> None:
        """Keep a record."""
        write_json(self.folder / f"{name}.json", value)

    def record(self, name: str) -> dict[str, Any] | None:
        """A kept record, None where there is none."""
        path = self.folder / f"{name}.json"
        try:
            return dict(json.loads(path.read_bytes())) if path.is_file() else None
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: is damaged; delete {self.folder} to start again") from error


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
