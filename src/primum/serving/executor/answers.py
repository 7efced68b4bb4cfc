"""What a served case is answered, as one row of numbers: so that a batch comes back as one array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import Manifest
from primum.task import Task
from primum.validation.leads import defers


class Answers:
    """Rows of float64: probabilities (or values), decisions, and of a guarded artifact whether the original is asked.

    A case without a finite answer is a row of NaN.
    """

    def __init__(self, manifest: Manifest) -> None:
        signature = manifest.signature
        self._signature, self._rule, self._task = signature, manifest.rule, signature.task
        self._thresholds = np.asarray(() if manifest.rule is None else manifest.rule.thresholds)
        self._shape = (len(signature.classes), *signature.spatial)
        self._columns = int(np.prod(self._shape))
        self._decided: tuple[int, ...] | None = {
            Task.REGRESSION: None,
            Task.SEGMENTATION: signature.spatial,
            Task.MULTILABEL: self._shape,
        }.get(signature.task, ())
        self._last = self._columns + (0 if self._decided is None else int(np.prod(self._decided)))
        self._band = None if manifest.guard is None else manifest.guard.band
        self.guarded = self._band is not None
        self.width = self._last + self.guarded

    def rows(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw outputs (N, ...) of a network to answers (N, width)."""
        count = len(raw)
        given = self._signature.probabilities(raw)
        rows = np.empty((count, self.width))
        flat = given if given.ndim == 2 else given.reshape(count, -1)
        rows[:, : self._columns] = flat
        self._decide(given, rows[:, self._columns : self._last])
        if self._band is not None and self._rule is not None:
            scores = given[:, self._signature.positive] if self._task is Task.BINARY else given
            rows[:, -1] = defers(self._rule, scores, self._band)
        finite = np.isfinite(flat)
        if not finite.all():
            rows[~finite.all(axis=1), : self._last] = np.nan
        return rows

    def deferred(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N,) whether the original is asked."""
        return rows[:, -1] == 1.0 if self.guarded else np.zeros(len(rows), np.bool_)

    def decisions(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The columns of decisions (N, D); D is 0 where nothing is decided."""
        return rows[:, self._columns : self._last]

    def named(self, rows: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Outputs by name of (N, width)."""
        count = len(rows)
        first = rows[:, : self._columns].reshape(count, *self._shape)
        if self._decided is None:
            return {"values": first}
        decided = rows[:, self._columns : self._last].astype(np.int64).reshape(count, *self._decided)
        named: dict[str, NDArray[Any]] = {"probabilities": first, "decision": decided}
        if self.guarded:
            named["deferred"] = rows[:, -1] == 1.0
        return named

    def _decide(self, given: NDArray[np.float64], into: NDArray[np.float64]) -> None:
        """As the manifest's rule decides, for cases with a finite answer; in fewer steps, since each request pays."""
        task = self._task
        if task is Task.BINARY:
            into[:, 0] = given[:, self._signature.positive] >= self._thresholds[0]
        elif task is Task.MULTILABEL:
            into[:] = given >= self._thresholds
        elif task is Task.SEGMENTATION:
            into[:] = given.argmax(axis=1).reshape(len(given), -1)
        elif task is not Task.REGRESSION:
            into[:, 0] = given.argmax(axis=1)
