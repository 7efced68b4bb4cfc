"""Guarded prediction: the fast model answers, and the original in its place where the fast score is near a boundary."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import Manifest
from primum.artifact.predictor import Guarded, Predictor, Proven, Session, run_rows
from primum.errors import IntegrityError
from primum.models.signature import Signature
from primum.validation.decisions import Rule
from primum.validation.leads import defers


@dataclass(frozen=True)
class Deferrals:
    """What a guarded session has done since it was opened."""

    cases: int
    deferred: int

    @property
    def share(self) -> float:
        """Share of cases that the original answered; 0 before the first case."""
        return self.deferred / self.cases if self.cases else 0.0


class GuardedSession:
    """Two sessions as one: raw outputs of `fast`, and of `reference` for the rows that `fast` decides too narrowly.

    Both give the same kind of raw output. A fast output that is not finite is always deferred.
    """

    batch_invariant = True

    def __init__(self, fast: Session, reference: Session, signature: Signature, rule: Rule, band: float) -> None:
        self.fast, self.reference = fast, reference
        self._signature, self._rule, self._band = signature, rule, band
        self._lock, self._cases, self._deferred = threading.Lock(), 0, 0
        notes = (f"guarded: within {band:.4g} of the decision boundary the original answers", *fast.proven.notes)
        self.proven = Proven(fast.proven.precision, fast.proven.provider, fast.proven.threads, notes)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, *input_shape) to float32 (N, outputs)."""
        return self.run_guarded(batch)[0]

    def run_guarded(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Raw outputs (N, outputs), and which rows the original answered (N,)."""
        raw = run_rows(self.fast, batch)
        deferred = defers(self._rule, self._signature.scores(raw), self._band)
        if deferred.any():
            raw = np.array(raw, copy=True)
            raw[deferred] = run_rows(self.reference, batch[deferred])
        with self._lock:
            self._cases += len(batch)
            self._deferred += int(deferred.sum())
        return raw, deferred

    @property
    def deferrals(self) -> Deferrals:
        """Cases seen and deferred so far."""
        with self._lock:
            return Deferrals(self._cases, self._deferred)

    def close(self) -> None:
        """Release both graphs."""
        self.fast.close()
        self.reference.close()


class GuardedPredictor(Predictor):
    """A guarded artifact, ready to predict: `predict` as ever, `predict_guarded` tells which answers were deferred."""

    session: GuardedSession

    def __init__(self, manifest: Manifest, session: GuardedSession) -> None:
        super().__init__(manifest, session)

    def predict_tensor_guarded(self, batch: NDArray[np.float32]) -> Guarded:
        """The same for a preprocessed batch, float32 (N, *input_shape)."""
        raw, deferred = self.session.run_guarded(self.checked(batch))
        return Guarded(self.manifest.signature.probabilities(raw), deferred)

    @property
    def deferrals(self) -> Deferrals:
        """Cases seen and deferred since the artifact was opened."""
        return self.session.deferrals


def guarded(manifest: Manifest, fast: Session, reference: Session) -> GuardedSession:
    """The session of a guarded artifact. Raises IntegrityError where its manifest names no guard."""
    if manifest.guard is None or manifest.rule is None:
        raise IntegrityError("the manifest names no guard, or a model that decides nothing cannot be guarded")
    return GuardedSession(fast, reference, manifest.signature, manifest.rule, manifest.guard.band)
