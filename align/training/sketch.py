"""A few numbers that stand for a tensor: enough to see that two differ, small enough to keep for every update.

Each of the numbers is the sum of all elements with signs; two tensors that differ by d give numbers that differ by
about the length of d.
"""

import numpy as np

from fake_data.stream import Stream

NUMBERS = 4
_WIDTH, _HEIGHT = 4099, 1021  # primes: the pattern of signs repeats after their product


def _signs(purpose: str, *shape: int) -> np.ndarray:
    bits = Stream(0, "sketch", purpose).words(int(np.prod(shape))) & np.uint64(1)
    return (bits.astype(np.float64) * 2 - 1).reshape(shape)


_COLUMNS, _ROWS = _signs("columns", _WIDTH, NUMBERS), _signs("rows", _HEIGHT, NUMBERS)


def sketch(array: np.ndarray) -> np.ndarray:
    """(NUMBERS,) float64 of an array of any shape and float dtype."""
    flat = array.reshape(-1)
    whole = len(flat) // _WIDTH
    rows = flat[: whole * _WIDTH].reshape(whole, _WIDTH).astype(np.float64, copy=False) @ _COLUMNS
    rows = np.concatenate([rows, [flat[whole * _WIDTH :].astype(np.float64) @ _COLUMNS[: len(flat) - whole * _WIDTH]]])
    return (rows * np.resize(_ROWS, rows.shape)).sum(0)
