"""The layers of a network, as far as it depends on them what a technique can do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError)
"""What networks raise at inputs that they do not take."""
_PACKED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torchao.", "bitsandbytes.")


@dataclass(frozen=True)
class NetworkFacts:
    """What is known before any technique was applied."""

    kinds: frozenset[str]
    """Names of the classes of all modules, and of what these derive from."""
    weighted: tuple[str, ...] = ()
    """Names of the classes of those that hold weights, sorted."""
    linear: tuple[tuple[int, int], ...] | None = None
    """(inputs, outputs) of every Linear layer; None where they are not known (any more)."""

    def reshaped(self) -> NetworkFacts:
        """After a technique that changes how wide layers are, but not of what kind."""
        return replace(self, linear=None)

    def lacks(self, *kinds: str) -> str | None:
        """What is there instead, where no layer is of these kinds; None where one is."""
        if self.kinds & {*kinds}:
            return None
        return f"the network has no {' or '.join(kinds)} layer ({', '.join(self.weighted) or 'no weights'})"


def torch_alone(model: torch.nn.Module) -> tuple[str, ...]:
    """Names and kinds of the layers that torch's own INT8 kernels, torchao or bitsandbytes compute: no exporter knows
    them."""

    def packed(module: torch.nn.Module) -> bool:
        kinds = [type(module), *(type(p.data) for p in module.parameters(recurse=False))]
        return any(kind.__module__.startswith(_PACKED) for kind in kinds)

    def told(module: torch.nn.Module) -> str:
        return f"{type(module).__module__.split('.modules')[0]}.{type(module).__name__}"

    found: dict[str, str] = {}
    for name, module in model.named_modules():
        # Parts of a layer that is named already are no layers.
        if packed(module) and not any(name.startswith(f"{outer}.") or not outer for outer in found):
            found[name] = f"{name or 'the model itself'}, {told(module)}"
    return tuple(found.values())


def network_facts(model: torch.nn.Module) -> NetworkFacts:
    """The facts of `model`. Attention of torch counts as the Linear layers that techniques make of it."""
    from torch import nn

    kinds = {base.__name__ for module in model.modules() for base in type(module).__mro__}
    attention = [m for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
    weighted = {type(m).__name__ for m in model.modules() if any(p.ndim >= 2 for p in m.parameters(recurse=False))}
    linear = [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)]
    # It projects to queries, keys and values by one weight of three times its width.
    linear += [(width, m.embed_dim) for m in attention for width in (m.embed_dim, m.kdim, m.vdim)]
    return NetworkFacts(frozenset(kinds | ({"Linear"} if attention else set())), tuple(sorted(weighted)), tuple(linear))


def refusal(model: torch.nn.Module, cases: torch.Tensor) -> str | None:
    """What `model`, in evaluation mode, says to these cases; None where it takes them. It is left as it was."""
    import torch

    training = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            model(cases)
        return None
    except _FAILURES as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    finally:
        for module, was in training.items():
            module.training = was
