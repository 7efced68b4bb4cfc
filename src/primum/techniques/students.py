"""Students: smaller networks that answer in the original's place once `distill` has taught them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from primum.errors import InputError, MissingExtra, TrialError
from primum.hardware.machine import Machine, installed
from primum.models.reference import ModelReference, existing
from primum.models.signature import Signature
from primum.techniques.distillation.cost import Cost, cost
from primum.techniques.registry import Context, Stage, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch

_PROPOSED = ((0.75, 1.0), (0.5, 1.0), (0.25, 1.0), (1.0, 0.5), (0.5, 0.5))
"""(width, depth)."""
_CASES = 32
"""Cases on which the influence of blocks is measured."""


def _obstacle(config: Student, machine: Machine) -> str | None:
    if config.width < 1 and installed("torch-pruning") is None:
        return str(MissingExtra("a thinner student", "prune"))
    return None


def _student(model: torch.nn.Module, config: Student, context: Context) -> torch.nn.Module:
    signature = context.need_signature("student")
    before = cost(model, signature.input_shape)
    if config.depth < 1:
        model = _shallower(model, config.depth, signature, context)
    if config.width < 1:
        model = _thinner(model, config, context)
    after = cost(model, signature.input_shape)
    context.note(
        f"student: {after.parameters} of {before.parameters} parameters, {after.macs / 1e6:.4g} of "
        f"{before.macs / 1e6:.4g} million multiply-accumulates; weights are the original's, to be taught by distill"
    )
    return model


@technique("student", _student, Stage.DISTIL, reshapes=True, obstacle=_obstacle)
class Student(TechniqueConfig):
    """A thinner, shallower copy of the model at hand, which keeps the weights of what remains."""

    width: float = Field(0.5, gt=0, le=1)
    """Share of the channels of every layer that stay: those with the largest weights. Needs primum[prune]."""
    depth: float = Field(1.0, gt=0, le=1)
    """Share of the repeated blocks that stay: those that change most what goes through them."""
    round_to: int = Field(8, ge=1)
    """Channels left are a multiple of this where a layer is wide enough."""

    @model_validator(mode="after")
    def _smaller(self) -> Student:
        if self.width == self.depth == 1:
            raise ValueError("width 1 and depth 1 are the model itself: give one below 1")
        return self


def _given(model: torch.nn.Module, config: GivenStudent, context: Context) -> torch.nn.Module:
    import torch

    from primum.models.torch_module import build

    signature = context.need_signature("given_student")
    checkpoint = existing(Path(config.checkpoint)) if config.checkpoint else None
    # A factory draws its first weights: the same ones for the same seed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        found = build(ModelReference(factory=config.factory, checkpoint=checkpoint))
    for note in found.notes:
        context.note(note)
    shapes = []
    for network in (model, found.module):
        with torch.no_grad():
            shapes.append(tuple(network.eval()(torch.zeros(2, *signature.input_shape)).shape))
    if shapes[0] != shapes[1]:
        raise InputError(f"the student {config.factory} gives outputs {shapes[1]}, the original {shapes[0]}")
    context.note(f"student {config.factory}: {cost(found.module, signature.input_shape).parameters} parameters")
    return found.module


def _module(config: GivenStudent) -> str:
    return config.factory.partition(":")[0]


@technique("given_student", _given, Stage.DISTIL, reshapes=True, module=_module)
class GivenStudent(TechniqueConfig):
    """A student of the user's own, with the inputs and outputs of the original."""

    factory: str = Field(pattern=r"^[^:]+:[^:]+$")
    """module:function."""
    checkpoint: str | None = None


@dataclass(frozen=True)
class ProposedStudent:
    """A student that can be made of a model, and what it costs."""

    student: Student
    parameters: int
    macs: int
    """Multiply-accumulates for one case."""


def propose_students(
    model: torch.nn.Module, signature: Signature, context: Context | None = None
) -> tuple[ProposedStudent, ...]:
    """Students that can be made of `model`, the dearest first. `context` takes notes on those that cannot.

    Each is made once, to be counted; one that costs as much as the model or as another is left out.
    """
    import copy

    context = context or Context()
    seen: set[Cost] = {cost(model, signature.input_shape)}
    found = list[ProposedStudent]()
    for width, depth in _PROPOSED:
        config = Student(width=width, depth=depth)
        if width < 1 and installed("torch-pruning") is None:
            context.note(f"no student of width {width:g}: {MissingExtra('a thinner student', 'prune')}")
            continue
        trial = Context(context.seed, signature, context.calibration)
        try:
            price = cost(_student(copy.deepcopy(model), config, trial), signature.input_shape)
        except (InputError, TrialError) as error:
            context.note(f"no student of width {width:g} and depth {depth:g}: {error}")
            continue
        if price not in seen:
            seen.add(price)
            found.append(ProposedStudent(config, price.parameters, price.macs))
    return tuple(sorted(found, key=lambda s: (-s.macs, -s.parameters)))


def _shallower(model: torch.nn.Module, depth: float, signature: Signature, context: Context) -> torch.nn.Module:
    import numpy as np
    import torch

    from primum.techniques.distillation.depth import shorten

    known = context.calibration
    if known is None and context.train is not None:
        known = context.train.inputs
    if known is None or not len(known):
        context.note("no cases were given: blocks were ranked by their influence on noise")
        inputs = torch.randn(8, *signature.input_shape, generator=torch.Generator().manual_seed(context.seed))
    else:
        inputs = torch.from_numpy(np.array(known[:_CASES], dtype=np.float32))
    short = shorten(model, depth, inputs)
    context.note(f"left out {len(short.dropped)} of {short.blocks} blocks: {', '.join(short.dropped)}")
    return short.model


def _thinner(model: torch.nn.Module, config: Student, context: Context) -> torch.nn.Module:
    from primum.techniques.pruning.structured import PruneChannels, prune_channels

    removal = prune_channels(model, PruneChannels(ratio=1 - config.width, round_to=config.round_to), context)
    for note in removal.notes:
        context.note(note)
    return removal.model
