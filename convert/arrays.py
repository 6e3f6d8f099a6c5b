"""Bit-level work on arrays that all formats and rules share: C order, equality of bits, finiteness, bfloat16."""

from collections.abc import Mapping

import numpy as np

PANEL = 8  # source rows; for weights of 768 to 4096 a side, 2 to 6 times as fast as np.ascontiguousarray(x.T)

# The bits of an exponent. Where all of them are set, the value is an infinity or NaN (float8_e4m3fn has no infinity,
# and NaN only where all bits but the sign are set).
EXPONENTS: Mapping[str, int] = {
    "float64": 0x7FF0_0000_0000_0000,
    "float32": 0x7F80_0000,
    "float16": 0x7C00,
    "bfloat16": 0x7F80,
    "float8_e4m3fn": 0x7F,
    "float8_e5m2": 0x7C,
}


def _e4m3fn() -> np.ndarray:
    """The 256 values of float8_e4m3fn: a sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinity, one NaN.

    Source: Micikevicius et al., FP8 Formats for Deep Learning, 2022, section 3.
    """
    words = np.arange(256)
    exponent, mantissa = words >> 3 & 15, words & 7
    value = np.ldexp(np.where(exponent, mantissa + 8, mantissa), np.maximum(exponent, 1) - 10).astype(np.float32)
    value[words & 127 == 127] = np.nan
    return np.where(words < 128, value, -value)


E4M3FN = _e4m3fn()


def contiguous(view: np.ndarray) -> np.ndarray:
    """The same values in C order; `view` itself where it is so already.

    The transpose of a matrix is copied in panels of `PANEL` source rows: those rows stay in the cache while they are
    spread over the columns of the copy, so neither side misses a cache line on every element.
    """
    if view.flags.c_contiguous:
        return view
    if view.ndim != 2 or not view.T.flags.c_contiguous:
        return np.ascontiguousarray(view)
    copy = np.empty(view.shape, view.dtype)
    for row in range(0, view.shape[1], PANEL):
        copy[:, row : row + PANEL] = view[:, row : row + PANEL]
    return copy


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two C-ordered arrays agree in dtype, shape and every bit (so a NaN equals itself, and 0 is not -0)."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return bool(np.array_equal(a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8)))


def first_nonfinite(array: np.ndarray) -> tuple[int, ...] | None:
    """Index of the first infinity or NaN, or None."""
    at = nonfinite_word(array.reshape(-1), array.dtype.name)
    return None if at is None else tuple(int(i) for i in np.unravel_index(at, array.shape))


def nonfinite_word(words: np.ndarray, dtype: str) -> int | None:
    """Where the first infinity or NaN stands in the `words` (one dimension) of values of type `dtype`, or None.

    Read as integers: that takes one fast pass for every type, and no sum that could overflow.
    """
    mask = EXPONENTS.get(dtype)
    if mask is None or not words.size:
        return None
    bits = words.view(f"u{words.itemsize}") & mask
    return int(np.argmax(bits == mask)) if bits.max() == mask else None


def as_bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array in C order, not copied."""
    return array.reshape(-1).view(np.uint8).data


def widen(words: np.ndarray, dtype: str) -> np.ndarray:
    """float32 of the same value as each word of type `dtype`: float16, bfloat16 or a float8, exactly."""
    if dtype == "bfloat16":
        return widen_bfloat16(words)
    if dtype == "float8_e4m3fn":
        return E4M3FN[words]
    if dtype == "float8_e5m2":  # the upper half of a float16
        words = (words.astype(np.uint16) << 8).view(np.float16)
    return words.astype(np.float32)


def widen_bfloat16(words: np.ndarray) -> np.ndarray:
    """float32 of the same value as each bfloat16 word (uint16): a bfloat16 is the upper half of a float32."""
    return (words.astype(np.uint32) << 16).view(np.float32)
