"""The study on disk: one atomically renamed record a recipe, so that a kill at any moment loses nothing."""

from __future__ import annotations

import fcntl
import json
import shutil
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
from primum.study.trial import Trial, trial_from_json, trial_to_json

_RANKING = TypeAdapter(dict[str, Timings])


class Store:
    """Files below one folder: inputs, export, candidates, predictions, trials, records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study; raises InputError where another process does."""
        with storage(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / "lock").open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"{self.folder}: another run is working on this study; wait for it, or use another --out"
                ) from error
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what a killed run was in the middle of writing; finished files never have such names."""
        written = (".artifact-*", ".report.*.tmp", ".flips.*.tmp", "artifacts/.*")
        beside = (p for kind in written for p in self.folder.parent.glob(kind))
        inside = (*self.folder.rglob(".*.tmp"), *self.folder.glob("candidates/.*"), *self.folder.glob(".*"))
        for left in (*inside, *beside):
            shutil.rmtree(left, ignore_errors=True)
            left.unlink(missing_ok=True)

    def claim(self, inputs: dict[str, Any]) -> bool:
        """Bind the study to its inputs; True where it goes on from an earlier run.

        Raises InputError naming what differs where the folder holds a study of other inputs.
        """
        known = self.record("study")
        if known is None:
            self.keep("study", inputs)
            return False
        differing = sorted(k for k in {*known, *inputs} if known.get(k) != _plain(inputs.get(k)))
        if differing:
            raise InputError(
                f"{self.folder}: holds a study of other inputs (differs in: {', '.join(differing)}); "
                "choose another --out, or delete that folder to start again"
            )
        return True

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
