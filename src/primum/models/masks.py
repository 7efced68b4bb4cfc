"""Scaled dot-product attention under masks, with exactly the meaning that torch's own attention gives them.

torch.fx records each function as one call, where it is called as `masks.…`: what it does depends on dimensions and
types, which a trace has not.
"""

from __future__ import annotations

import math

import torch
from torch import fx
from torch.nn import functional

from primum.errors import InputError


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    attn_mask: torch.Tensor | None,
    key_padding_mask: torch.Tensor | None,
    dropout: float,
) -> torch.Tensor:
    """Mixed values (N, L, E), or (L, E), of projected query (N, L, E), key and value (N, S, E).

    Masks as nn.MultiheadAttention takes them: bool, True for what may not be seen, or float, to be added;
    `attn_mask` (L, S) or (N heads, L, S), `key_padding_mask` (N, S). Raises InputError for any other.
    """
    q, k, v = (_by_head(t, heads) for t in (query, key, value))
    mask = _joined(attn_mask, key_padding_mask, q, k)
    return _whole(functional.scaled_dot_product_attention(q, k, v, mask, dropout), query)


def attend_and_tell(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    attn_mask: torch.Tensor | None,
    key_padding_mask: torch.Tensor | None,
    dropout: float,
    average: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `attend`, and the weights: (N, L, S) averaged over heads, else (N, heads, L, S)."""
    q, k, v = (_by_head(t, heads) for t in (query, key, value))
    mask = _joined(attn_mask, key_padding_mask, q, k)
    # In the order that graph optimizers know: product, scale, mask, softmax, product.
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.softmax(scores if mask is None else scores + mask, -1)
    if dropout > 0:
        weights = functional.dropout(weights, dropout)
    told = weights.mean(1) if average else weights
    return _whole(weights @ v, query), told if query.ndim == 3 else told.squeeze(0)


def emptied(x: torch.Tensor, key_padding_mask: torch.Tensor) -> torch.Tensor:
    """`x` (N, L, E) with zeros where a case is padded, if all of its padding is at the end.

    nn.TransformerEncoder answers so in evaluation, where it was made for nested tensors. (It looks whether all cases of
    the batch are padded at their ends; here each case is answered as it would be by itself.)
    """
    if x.ndim != 3:
        return x
    padded = key_padding_mask if key_padding_mask.dtype == torch.bool else key_padding_mask != 0
    inside = (padded[:, :-1] & ~padded[:, 1:]).any(1, keepdim=True)
    return x.masked_fill((padded & ~inside).unsqueeze(-1), 0.0)


def hidden(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores to hide what is not `seen` (bool), in the one form that ONNX Runtime fuses.

    A weight of exp(lowest) is as exactly 0 as one of exp(-inf).
    """
    return (1.0 - seen.to(dtype)) * torch.finfo(dtype).min


def swapped(x: torch.Tensor) -> torch.Tensor:
    """(L, N, E) as (N, L, E) and back; (L, E) stays."""
    return x.transpose(0, 1) if x.ndim == 3 else x


for _function in (attend, attend_and_tell, emptied, swapped):
    fx.wrap(_function.__name__)


def _by_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(N, heads, L, E / heads)."""
    whole = x if x.ndim == 3 else x.unsqueeze(0)
    return whole.unflatten(-1, (heads, -1)).transpose(1, 2)


def _whole(mixed: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    out = mixed.transpose(1, 2).flatten(2)
    return out if like.ndim == 3 else out.squeeze(0)


def _joined(
    attn_mask: torch.Tensor | None, key_padding_mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor
) -> torch.Tensor | None:
    """What is added to the scores (N, heads, L, S); None where there is no mask."""
    cases, heads, length, _ = query.shape
    seen = key.shape[2]
    total = None
    if attn_mask is not None:
        total = _added(attn_mask, query.dtype, "attn_mask")
        if attn_mask.ndim == 3 and attn_mask.shape[0] == cases * heads:
            total = total.view(cases, heads, length, seen)
        elif attn_mask.ndim != 2 or tuple(attn_mask.shape) != (length, seen):
            raise InputError(
                f"attn_mask has the shape {tuple(attn_mask.shape)}: it must be ({length}, {seen}) or "
                f"({cases * heads}, {length}, {seen}), queries by keys, once or for each case and head"
            )
    if key_padding_mask is not None:
        mask = key_padding_mask if key_padding_mask.ndim == 2 else key_padding_mask.unsqueeze(0)
        if tuple(mask.shape) != (cases, seen):
            raise InputError(
                f"key_padding_mask has the shape {tuple(key_padding_mask.shape)}: it must be ({cases}, {seen}), "
                "one value for each key of each case"
            )
        padding = _padding(mask, query.dtype)
        total = padding if total is None else total + padding
    return total


def _padding(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if mask.dtype == torch.bool and torch.onnx.is_in_onnx_export():
        return hidden((~mask).unsqueeze(1).unsqueeze(2), dtype)
    return _added(mask, dtype, "key_padding_mask").unsqueeze(1).unsqueeze(2)


def _added(mask: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf)
    if not mask.is_floating_point():
        raise InputError(f"{name} has the type {mask.dtype}: a mask is bool (True: not to be seen) or float (added)")
    return mask.to(dtype)
