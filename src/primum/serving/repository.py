"""The models that a server holds."""

from __future__ import annotations

from collections.abc import Iterable

from primum.errors import InputError
from primum.serving.metrics import exposition
from primum.serving.model import ServedModel
from primum.serving.standing_metrics import StandingCollector


class Repository:
    """Models by name, started and stopped together."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        """Raises InputError where two have one name."""
        self._models: dict[str, ServedModel] = {}
        for model in models:
            if model.name in self._models:
                raise InputError(f"two models are called {model.name!r}: give names, as NAME=ARTIFACT")
            self._models[model.name] = model
        self.ready = False
        """Every model is loaded and measured, and the server takes requests."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(self._models)

    def get(self, name: str) -> ServedModel | None:
        """The model of that name."""
        return self._models.get(name)

    async def start(self) -> None:
        """Start every model."""
        for model in self._models.values():
            await model.start()
        self.ready = True

    async def stop(self) -> None:
        """Refuse what comes, answer what is here."""
        self.ready = False
        for model in self._models.values():
            await model.stop()

    def metrics(self) -> bytes:
        """All models' counters and gauges in Prometheus' text format."""
        standing = {name: (model.line, model.shadow, model.watch) for name, model in self._models.items()}
        return exposition({name: model.stats() for name, model in self._models.items()}, StandingCollector(standing))
