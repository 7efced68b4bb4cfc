"""What a user writes beside primum: techniques and quantization managers, some that work and some that do not."""

import os
import signal
import time

import torch
from torch import nn

import primum
from primum.techniques.registry import Context, Stage


def _shrink(model: nn.Module, config: "Shrink", context: Context) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.0 - config.by)
    context.note(f"every weight is {config.by:.2%} smaller")
    return model


@primum.technique("own_shrink", _shrink, Stage.DISTIL)
class Shrink(primum.TechniqueConfig):
    """Make every weight smaller."""

    by: float = 0.001


def _head(model: nn.Module, config: "TeachHead", context: Context) -> nn.Module:
    """A few steps of the head alone towards the teacher's outputs, on training cases."""
    data, teacher = context.need_train("own_teach_head"), context.teacher
    assert teacher is not None
    inputs = torch.from_numpy(data.inputs[:64].copy())
    with torch.no_grad():
        features, wanted = model.features(inputs), teacher(inputs)
    optimizer = torch.optim.SGD(model.head.parameters(), lr=1e-6)
    for _ in range(config.steps):
        optimizer.zero_grad()
        (model.head(features) - wanted).pow(2).mean().backward()
        optimizer.step()
    context.note(f"taught on {len(inputs)} of {len(data)} cases, {len(set(data.units.tolist()))} patients")
    return model


@primum.technique("own_teach_head", _head, Stage.DISTIL, trains=True)
class TeachHead(primum.TechniqueConfig):
    """Train the head."""

    steps: int = 3


def _bad(model: nn.Module, config: "Bad", context: Context) -> object:
    if config.how == "raises":
        raise ZeroDivisionError("own reason: no such scale")
    if config.how == "exits":
        raise SystemExit("own exit")
    if config.how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.how == "no module":
        return {"weights": 3}
    if config.how == "other outputs":
        model.head = nn.Linear(model.head.in_features, 3)
    if config.how == "nan":
        with torch.no_grad():
            model.head.weight.fill_(float("nan"))
    return model


@primum.technique("own_bad", _bad)
class Bad(primum.TechniqueConfig):
    """Go wrong."""

    how: str


def _hang(model: nn.Module, config: "Hang", context: Context) -> nn.Module:
    time.sleep(3600)
    return model


@primum.technique("own_hang", _hang, trains=True)
class Hang(primum.TechniqueConfig):
    """Never end."""


def _slow(model: nn.Module, config: "Slow", context: Context) -> nn.Module:
    time.sleep(float(os.environ.get("OWN_SLEEP_S", "0")))
    return model


@primum.technique("own_slow", _slow)
class Slow(primum.TechniqueConfig):
    """Change nothing, and take as long as the environment says."""


class Unregistered(primum.TechniqueConfig):
    """Lacks its decorator."""


class Rounding(primum.QuantizationManager):
    """A user's own scheme: symmetric weights of `bits` bits, a scale for each row."""

    def __init__(self, bits: int = 8, **settings: object) -> None:
        super().__init__(**settings)
        if bits > 16:
            raise ValueError("own limit: at most 16 bits")
        self.bits = bits

    def _custom_quantization_logic(self, model: nn.Module) -> nn.Module:
        if self.calibration_loader is None:
            raise RuntimeError("own manager was given no calibration cases")
        levels = 2 ** (self.bits - 1) - 1
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    step = parameter.flatten(1).abs().amax(1).clamp(min=1e-12) / levels
                    step = step.reshape(-1, *[1] * (parameter.ndim - 1))
                    parameter.copy_(torch.round(parameter / step) * step)
        return model


class Packed(primum.QuantizationManager):
    """Linear layers in torch's own dynamic INT8."""

    def _custom_quantization_logic(self, model: nn.Module) -> nn.Module:
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


class Failing(primum.QuantizationManager):
    """Raises when it quantizes."""

    def _custom_quantization_logic(self, model: nn.Module) -> nn.Module:
        raise LookupError("own table is empty")


class Undecided(primum.QuantizationManager):
    """Leaves the choice to the manager, which a recipe must not."""

    def _custom_quantization_logic(self, model: nn.Module) -> nn.Module | None:
        return None
