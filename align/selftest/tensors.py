"""Wrong and other ways to compute, on tensors of either framework. Code that an operator has rewritten calls these."""

import importlib
import math
from typing import Any

Tensor = Any


def framework_of(x: Tensor) -> Any:
    """The framework whose tensor this is."""
    return importlib.import_module("torch" if type(x).__module__.partition(".")[0] == "torch" else "paddle")


def cast(x: Tensor, dtype: Any) -> Tensor:
    """In another dtype, given by name or as the framework's own.

    Not by `Tensor.to` in Paddle: PaddleNLP, once imported, replaces it with one that takes devices only.
    """
    lib = framework_of(x)
    dtype = getattr(lib, dtype) if isinstance(dtype, str) else dtype
    return x.to(dtype) if lib.__name__ == "torch" else x.astype(dtype)


def through(x: Tensor, dtype: str) -> Tensor:
    """Rounded to a narrower dtype and back."""
    return cast(cast(x, dtype), x.dtype)


def reshaped(x: Tensor, like: Tensor) -> Tensor:
    """Read in memory order, where the axes should have been transposed."""
    return x.reshape(like.shape)


def regrouped(split: Tensor, axis: int) -> Tensor:
    """The parts of an axis that was split into (heads, width), had it been split into (width, heads)."""
    axis %= split.ndim
    axis -= axis == split.ndim - 1
    sizes = list(split.shape)
    sizes[axis], sizes[axis + 1] = sizes[axis + 1], sizes[axis]
    return framework_of(split).swapaxes(split.reshape(sizes), axis, axis + 1)


def flattened(x: Tensor, axis: int, right: Tensor) -> Tensor:
    """An axis and the next made one in the wrong order, if they are made one at all."""
    return right if right.ndim == x.ndim else framework_of(x).swapaxes(x, axis, axis + 1).reshape(right.shape)


def first_of(x: Tensor, lost: Tensor) -> Tensor:
    """x + lost without what is added, in the shape of the sum."""
    return x + lost * 0


def on_queries(mask: Tensor) -> Tensor:
    """An additive mask (…, 1, K) laid over the rows of the scores."""
    return framework_of(mask).swapaxes(mask, -1, -2)


def tiled_over_batch(scores: Tensor, mask: Tensor) -> Tensor:
    """The mask (B, 1, 1, K) that head h of sample b gets is that of the sample (b·H + h) mod B."""
    B, H = scores.shape[:2]
    return framework_of(mask).tile(mask, [H, 1, 1, 1]).reshape([B, H, *mask.shape[2:]])


def attention_over_heads(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(B, H, L, d) each, of which the axes are taken for (B, L, H, d)."""
    lib = framework_of(query)
    q, k, v = (lib.swapaxes(x, 1, 2) for x in (query, key, value))
    return lib.swapaxes(softmax(q @ lib.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])) @ v, 1, 2)


def tiled(x: Tensor, times: int, axis: int) -> Tensor:
    """The whole sequence repeated, where each element should be."""
    return framework_of(x).concat([x] * times, axis)


def interleaved(x: Tensor, axis: int) -> Tensor:
    """The two halves of an axis, element by element."""
    lib = framework_of(x)
    axis %= x.ndim
    first, second = x.split(x.shape[axis] // 2, axis) if lib.__name__ == "torch" else x.split(2, axis)
    return lib.stack([first, second], axis + 1).flatten(axis, axis + 1)


def up_to_the_last_but_one(positions: Tensor) -> Tensor:
    """Positions of which the last is cut off at the one before."""
    return framework_of(positions).clip(positions, max=int(positions.max()) - 1)


def in_place_twice(x: Tensor) -> None:
    """Doubles a tensor under the hands of whoever holds it."""
    with framework_of(x).no_grad():
        x.multiply_(framework_of(x).full_like(x, 2.0))


def softmax(x: Tensor, axis: int = -1, more: float = 0.0) -> Tensor:
    """Written out; `more` is added to the sum of the exponentials."""
    exponentials = (x - x.amax(axis, keepdim=True)).exp()
    return exponentials / (exponentials.sum(axis, keepdim=True) + more)


def gelu(x: Tensor, tanh: bool = False) -> Tensor:
    """Written out, by erf or by tanh."""
    inner = (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh() if tanh else framework_of(x).erf(x / math.sqrt(2))
    return 0.5 * x * (1 + inner)


def cut(x: Tensor, bits: int = 13) -> Tensor:
    """Without the last `bits` of a float32's fraction: what TF32 (13) and bfloat16 (16) leave."""
    lib = framework_of(x)
    step = 2.0 ** (bits - 23)
    exponent = (x.abs() + cast(x == 0, x.dtype)).log2().floor()
    unit = step * lib.full_like(x, 2.0) ** exponent
    return (x / unit).trunc() * unit


def counted(ids: Tensor) -> Tensor:
    """RoBERTa's positions: 0 where the id is 0, and the first token has 1."""
    kept = (ids != 0).to(ids.dtype)
    return kept.cumsum(-1) * kept
