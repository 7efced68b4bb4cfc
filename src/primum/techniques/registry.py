"""A technique is a frozen config type and one registered function; what may follow what is data beside them."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from primum.config import explain, nearest
from primum.errors import InputError, TrialError
from primum.files import sha256
from primum.hardware.machine import Machine
from primum.models.reference import import_own
from primum.models.signature import Signature
from primum.techniques.context import Context
from primum.techniques.network import NetworkFacts

if TYPE_CHECKING:
    import torch

__all__ = ["Context", "Stage", "Technique", "TechniqueConfig", "apply_all", "make", "name_of", "obstacle", "technique"]


class Stage(IntEnum):
    """When a technique comes: importance is measured before values are rounded (Harma et al. 2025, ICLR)."""

    PRUNE = 1
    DISTIL = 2
    QUANTIZE = 3
    LAYOUT = 4


class TechniqueConfig(BaseModel):
    """Base of all technique configs."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Apply = Callable[["torch.nn.Module", Any, Context], "torch.nn.Module"]
C = TypeVar("C", bound=type[TechniqueConfig])


@dataclass(frozen=True)
class Technique:
    """A registered technique: torch module in, torch module out."""

    name: str
    config: type[TechniqueConfig]
    apply: Apply
    stage: Stage
    trains: bool = False
    """Needs labelled training data; its outcome depends on the seed."""
    reshapes: bool = False
    """Changes the network's structure, so that the original's factory cannot hold its weights."""
    measures: bool = False
    """Chooses by measured latency: its outcome depends on the target."""
    torch_only: bool = False
    """Leaves modules that run in torch alone: no export."""
    obstacle: Callable[[Any, Machine], str | None] | None = None
    """Why a config cannot work on a machine, known before any time is spent."""
    rounds: Callable[[Any], str] | None = None
    """The precision, as runtimes name it, of arithmetic that it leaves in the torch module."""
    unfit: Callable[[Any, Signature], str | None] | None = None
    """Why a config means nothing for a model of such a signature, known before any time is spent."""
    module: Callable[[Any], str] | None = None
    """The module of the user's that a config names: what it makes depends on its code."""
    idle: Callable[[Any, NetworkFacts], str | None] | None = None
    """Why a config would find nothing to change in a network of such layers, known before any time is spent."""


_BY_NAME: dict[str, Technique] = {}
_BY_TYPE: dict[type[TechniqueConfig], Technique] = {}


def technique(
    name: str,
    apply: Apply,
    stage: Stage = Stage.QUANTIZE,
    *,
    trains: bool = False,
    reshapes: bool = False,
    measures: bool = False,
    torch_only: bool = False,
    obstacle: Callable[[Any, Machine], str | None] | None = None,
    rounds: Callable[[Any], str] | None = None,
    unfit: Callable[[Any, Signature], str | None] | None = None,
    module: Callable[[Any], str] | None = None,
    idle: Callable[[Any, NetworkFacts], str | None] | None = None,
) -> Callable[[C], C]:
    """Class decorator: register a config type under `name` with the function that applies it.

    A user's own takes part in a study like a built-in, from a module that can be imported. InputError where the name
    belongs to another module's config.
    """

    def register(config: C) -> C:
        known = _BY_NAME.get(name)
        if known is not None and (known.config.__module__, known.config.__qualname__) != (
            config.__module__,
            config.__qualname__,
        ):
            raise InputError(f"there is a technique {name!r} already ({known.config.__module__}): choose another name")
        entry = Technique(
            name, config, apply, stage, trains, reshapes, measures, torch_only, obstacle, rounds, unfit, module, idle
        )
        _BY_NAME[name] = _BY_TYPE[config] = entry
        return config

    return register


def technique_of(config: TechniqueConfig) -> Technique:
    """The registered technique of a config. InputError where its type was never registered."""
    if type(config) not in _BY_TYPE:
        raise InputError(
            f"{type(config).__name__} is no technique yet: decorate it with primum.technique(name, function)"
        )
    return _BY_TYPE[type(config)]


def name_of(config: TechniqueConfig) -> str:
    """The name under which a config's type is registered."""
    return technique_of(config).name


def names_that_train() -> frozenset[str]:
    """Names of the techniques that need training data."""
    return frozenset(name for name, entry in _BY_NAME.items() if entry.trains)


def obstacle(config: TechniqueConfig, machine: Machine) -> str | None:
    """Why this config cannot work on `machine`, or None."""
    if type(config).__module__ == "__main__":
        return "other processes cannot import the script that runs: put it into a module that can be imported"
    found = technique_of(config).obstacle
    return found(config, machine) if found else None


def unfit(config: TechniqueConfig, signature: Signature) -> str | None:
    """Why this config means nothing for a model of `signature`, or None."""
    found = technique_of(config).unfit
    return found(config, signature) if found else None


def keeps_layers(config: TechniqueConfig) -> bool:
    """Whether it leaves the kinds of layers that it found, as far as is known: a user's own may do anything."""
    found = technique_of(config)
    return not (found.torch_only or found.module) and type(config).__module__.startswith("primum.")


def idle(configs: Iterable[TechniqueConfig], network: NetworkFacts) -> str | None:
    """Why one of these configs, applied in order to such a network, would find nothing to change; or None.

    A user's own technique, and what leaves modules that run in torch alone, may make other layers: what follows them
    is not foretold.
    """
    for config in configs:
        found = technique_of(config)
        if found.idle and (why := found.idle(config, network)):
            return f"{found.name}: {why}"
        if not keeps_layers(config):
            return None
        network = network.reshaped() if found.reshapes else network
    return None


def rounds_to(config: TechniqueConfig) -> str | None:
    """The precision of the arithmetic that this config leaves in the torch module; None where it stays FP32."""
    found = technique_of(config).rounds
    return found(config) if found else None


def make(name: str, settings: dict[str, Any] | None) -> TechniqueConfig:
    """A config from its name and settings (as in a recipe file); "module:name" imports the user's module first.

    Raises InputError.
    """
    own, colon, plain = name.rpartition(":")
    if colon:
        import_own(own, f"technique {name}")
        name = plain
    if name not in _BY_NAME:
        raise InputError(f"no technique {name!r}; there are {', '.join(sorted(_BY_NAME))}{nearest(name, _BY_NAME)}")
    config = _BY_NAME[name].config
    try:
        return config.model_validate(settings or {})
    except ValidationError as error:
        raise InputError(f"technique {name}: {explain(error, config.model_fields)}") from error


def own_code(configs: Iterable[TechniqueConfig]) -> dict[str, str]:
    """SHA-256 of the source of each module of the user's that these configs run, by its name.

    What such a module imports in turn is not followed.
    """
    names = set()
    for config in configs:
        found = technique_of(config)
        names |= {type(config).__module__, *([found.module(config)] if found.module else [])}
    return {name: _source(name) for name in sorted(names) if name.split(".")[0] != "primum"}


@functools.cache
def _source(name: str) -> str:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    file = getattr(sys.modules.get(name), "__file__", None) or (spec.origin if spec is not None else None)
    return sha256(Path(file)) if file and Path(file).is_file() else ""


def in_order(configs: tuple[TechniqueConfig, ...]) -> None:
    """InputError where a technique of an earlier stage follows one of a later stage."""
    stages = [technique_of(c).stage for c in configs]
    for before, after, config in zip(stages, stages[1:], configs[1:]):
        if after < before:
            raise InputError(
                f"{name_of(config)} ({after.name.lower()}) cannot follow a technique that comes later "
                f"({before.name.lower()}): the order is prune, distil, quantize, layout"
            )


def apply_one(model: torch.nn.Module, config: TechniqueConfig, context: Context) -> torch.nn.Module:
    """Apply one technique, which may change `model` itself. TrialError where it gives no torch module."""
    from torch import nn

    made = technique_of(config).apply(model, config, context)
    if not isinstance(made, nn.Module):
        raise TrialError(f"{name_of(config)} returned {type(made).__name__}, not a torch module")
    return made


def apply_all(model: torch.nn.Module, configs: tuple[TechniqueConfig, ...], context: Context) -> torch.nn.Module:
    """Apply techniques in order to a copy of `model`."""
    import copy

    if not configs:
        return model
    model = copy.deepcopy(model)
    for config in configs:
        model = apply_one(model, config, context)
    return model.eval()
