"""What an exploration may vary: recipes that bisecting the share of channels does not reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from primum.errors import InputError
from primum.runtimes.base import RANGES, Target
from primum.study.planner import LeftOut
from primum.study.recipe import Recipe, recipe_of
from primum.study.trial import Trial
from primum.techniques.registry import TechniqueConfig, make

EPOCHS = 75
"""Epochs of a training that is proposed: its minutes end it where they are fewer, and anneal it either way."""
LEAST = 0.05
"""The smallest share of channels that is worth a training."""
_STEP = 0.01
_MOST_RECIPES = 500

Value = str | float | bool


@dataclass(frozen=True)
class Choice:
    """One of a few values without an order."""

    values: tuple[Value, ...]

    def holds(self, value: object) -> bool:
        """Whether it is one of them."""
        return value in self.values


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high` in steps, so that the keys of recipes are stable."""

    low: float
    high: float
    step: float

    def holds(self, value: object) -> bool:
        """Whether it lies on the grid."""
        if not isinstance(value, int | float):
            return False
        steps = (value - self.low) / self.step
        return -1e-6 <= steps <= (self.high - self.low) / self.step + 1e-6 and abs(steps - round(steps)) < 1e-6


@dataclass(frozen=True)
class Space:
    """The settings of a study, and what became of them so far.

    network: the original, or pruned and taught by the original (`ratio`, `importance`, `scope` of prune_channels;
    `share` of the minutes of one training, `temperature`, `alpha`, `mixup` of distill). numbers: fp32, INT8 calibrated
    (with the `ranges` of the runtime, and bias_correction in OpenVINO), INT8 learned in training. runtime: one that
    worked.
    """

    runtimes: tuple[str, ...]
    """Graph runtimes in which the original runs in FP32."""
    integers: tuple[str, ...]
    """Those of them in which INT8 worked."""
    threads: int | None
    trains: bool
    """Techniques may change the network, and there are data to train on."""
    most: float
    """Largest share of channels."""
    minutes: float
    """Of one training."""

    @property
    def settings(self) -> Mapping[str, Choice | Range]:
        """Every setting by its name; which of them a recipe has hangs on the others."""
        numbers = ("fp32", *["int8"] * bool(self.integers), *["qat"] * bool(self.integers and self.trains))
        return {
            "network": Choice(("original", *["pruned"] * (self.trains and self.most >= LEAST))),
            "ratio": Range(LEAST, max(_rounded(self.most), LEAST), _STEP),
            "importance": Choice(("magnitude", "taylor")),
            "scope": Choice(("layer", "global")),
            "share": Range(0.5, 1.0, 0.25),
            "temperature": Choice((2.0, 4.0, 8.0, 16.0)),
            "alpha": Range(0.5, 1.0, 0.1),
            "mixup": Choice((0.2, 1.0)),
            "runtime": Choice(self.runtimes),
            "numbers": Choice(numbers),
            **{f"ranges_{name}": Choice(RANGES[name]) for name in self.integers},
            "bias_correction": Choice((False, True)),
        }

    def recipe(self, choose: Callable[[str], Any]) -> Recipe:
        """The recipe of the values that `choose` gives for the settings it is asked for."""
        techniques: tuple[TechniqueConfig, ...] = ()
        if choose("network") == "pruned":
            prune = {"ratio": _rounded(choose("ratio")), "importance": choose("importance"), "scope": choose("scope")}
            minutes = self.minutes * _rounded(choose("share"))
            taught = {name: choose(name) for name in ("temperature", "mixup")} | {"alpha": _rounded(choose("alpha"))}
            taught["epochs"] = EPOCHS
            techniques = (make("prune_channels", prune), make("distill", {"max_minutes": minutes, **taught}))
        runtime, numbers, more = choose("runtime"), choose("numbers"), dict[str, Any]()
        if numbers == "qat":
            techniques = (*techniques, make("qat", {"max_minutes": self.minutes / 2}))
        if numbers == "int8" and runtime in self.integers:
            more["ranges"] = choose(f"ranges_{runtime}")
            if runtime == "openvino":
                more["bias_correction"] = choose("bias_correction")
        precision = "fp32" if numbers == "fp32" else "int8"
        return Recipe(Target(runtime=runtime, precision=precision, threads=self.threads, **more), techniques)

    def obstacle(self, recipe: Recipe) -> str | None:
        """Why a recipe of this space cannot work, or None."""
        target = recipe.target
        if target.precision == "int8" and target.runtime not in self.integers:
            return f"INT8 did not work in {target.runtime}"
        return None

    def float_stages(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """The recipes, one a runtime, of the same network before it was quantized; none where nothing trained it."""
        before = tuple(t for t in recipe.techniques if t != make("qat", {"max_minutes": self.minutes / 2}))
        if recipe.target.precision == "fp32" or not before:
            return ()
        return tuple(Recipe(Target(runtime=name, threads=self.threads), before) for name in self.runtimes)

    def values_of(self, recipe: Recipe) -> dict[str, Value] | None:
        """The settings that give this very recipe; None where it is not of this space."""
        asked: dict[str, Value] = {}
        source, settings = _described(recipe, self.minutes), self.settings

        def choose(name: str) -> Value:
            value = source.get(name)
            if not settings[name].holds(value):
                raise _NotHereError(name)
            assert value is not None
            asked[name] = value
            return value

        try:
            return asked if self.recipe(choose) == recipe else None
        except (_NotHereError, InputError, ValueError):
            return None

    def recipes(self) -> tuple[Recipe, ...] | None:
        """Every recipe of the space; None where they are too many to be listed."""
        found: dict[str, Recipe] = {}
        pending: list[tuple[Value, ...]] = [()]
        while pending:
            given = pending.pop()
            taken: list[str] = []

            def choose(name: str, given: tuple[Value, ...] = given, taken: list[str] = taken) -> Value:
                if len(taken) == len(given):
                    raise _NotHereError(name)
                taken.append(name)
                return given[len(taken) - 1]

            try:
                recipe = self.recipe(choose)
            except _NotHereError as missing:
                setting = self.settings[str(missing)]
                if isinstance(setting, Range):
                    return None
                pending += [(*given, value) for value in setting.values]
                continue
            found[recipe.key] = recipe
            if len(found) > _MOST_RECIPES:
                return None
        return tuple(found.values())


def space_of(
    trials: Sequence[Trial], threads: int | None, trains: bool, most: float, minutes: float
) -> Space | LeftOut:
    """The space that these trials leave open: graph runtimes in which the original ran, and INT8 where it did."""
    plain = [(t, recipe_of(t).target) for t in trials if t.ok and t.self_contained and not recipe_of(t).techniques]
    graph = [(t, target) for t, target in plain if target.runtime in RANGES]
    runtimes = tuple(sorted({target.runtime for t, target in graph if t.lossless}))
    integers = tuple(sorted({target.runtime for _, target in graph if target.precision == "int8"} & {*runtimes}))
    if not runtimes:
        return LeftOut("exploration", "no graph runtime runs the original")
    space = Space(runtimes, integers, threads, trains, most, minutes)
    if not integers and "pruned" not in _network(space).values:
        return LeftOut("exploration", "nothing can vary: INT8 worked nowhere, and nothing can be trained")
    return space


def _network(space: Space) -> Choice:
    found = space.settings["network"]
    assert isinstance(found, Choice)
    return found


class _NotHereError(Exception):
    """A setting that has no value here."""


def _rounded(value: float) -> float:
    return round(float(value), 2)


def _described(recipe: Recipe, minutes: float) -> dict[str, Value | None]:
    """What the recipe says of each setting; `Space.values_of` checks that it says nothing else."""
    steps = recipe.to_dict()["techniques"]
    said = {name: settings for step in steps for name, settings in step.items()}
    prune, taught = said.get("prune_channels", {}), said.get("distill", {})
    target = recipe.target
    return {
        "network": "pruned" if prune else "original",
        **{name: prune.get(name) for name in ("ratio", "importance", "scope")},
        "share": (taught.get("max_minutes") or 0.0) / minutes,
        "temperature": taught.get("temperature"),
        "alpha": taught.get("alpha"),
        "mixup": taught.get("mixup"),
        "runtime": target.runtime,
        "numbers": "qat" if "qat" in said else target.precision,
        f"ranges_{target.runtime}": target.ranges,
        "bias_correction": target.bias_correction,
    }
