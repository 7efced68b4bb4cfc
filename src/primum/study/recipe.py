"""A recipe is data: techniques in order, then one target. It prints as one line and hashes stably."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from primum.config import explain, nearest
from primum.errors import InputError
from primum.hardware.machine import Machine
from primum.models.signature import Signature
from primum.runtimes.base import NAMES, PRECISIONS, Target, get_runtime
from primum.study.trial import Trial
from primum.techniques.network import NetworkFacts
from primum.techniques.registry import (
    TechniqueConfig,
    idle,
    in_order,
    make,
    name_of,
    obstacle,
    own_code,
    technique_of,
    unfit,
)


@dataclass(frozen=True)
class Recipe:
    """What is done to the original, and where the outcome runs."""

    target: Target
    techniques: tuple[TechniqueConfig, ...] = ()
    seed: int = 0
    """Of training; a recipe that trains is tried with several."""

    def __str__(self) -> str:
        """For example prune_channels(ratio=0.5) -> openvino[int8]: main settings, and what differs from defaults."""
        steps = " -> ".join([*(_call(t) for t in self.techniques), str(self.target)])
        return f"{steps}, seed {self.seed}" if self.seed else steps

    @property
    def trains(self) -> bool:
        """Whether a technique of it needs training data."""
        return any(technique_of(t).trains for t in self.techniques)

    def obstacle(
        self, machine: Machine, signature: Signature | None = None, network: NetworkFacts | None = None
    ) -> str | None:
        """Why it cannot work on `machine`, for a model of `signature` or a `network` of such layers, known before any
        time is spent; or None.
        """
        for config in self.techniques:
            used = technique_of(config)
            if why := obstacle(config, machine):
                return f"{used.name}: {why}"
            if signature is not None and (why := unfit(config, signature)):
                return f"{used.name}: {why}"
            if used.torch_only and get_runtime(self.target.runtime).needs_onnx:
                return (
                    f"{used.name} leaves modules that {self.target.runtime} cannot run: it works in torch alone; "
                    "give it the runtime torchscript"
                )
            if (used.reshapes or used.torch_only) and get_runtime(self.target.runtime).keeps_weights_only:
                able = "torchscript" if used.torch_only else "torchscript, onnxruntime or openvino"
                return (
                    f"{self.target.runtime} keeps weights for the original's factory, which {used.name} does not fit; "
                    f"give it the runtime {able}"
                )
        return idle(self.techniques, network) if network is not None else None

    @property
    def key(self) -> str:
        """Twelve hex digits that depend on the content alone, the code of a user's own technique included."""
        plain, own = self.to_dict(), own_code(self.techniques)
        canonical = json.dumps({**plain, "code": own} if own else plain, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def exact(self) -> bool:
        """Whether it keeps the original's weights and arithmetic: FP32 in some runtime, nothing else."""
        return not self.techniques and self.target.precision == "fp32"

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` gives back an equal recipe."""
        techniques = [{name_of(t): t.model_dump(mode="json")} for t in self.techniques]
        plain: dict[str, Any] = {"techniques": techniques, "target": self.target.model_dump(mode="json")}
        return {**plain, "seed": self.seed} if self.seed else plain

    @classmethod
    def from_dict(cls, raw: Any) -> Recipe:
        """Raises InputError naming what is wrong."""
        keys = ("target", "techniques", "seed")
        if not isinstance(raw, dict) or "target" not in raw or set(raw) - {*keys}:
            wrong = sorted(map(str, set(raw) - {*keys})) if isinstance(raw, dict) else []
            named = f", not {wrong[0]!r}{nearest(wrong[0], keys)}" if wrong else ""
            raise InputError(f"a recipe has the keys target and techniques, and may have a seed{named}")
        try:
            target = Target.model_validate(raw["target"])
        except ValidationError as error:
            raise InputError(f"recipe target: {explain(error, Target.model_fields)}") from error
        if target.runtime not in NAMES:
            raise InputError(
                f"no runtime {target.runtime!r}; there are {', '.join(NAMES)}{nearest(target.runtime, NAMES)}"
            )
        if target.precision not in get_runtime(target.runtime).precisions:
            possible = ", ".join(get_runtime(target.runtime).precisions)
            known = "" if target.precision in PRECISIONS else f" ({target.precision!r} is no precision)"
            raise InputError(f"{target.runtime} runs {possible}{known}, not {target.precision}")
        listed = raw.get("techniques") or []
        if not isinstance(listed, list) or not all(isinstance(t, dict) and len(t) == 1 for t in listed):
            raise InputError("techniques is a list with one name and its settings in each entry")
        seed = raw.get("seed", 0)
        if not isinstance(seed, int) or seed < 0:
            raise InputError(f"the seed of a recipe is a whole number, not {seed!r}")
        techniques = tuple(make(name, settings) for t in listed for name, settings in t.items())
        in_order(techniques)
        return cls(target, techniques, seed)


def recipe_of(trial: Trial) -> Recipe:
    """The recipe that a trial's record holds."""
    return Recipe.from_dict(trial.recipe_data)


def read_recipes(path: Path) -> tuple[Recipe, ...]:
    """Recipes from a YAML file: one, or a list of them. Raises InputError."""
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read the recipes {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    return tuple(Recipe.from_dict(item) for item in (raw if isinstance(raw, list) else [raw]))


def write_recipes(recipes: tuple[Recipe, ...]) -> str:
    """The recipes as YAML that `read_recipes` reads back."""
    return yaml.safe_dump([r.to_dict() for r in recipes], sort_keys=False)


def _call(config: TechniqueConfig) -> str:
    fields = type(config).model_fields
    first = next(iter(fields), None)
    # The first setting is the main one: how much is removed, how long is trained.
    settings = {
        k: v for k, v in config.model_dump().items() if k == first or fields[k].is_required() or v != fields[k].default
    }
    named = ", ".join(f"{k}={v}" for k, v in settings.items())
    return f"{name_of(config)}({named})" if named else name_of(config)
