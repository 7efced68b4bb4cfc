"""What every inference approach is: three stages behind one interface, so that a suite can time and judge them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any


class BaseInferenceWrapper(ABC):
    """One way to run a model, in three stages. Subclasses fill in the four abstract methods.

    `classes` names the two answers, negative then positive; without it a suite can time a wrapper but can judge it only
    against labels that are class names. `_load_model` is called once, before the first use, and timed as `load_ms`.
    `threads`, `precision`, `provider` and `notes` say what really runs; a suite copies them into its result.
    """

    classes: tuple[str, ...] = ()
    threads: int | None = None
    precision: str = ""
    provider: str = ""
    notes: tuple[str, ...] = ()
    load_ms: float | None = None
    _loaded = False

    def __init__(
        self, name: str, checkpoint_path: str | Path | Any | None = None, classes: Sequence[str] | None = None
    ) -> None:
        self.name, self.checkpoint_path = name, checkpoint_path
        if classes is not None:
            self.classes = tuple(classes)

    @abstractmethod
    def _load_model(self) -> None:
        """Load whatever the stages need."""

    @abstractmethod
    def preprocess(self, image: Any) -> Any:
        """One raw image to what `extract_features` takes."""

    @abstractmethod
    def extract_features(self, preprocessed: Any) -> Any:
        """The network, or all of it but the head."""

    @abstractmethod
    def classify(self, features: Any) -> tuple[str, float]:
        """(class name, confidence in that class, 0 to 1)."""

    def predict(self, image: Any) -> tuple[str, float]:
        """(class name, confidence) of one raw image: the three stages in turn."""
        self.prepare(image)
        return self.classify(self.extract_features(self.preprocess(image)))

    def prepare(self, image: Any) -> None:
        """Do what must be done before anything is timed; `image` is an example. Cheap when repeated."""
        if not self._loaded:
            began = time.perf_counter()
            self._load_model()
            if self.load_ms is None:
                self.load_ms = (time.perf_counter() - began) * 1e3
            self._loaded = True

    def close(self) -> None:  # noqa: B027
        """Release the model; nothing to do unless a subclass holds something."""

    def __enter__(self) -> BaseInferenceWrapper:
        """Return the wrapper itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
