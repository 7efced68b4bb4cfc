"""Operations of a network, counted module by module rather than timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Operations:
    """Of one call; a multiplication and an addition are two. `by_module`: with all that is within it."""

    total: int | None
    """None where something cannot be counted: `note` says what."""
    by_module: dict[str, int]
    note: str | None = None


def count_operations(model: torch.nn.Module, example: torch.Tensor) -> Operations:
    """Matrix products, convolutions, attention and recurrent layers of `model` on `example`. It is left as it was."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    training, fast = {m: m.training for m in model.modules()}, torch.backends.mha.get_fastpath_enabled()
    recurrent: dict[str, int | None] = {}
    hooks = [
        module.register_forward_hook(_recurrent(name, recurrent))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.RNNBase)
    ]
    # Fused encoder layers and attention are operations that the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(example)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()
        for module, was in training.items():
            module.training = was
    root = type(model).__name__
    counts = {n.removeprefix(f"{root}."): sum(ops.values()) for n, ops in counter.get_flop_counts().items()}
    counts[""] = counter.get_total_flops()
    return _with_recurrent(counts, recurrent)


def _with_recurrent(counts: dict[str, int], recurrent: dict[str, int | None]) -> Operations:
    """What the counter saw of recurrent layers, if anything, replaced by their formula, in all that they are within."""
    unknown = [name or "the model itself" for name, found in recurrent.items() if found is None]
    if unknown:
        note = f"operations are not counted: {', '.join(unknown)} took packed sequences, whose lengths differ"
        return Operations(None, counts, note)
    for name, found in recurrent.items():
        more = (found or 0) - (counts.get(name, 0) if name else counts[""])
        parts = name.split(".") if name else []
        for place in {".".join(parts[:n]) for n in range(len(parts) + 1)}:
            counts[place] = counts.get(place, 0) + more
    return Operations(counts[""], counts)


def _recurrent(name: str, found: dict[str, int | None]) -> Any:
    def count(module: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        import torch

        if not isinstance(inputs[0], torch.Tensor):
            found[name] = None
        elif (before := found.get(name, 0)) is not None:
            steps = inputs[0].numel() // inputs[0].shape[-1]
            found[name] = before + 2 * steps * _weights_a_step(module)

    return count


def _weights_a_step(module: Any) -> int:
    """Weights that each step of each sequence is multiplied by."""
    return sum(p.numel() for n, p in module.named_parameters(recurse=False) if n.startswith("weight_"))
