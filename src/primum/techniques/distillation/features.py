"""What layers give, caught while a model runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from primum.errors import InputError

if TYPE_CHECKING:
    import torch


class Features:
    """Outputs of named layers of the last forward pass; a context manager that leaves the model as it was."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...]) -> None:
        modules = dict(model.named_modules())
        unknown = [name for name in names if name not in modules or not name]
        if unknown:
            raise InputError(f"no layer {unknown[0]!r} in {type(model).__name__}; there are {', '.join(modules)[:300]}")
        self.names, self._found = names, dict[str, Any]()
        self._hooks = [modules[name].register_forward_hook(self._catch(name)) for name in names]

    def _catch(self, name: str) -> Any:
        def hook(module: torch.nn.Module, given: Any, gave: Any) -> None:
            self._found[name] = gave[0] if isinstance(gave, tuple) else gave

        return hook

    def take(self) -> list[torch.Tensor]:
        """Features in the order of `names`; they are forgotten, so that none is taken twice."""
        missing = [name for name in self.names if name not in self._found]
        if missing:
            raise InputError(f"the layer {missing[0]!r} did not run in the forward pass")
        found = [self._found[name] for name in self.names]
        self._found.clear()
        return found

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> Features:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the hooks."""
        self.close()


def pair_layers(student: torch.nn.Module, teacher: torch.nn.Module, example: torch.Tensor) -> tuple[str, ...]:
    """Up to three layers of one name in both whose features have the same axes: early, middle and late.

    For students made from their teacher. Blocks are preferred to single layers; of those with features of one size,
    the last. Raises InputError where there are none.
    """
    import torch

    shapes = [_shapes(model, example) for model in (student, teacher)]
    blocks = [{n for n, m in model.named_modules() if n and len([*m.children()])} for model in (student, teacher)]
    with torch.no_grad():
        order = [n for n in shapes[0] if n in shapes[1] and _alike(shapes[0][n], shapes[1][n])]
    chosen = [n for n in order if n in blocks[0] and n in blocks[1]] or order[:-1]
    last = list({shapes[1][name]: name for name in chosen}.values())
    if not last:
        raise InputError("student and teacher have no layer of one name and size: name them in hints")
    places = sorted({round(i * (len(last) - 1) / 2) for i in range(3)})
    return tuple(last[place] for place in places)


def _alike(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and len(one) >= 2 and (len(one) == 2 or one[2:] == other[2:] or one[1] == other[1])


def _shapes(model: torch.nn.Module, example: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Shape of the tensor that each layer gives, in the order of execution; layers that run twice are left out."""
    import torch

    found, twice, hooks = dict[str, tuple[int, ...]](), set[str](), []

    def catch(name: str) -> Any:
        def hook(module: torch.nn.Module, given: Any, gave: Any) -> None:
            if name in found:
                twice.add(name)
            elif isinstance(gave, torch.Tensor):
                found[name] = tuple(gave.shape)

        return hook

    hooks = [m.register_forward_hook(catch(n)) for n, m in model.named_modules() if n]
    was = model.training
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        model.train(was)
        for hook in hooks:
            hook.remove()
    return {name: shape for name, shape in found.items() if name not in twice}
