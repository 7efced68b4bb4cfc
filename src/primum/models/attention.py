"""torch's attention with its projections as four plain linear layers, which quantizers and exporters know.

nn.MultiheadAttention keeps one packed weight, and nn.TransformerEncoderLayer has a fused path that reads the weights
of its layers directly: both hide their linear layers from every quantizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from primum.errors import InputError
from primum.models import masks

if TYPE_CHECKING:
    from collections.abc import Callable


class SplitAttention(nn.Module):  # type: ignore[misc]
    """nn.MultiheadAttention over plain linear layers: same inputs, masks and outputs."""

    # What torch's encoder layers ask for before their fused path: None tells them that it is not possible.
    in_proj_weight = None
    in_proj_bias = None
    _qkv_same_embed_dim = True

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.batch_first = (
            original.embed_dim,
            original.num_heads,
            original.batch_first,
        )
        self.dropout = original.dropout
        width = original.embed_dim
        self.query = _linear(original.in_proj_weight[:width], _part(original.in_proj_bias, 0, width))
        self.key = _linear(original.in_proj_weight[width : 2 * width], _part(original.in_proj_bias, width, 2 * width))
        self.value = _linear(original.in_proj_weight[2 * width :], _part(original.in_proj_bias, 2 * width, None))
        self.out = _linear(original.out_proj.weight, original.out_proj.bias)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As nn.MultiheadAttention. `is_causal` is the hint that it is there: the mask itself is what counts.

        Raises InputError for a mask of another shape or type, and for the hint without a mask.
        """
        if is_causal and attn_mask is None:
            raise InputError("is_causal=True only says that attn_mask is causal: give the mask itself too")
        if not self.batch_first:
            # Before the projections, and a tensor that is given thrice once: so the optimizers know it.
            turned = masks.swapped(query)
            key_turned = turned if key is query else masks.swapped(key)
            value = turned if value is query else key_turned if value is key else masks.swapped(value)
            query, key = turned, key_turned
        q, k, v = self.query(query), self.key(key), self.value(value)
        rate = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            told = masks.attend_and_tell(
                q, k, v, self.num_heads, attn_mask, key_padding_mask, rate, average_attn_weights
            )
            mixed, weights = told[0], told[1]
        else:
            mixed = masks.attend(q, k, v, self.num_heads, attn_mask, key_padding_mask, rate)
        out = self.out(mixed)
        return out if self.batch_first else masks.swapped(out), weights


class PlainEncoderLayer(nn.Module):  # type: ignore[misc]
    """nn.TransformerEncoderLayer without its fused path: the same function, the same parts."""

    def __init__(self, original: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.self_attn = original.self_attn
        self.linear1, self.linear2 = original.linear1, original.linear2
        self.norm1, self.norm2, self.norm_first = original.norm1, original.norm2, original.norm_first
        self.dropout, self.dropout1, self.dropout2 = original.dropout, original.dropout1, original.dropout2
        self.activation: Callable[[torch.Tensor], torch.Tensor] = original.activation
        self.sequence_first = not original.self_attn.batch_first
        if self.sequence_first and isinstance(self.self_attn, SplitAttention):
            # Turned once around the whole layer, where no optimizer looks for it.
            self.self_attn.batch_first = True
        else:
            self.sequence_first = False

    def forward(
        self,
        src: torch.Tensor,
        src_mask: torch.Tensor | None = None,
        src_key_padding_mask: torch.Tensor | None = None,
        is_causal: bool = False,
    ) -> torch.Tensor:
        """As nn.TransformerEncoderLayer."""
        x = masks.swapped(src) if self.sequence_first else src
        seen = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask, "is_causal": is_causal}
        if self.norm_first:
            x = x + self._attend(self.norm1(x), seen)
            x = x + self._feed(self.norm2(x))
        else:
            x = self.norm1(x + self._attend(x, seen))
            x = self.norm2(x + self._feed(x))
        return masks.swapped(x) if self.sequence_first else x

    def _attend(self, x: torch.Tensor, seen: dict[str, Any]) -> torch.Tensor:
        return self.dropout1(self.self_attn(x, x, x, need_weights=False, **seen)[0])

    def _feed(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class PlainEncoder(nn.Module):  # type: ignore[misc]
    """nn.TransformerEncoder as its layers one after the other."""

    def __init__(self, original: nn.TransformerEncoder) -> None:
        super().__init__()
        self.layers, self.norm = original.layers, original.norm
        self.empties = bool(getattr(original, "use_nested_tensor", False))

    def forward(
        self,
        src: torch.Tensor,
        mask: torch.Tensor | None = None,
        src_key_padding_mask: torch.Tensor | None = None,
        is_causal: bool | None = None,
    ) -> torch.Tensor:
        """As nn.TransformerEncoder, what it gives at padded positions in evaluation included."""
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        if self.empties and not self.training and src_key_padding_mask is not None and mask is None:
            src = masks.emptied(src, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


def split_attention(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Replace torch's attention and encoder modules in place; returns the model and sentences on what stays.

    The function is the same up to rounding. The model itself is returned anew where it is one of these modules.
    """
    holder, stays = nn.Module(), []
    holder.root = model
    for name, module in list(holder.named_modules()):
        if type(module) is nn.MultiheadAttention and (why := _obstacle(module)) is not None:
            stays.append(f"{name.removeprefix('root.')} stays in FP32: {why}")
    _replace(holder, lambda m: type(m) is nn.MultiheadAttention and _obstacle(m) is None, SplitAttention)
    _replace(holder, lambda m: _is_a(m, nn.TransformerEncoderLayer, "_sa_block", "_ff_block"), PlainEncoderLayer)
    _replace(holder, lambda m: _is_a(m, nn.TransformerEncoder), PlainEncoder)
    for module in holder.modules():
        if isinstance(module, nn.TransformerEncoder):
            # An own forward function: through nested tensors it would need the packed weights.
            module.use_nested_tensor = False
    return holder.root, tuple(stays)


def _replace(holder: nn.Module, chosen: Callable[[nn.Module], bool], kind: Callable[[Any], nn.Module]) -> None:
    """Put one `kind(module)` in each place of each chosen module: a shared module stays shared."""
    made: dict[nn.Module, nn.Module] = {}
    for name, module in list(holder.named_modules(remove_duplicate=False)):
        if chosen(module):
            if module not in made:
                made[module] = kind(module).train(module.training)
            parent, _, child = name.rpartition(".")
            setattr(holder.get_submodule(parent), child, made[module])


def _is_a(module: nn.Module, kind: type[nn.Module], *parts: str) -> bool:
    """Whether it is of this kind, or of a kind derived from it that computes the same."""
    own = type(module)
    return isinstance(module, kind) and all(getattr(own, p) is getattr(kind, p) for p in ("forward", *parts))


def _obstacle(module: nn.MultiheadAttention) -> str | None:
    if not module._qkv_same_embed_dim:
        return "its keys and values have another width than its queries"
    if module.bias_k is not None or module.add_zero_attn:
        return "it appends a learned or zero key"
    return None


def _part(bias: torch.Tensor | None, start: int, stop: int | None) -> torch.Tensor | None:
    return None if bias is None else bias[start:stop]


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    kind = {"dtype": weight.dtype, "device": weight.device}
    layer: Any = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None, **kind)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    layer.requires_grad_(weight.requires_grad)
    return layer
