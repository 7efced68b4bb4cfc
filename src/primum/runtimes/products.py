"""Attention written out: what torch's own function computes, in the operators that graph optimizers look for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextlib.contextmanager
def as_products() -> Iterator[None]:
    """While it is entered, torch's scaled_dot_product_attention is a product, a softmax and a product."""
    from torch.nn import functional

    own = functional.scaled_dot_product_attention

    def attend(*tensors: torch.Tensor, **settings: Any) -> torch.Tensor:
        # Fewer heads of keys than of queries: no single operator does that.
        return own(*tensors, **settings) if settings.get("enable_gqa") else attention(*tensors, **settings)

    functional.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = own


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """As torch.nn.functional.scaled_dot_product_attention in evaluation: no dropout."""
    import torch

    from primum.models.masks import hidden

    root = query.shape[-1] ** 0.5 if scale is None else 1 / scale
    scores = query @ key.transpose(-1, -2) / root
    if is_causal:
        seen = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    if attn_mask is not None:
        scores = scores + (hidden(attn_mask, scores.dtype) if attn_mask.dtype == torch.bool else attn_mask)
    return torch.softmax(scores, -1) @ value
