"""PyTorch's functions with dropout, on masks from outside."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from align.dropout import SharedMasks


@contextmanager
def replaced(masks: SharedMasks) -> Iterator[None]:
    """Put the functions below in place of torch's."""
    native, native_attention = F.dropout, F.scaled_dot_product_attention

    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        p = masks.probability(p)
        if not training or p == 0:
            return input
        factors = torch.from_numpy(masks.factors(tuple(input.shape), p)).to(input.dtype)
        return input.mul_(factors) if inplace else input * factors

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if dropout_p == 0:
            given = (attn_mask, dropout_p, is_causal)
            return native_attention(query, key, value, *given, scale=scale, enable_gqa=enable_gqa)
        if enable_gqa:
            group = query.shape[-3] // key.shape[-3]
            key, value = (x.repeat_interleave(group, -3) for x in (key, value))
        scores = query @ key.transpose(-1, -2) * (scale or 1 / math.sqrt(query.shape[-1]))
        if is_causal:
            scores = scores + torch.full(scores.shape[-2:], -math.inf, dtype=scores.dtype).triu(1)
        if attn_mask is not None:
            boolean = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -math.inf) if boolean else scores + attn_mask
        return dropout(scores.softmax(-1), dropout_p) @ value

    F.dropout, F.scaled_dot_product_attention = dropout, attention
    try:
        yield
    finally:
        F.dropout, F.scaled_dot_product_attention = native, native_attention
