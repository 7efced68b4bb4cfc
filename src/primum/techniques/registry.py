"""A technique is a frozen config type and one registered function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from primum.config import explain
from primum.errors import InputError

if TYPE_CHECKING:
    import torch


class TechniqueConfig(BaseModel):
    """Base of all technique configs."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Context:
    """What a technique may use beside its config."""

    seed: int = 0


Apply = Callable[["torch.nn.Module", Any, Context], "torch.nn.Module"]
C = TypeVar("C", bound=type[TechniqueConfig])
_BY_NAME: dict[str, type[TechniqueConfig]] = {}
_APPLY: dict[type[TechniqueConfig], Apply] = {}


def technique(name: str, apply: Apply) -> Callable[[C], C]:
    """Class decorator: register a config type under `name` with the function that applies it."""

    def register(config: C) -> C:
        _BY_NAME[name] = config
        _APPLY[config] = apply
        return config

    return register


def name_of(config: TechniqueConfig) -> str:
    """The name under which a config's type is registered."""
    return next(name for name, kind in _BY_NAME.items() if kind is type(config))


def make(name: str, settings: dict[str, Any] | None) -> TechniqueConfig:
    """A config from its name and settings (as in a recipe file). Raises InputError."""
    if name not in _BY_NAME:
        raise InputError(f"no technique {name!r}; there are {', '.join(sorted(_BY_NAME))}")
    try:
        return _BY_NAME[name].model_validate(settings or {})
    except ValidationError as error:
        raise InputError(f"technique {name}: {explain(error)}") from error


def apply_all(model: torch.nn.Module, configs: tuple[TechniqueConfig, ...], context: Context) -> torch.nn.Module:
    """Apply techniques in order to a copy of `model`."""
    import copy

    if not configs:
        return model
    model = copy.deepcopy(model)
    for config in configs:
        model = _APPLY[type(config)](model, config, context)
    return model.eval()
