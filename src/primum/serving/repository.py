"""The models that a server holds: started and stopped together, or one at a time while it serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple, TypeVar

from prometheus_client.core import Metric

from primum.artifact.manifest import UNPROVEN
from primum.errors import InputError, PrimumError
from primum.serving.model import ServedModel
from primum.serving.observability.metrics import ExecutorCollector, Families, TallyCollector, collected
from primum.serving.observability.standing_metrics import StandingCollector

_LOG = logging.getLogger("primum.serving")
_T = TypeVar("_T")


class Listed(NamedTuple):
    """A model as the repository extension lists it: READY or UNAVAILABLE, and why."""

    name: str
    version: str
    state: str
    reason: str


class Repository:
    """Models by name."""

    def __init__(self, models: Iterable[ServedModel], make: Callable[[str], ServedModel] | None = None) -> None:
        """`make` opens a model anew; without, one that was unloaded cannot be loaded. InputError where two have one
        name.
        """
        self._models: dict[str, ServedModel] = {}
        for model in models:
            if model.name in self._models:
                raise InputError(f"two models are called {model.name!r}: give names, as NAME=ARTIFACT")
            self._models[model.name] = model
        self._make = make
        self._all = tuple(self._models)
        self._locks = {name: asyncio.Lock() for name in self._all}
        self._changes: set[asyncio.Task[Any]] = set()
        self.welcome: Callable[[ServedModel], None] | None = None
        """Called with each model before it starts."""
        self.started = False
        """Every model is loaded and measured, and the server takes requests."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models that answer."""
        return tuple(name for name in self._all if name in self._models)

    @property
    def ready(self) -> bool:
        """The server takes requests, and can answer those for every model."""
        return self.started and all(model.alive for model in self._models.values())

    def get(self, name: str) -> ServedModel | None:
        """The model of that name; None where there is none, or it is unloaded."""
        return self._models.get(name)

    def index(self) -> tuple[Listed, ...]:
        """Every model, those that are unloaded too."""
        found = ((name, self._models.get(name)) for name in self._all)
        return tuple(
            Listed(name, "", "UNAVAILABLE", "unloaded")
            if model is None
            else Listed(name, model.rung.version, "READY", "")
            for name, model in found
        )

    async def load(self, name: str) -> bool:
        """Read a model's artifacts anew, or open one that was unloaded; False where nothing changed.

        Raises KeyError for a name that never was, else as `ServedModel.reload`: what answered goes on answering.
        Cancelled, it is finished all the same, and the log tells how.
        """
        return await self._finished(f"model {name!r} could not be loaded", self._load(name))

    async def unload(self, name: str) -> None:
        """Refuse what comes for a model, answer what is here, release it. KeyError for a name that never was.
        Cancelled, it is finished all the same.
        """
        await self._finished(f"model {name!r} could not be unloaded", self._unload(name))

    async def _finished(self, failed: str, change: Coroutine[Any, Any, _T]) -> _T:
        """A change in a task of its own: what it opened half-way would belong to nobody. Who asked may leave."""
        task = asyncio.ensure_future(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

        def told(task: asyncio.Task[_T]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                _LOG.error("%s: %s", failed, error if isinstance(error, PrimumError) else type(error).__name__)

        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(told)
            raise

    async def _load(self, name: str) -> bool:
        async with self._locks[name]:
            model = self._models.get(name)
            if model is not None:
                changed = await model.reload()
            elif self._make is None:
                raise InputError(f"model {name!r} cannot be opened again")
            else:
                model = await asyncio.to_thread(self._make, name)
                try:
                    await self._start(model)
                except BaseException:
                    await model.stop()
                    raise
                self._models[name], changed = model, True
        said = f"; {UNPROVEN}" if model.unproven else ""
        _LOG.warning("model %r was read anew: %s%s", name, model.rung.version if changed else "unchanged", said)
        return changed

    async def _unload(self, name: str) -> None:
        async with self._locks[name]:
            model = self._models.pop(name, None)
            if model is not None:
                await model.stop()
                _LOG.warning("model %r was unloaded", name)

    async def reload(self) -> dict[str, str]:
        """Read every loaded model's artifacts anew; by name "changed", "unchanged" or what went wrong."""
        ended = {}
        for name in self.names:
            try:
                ended[name] = "changed" if await self.load(name) else "unchanged"
            # Whatever it is, a runtime's own included: the other models are read all the same.
            except Exception as error:  # noqa: BLE001
                ended[name] = str(error) if isinstance(error, PrimumError) else type(error).__name__
                _LOG.error("model %r was not read anew: %s", name, ended[name])
        return ended

    async def start(self) -> None:
        """Start every model."""
        for model in self._models.values():
            await self._start(model)
        self.started = True

    async def _start(self, model: ServedModel) -> None:
        if self.welcome is not None:
            self.welcome(model)
        await model.start()

    async def stop(self) -> None:
        """Finish what is being loaded or unloaded, refuse what comes, answer what is here."""
        self.started = False
        while self._changes:
            await asyncio.wait(self._changes)
        for model in self._models.values():
            await model.stop()

    def families(self, *others: Families) -> list[Metric]:
        """All models' counters and gauges, and those of others."""
        models = self._models.items()
        return collected(
            {name: model.stats() for name, model in models},
            TallyCollector({name: (model.tally, model.asking) for name, model in models}),
            ExecutorCollector({name: model.executor_stats() for name, model in models}),
            StandingCollector({name: (model.line, model.shadow, model.watch) for name, model in models}),
            *others,
        )
