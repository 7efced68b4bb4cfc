"""torch's attention with its projections as four plain linear layers, which quantizers know how to replace.

nn.MultiheadAttention keeps one packed weight, and nn.TransformerEncoderLayer has a fused path that reads the weights
of its layers directly: both hide their linear layers from every quantizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from primum.techniques.quantization.graph import set_module

if TYPE_CHECKING:
    from collections.abc import Callable


class SplitAttention(nn.Module):  # type: ignore[misc]
    """Multi-head attention on (N, L, E), or (L, N, E) where not batch_first; gives (output, None)."""

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.batch_first = original.num_heads, original.batch_first
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
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, None]:
        """As nn.MultiheadAttention with need_weights=False; attention weights are never given."""
        if key_padding_mask is not None:
            raise ValueError("a padding mask is not supported here")
        q, k, v = self.query(query), self.key(key), self.value(value)
        if not self.batch_first:
            q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        # nn.MultiheadAttention marks what may NOT be seen, scaled_dot_product_attention what may.
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = ~attn_mask
        causal = is_causal and attn_mask is None
        rate = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask, rate, causal)
        mixed = mixed.transpose(1, 2).flatten(2)
        return self.out(mixed if self.batch_first else mixed.transpose(0, 1)), None


class PlainEncoderLayer(nn.Module):  # type: ignore[misc]
    """nn.TransformerEncoderLayer without its fused path: the same function, the same parts."""

    def __init__(self, original: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.self_attn = original.self_attn
        self.linear1, self.linear2 = original.linear1, original.linear2
        self.norm1, self.norm2, self.norm_first = original.norm1, original.norm2, original.norm_first
        self.dropout, self.dropout1, self.dropout2 = original.dropout, original.dropout1, original.dropout2
        self.activation: Callable[[torch.Tensor], torch.Tensor] = original.activation

    def forward(
        self,
        src: torch.Tensor,
        src_mask: torch.Tensor | None = None,
        src_key_padding_mask: torch.Tensor | None = None,
        is_causal: bool = False,
    ) -> torch.Tensor:
        """(N, L, E) to (N, L, E)."""
        if src_key_padding_mask is not None:
            raise ValueError("a padding mask is not supported here")
        if self.norm_first:
            x = src + self._attend(self.norm1(src), src_mask, is_causal)
            return x + self._feed(self.norm2(x))
        x = self.norm1(src + self._attend(src, src_mask, is_causal))
        return self.norm2(x + self._feed(x))

    def _attend(self, x: torch.Tensor, mask: torch.Tensor | None, causal: bool) -> torch.Tensor:
        return self.dropout1(self.self_attn(x, x, x, attn_mask=mask, is_causal=causal)[0])

    def _feed(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class PlainEncoder(nn.Module):  # type: ignore[misc]
    """nn.TransformerEncoder as its layers one after the other."""

    def __init__(self, original: nn.TransformerEncoder) -> None:
        super().__init__()
        self.layers, self.norm = original.layers, original.norm

    def forward(
        self,
        src: torch.Tensor,
        mask: torch.Tensor | None = None,
        src_key_padding_mask: torch.Tensor | None = None,
        is_causal: bool = False,
    ) -> torch.Tensor:
        """(N, L, E) to (N, L, E)."""
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        return src if self.norm is None else self.norm(src)


def split_attention(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Replace torch's attention and encoder modules in place; returns the model and sentences on what stays.

    The function is the same up to rounding. The model itself is returned anew where it is one of these modules.
    """
    stays = []
    holder = nn.Module()
    holder.root = model
    for name, module in list(holder.named_modules()):
        if type(module) is nn.MultiheadAttention:
            if (why := _obstacle(module)) is None:
                set_module(holder, name, SplitAttention(module).train(module.training))
            else:
                stays.append(f"{name.removeprefix('root.')} stays in FP32: {why}")
    for kind, plain in ((nn.TransformerEncoderLayer, PlainEncoderLayer), (nn.TransformerEncoder, PlainEncoder)):
        for name, module in list(holder.named_modules()):
            if type(module) is kind:
                set_module(holder, name, plain(module).train(module.training))
    return holder.root, tuple(stays)


def _obstacle(module: nn.MultiheadAttention) -> str | None:
    if not module._qkv_same_embed_dim:
        return "its keys and values have another width than its queries"
    if module.bias_k is not None or module.add_zero_attn:
        return "it appends a learned or zero key"
    return None


def _part(bias: torch.Tensor | None, start: int, stop: int | None) -> torch.Tensor | None:
    return None if bias is None else bias[start:stop]


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    layer: Any = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer
