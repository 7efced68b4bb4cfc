"""A module as a torch.fx graph, for techniques that must know which layer feeds which."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from primum.errors import InputError, TrialError

if TYPE_CHECKING:
    import torch
    from torch import fx

_WEIGHTLESS = (
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "AlphaDropout",
    "Identity",
)


def trace(model: torch.nn.Module) -> fx.GraphModule:
    """The graph of `model` in evaluation mode; its submodules are the model's own, not copies.

    Raises TrialError where the forward function decides by the values or the size of a tensor.
    """
    from torch import fx

    model.eval()
    try:
        return fx.symbolic_trace(model)
    # Tracing runs the user's own forward function on stand-ins: it raises whatever that raises.
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else ""
        raise TrialError(f"torch.fx cannot trace {type(model).__name__}: {type(error).__name__}: {first}") from error


def calls_of(graph: fx.Graph) -> dict[str, list[fx.Node]]:
    """The nodes that call each submodule, by its name: more than one where the module is shared."""
    found: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            found.setdefault(str(node.target), []).append(node)
    return found


def module_at(model: torch.nn.Module, node: object) -> torch.nn.Module | None:
    """The submodule that a node calls; None for any other node."""
    if getattr(node, "op", None) != "call_module":
        return None
    return model.get_submodule(str(node.target))  # type: ignore[attr-defined]


def only_user(node: fx.Node) -> fx.Node | None:
    """The one node that uses this one's result; None where there are several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def changes_nothing(module: torch.nn.Module | None) -> bool:
    """Whether a module hands its input on unchanged in evaluation mode."""
    return type(module).__name__ in _WEIGHTLESS


def set_module(model: torch.nn.Module, name: str, new: torch.nn.Module) -> None:
    """Put `new` in the place of the submodule called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


def copied(model: torch.nn.Module) -> torch.nn.Module:
    """A copy in evaluation mode that shares nothing with the model."""
    return copy.deepcopy(model).eval()


def as_module(model: Any) -> torch.nn.Module:
    """The model itself. Raises InputError where it is no torch module."""
    from torch import nn

    if not isinstance(model, nn.Module):
        kind = f"the class {model.__name__} itself" if isinstance(model, type) else type(model).__name__
        raise InputError(f"a torch module is needed to quantize, not {kind}")
    return model
