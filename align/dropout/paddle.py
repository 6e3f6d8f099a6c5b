"""PaddlePaddle's functions with dropout, on masks from outside."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from align.dropout import SharedMasks


@contextmanager
def replaced(masks: SharedMasks) -> Iterator[None]:
    """Put the functions below in place of Paddle's."""
    native, native_attention = F.dropout, F.scaled_dot_product_attention

    def dropout(
        x: Tensor,
        p: float = 0.5,
        axis: int | Sequence[int] | None = None,
        training: bool = True,
        inplace: bool = False,
        mode: str = "upscale_in_train",
        name: str | None = None,
    ) -> Tensor:
        p = masks.probability(p)
        upscale = mode == "upscale_in_train"
        if p == 0 or (upscale and not training):
            return x
        if not training:
            return x * (1 - p)
        kept = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
        shape = tuple(size if number in kept else 1 for number, size in enumerate(x.shape))
        return x * paddle.to_tensor(masks.factors(shape, p, upscale)).astype(x.dtype)

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        training: bool = True,
        backend: str | None = None,
        scale: float | None = None,
        **options: Any,
    ) -> Tensor:
        if dropout_p == 0 or not training:
            given = (attn_mask, dropout_p, is_causal, training, backend, scale)
            return native_attention(query, key, value, *given, **options)
        q, k, v = (x.transpose([0, 2, 1, 3]) for x in (query, key, value))  # (B, L, H, d) → (B, H, L, d)
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))  # grouped queries
        scores = q @ k.transpose([0, 1, 3, 2]) * (scale or 1 / math.sqrt(q.shape[-1]))
        if is_causal:
            scores = scores + paddle.full(scores.shape[-2:], -math.inf, dtype=scores.dtype).triu(1)
        if attn_mask is not None:
            out = paddle.full_like(scores, -math.inf)
            boolean = attn_mask.dtype == paddle.bool
            scores = paddle.where(attn_mask.expand_as(scores), scores, out) if boolean else scores + attn_mask
        return (dropout(F.softmax(scores, -1), dropout_p) @ v).transpose([0, 2, 1, 3])

    F.dropout, F.scaled_dot_product_attention = dropout, attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.dropout, F.scaled_dot_product_attention = native, native_attention
