"""A study that is asked for an artifact for each of two runtimes, as quick as can be."""

from collections.abc import Callable

import inline
import pytest
from studies import config

from primum.config import OptimizationConfig, OptimizationLevel
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.workflows import delivery

BOTH = ("openvino", "onnxruntime")
INT8 = tuple(Recipe(Target(runtime=name, precision="int8", threads=1)) for name in BOTH)


def asked(**more: object) -> OptimizationConfig:
    """Lossless runtimes, and what a test gives by hand."""
    return config(**{"runtimes": (), "deliver": BOTH, "level": OptimizationLevel.MINIMAL, **more})


def quicken(patch: pytest.MonkeyPatch) -> None:
    """In this process, hardly timed; and as networks this small gain little, every candidate counts as fast enough."""
    inline.patch(patch)
    patch.setattr("primum.study.select._GAIN", 0.0)
    patch.setattr("primum.benchmark.timing._BLOCK_MS", 2.0)
    for name in ("study.runner.TIMED_ROUNDS", "workflows.optimize.FINAL_ROUNDS", "workflows.optimize.STAGE_IMAGES"):
        patch.setattr(f"primum.{name}", 3)


def without_evidence(patch: pytest.MonkeyPatch) -> None:
    """Where what lies beside the models is not what is tested."""
    patch.setattr(delivery, "write_evidence", lambda result, place: None)
    patch.setattr("primum.workflows.claims.explain", lambda *args: None)


class Killed(BaseException):
    """What no step may catch."""


def dies(patch: pytest.MonkeyPatch, owner: object, name: str, after: int = 0) -> None:
    """The call after `after` others to `owner.name` never returns."""
    honest: Callable[..., object] = getattr(owner, name)
    calls = []

    def deadly(*args: object, **more: object) -> object:
        calls.append(1)
        if len(calls) > after:
            raise Killed
        return honest(*args, **more)

    patch.setattr(owner, name, deadly)
