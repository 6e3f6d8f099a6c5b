"""Random numbers that are the same bytes on every machine and under every version of NumPy.

NumPy promises that the words of a bit generator never change; it promises nothing for the distributions of `Generator`.
So only raw 64-bit words of Philox are drawn, and all else is exact integer arithmetic followed by single correctly
rounded IEEE operations: no exp, log or sin, which differ from one C library to the next. A stream is keyed by the
digest of (seed, purpose, name): what one field or tensor receives depends on no other, nor on any order.
"""

import math
from hashlib import blake2b

import numpy as np

BLOCK = 1 << 15  # words drawn at a time: they stay in the cache, however large the tensor is
LANE = 1 << 16  # a word holds four 16-bit lanes
CENTRE = 2 * (LANE - 1)  # the mean of a sum of four lanes …
SIGMA = math.sqrt((LANE * LANE - 1) / 3)  # … and its standard deviation


class Stream:
    """The random words of one (seed, purpose, name), in order."""

    def __init__(self, seed: int, purpose: str, name: str) -> None:
        digest = blake2b(f"{seed}\0{purpose}\0{name}".encode(), digest_size=16).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest, "little"))

    def words(self, count: int) -> np.ndarray:
        """(count,) uint64, each of the 2⁶⁴ values equally likely."""
        return self._bits.random_raw(count)

    def integers(self, count: int, bound: int) -> np.ndarray:
        """(count,) int64 in 0 … bound − 1; the remainder of a word, so biased by less than bound / 2⁶⁴."""
        return (self.words(count) % np.uint64(bound)).astype(np.int64)

    def order(self, count: int) -> np.ndarray:
        """(count,) int64: a random permutation of 0 … count − 1."""
        return np.argsort(self.words(count), kind="stable")

    def strata(self, count: int, bound: int) -> np.ndarray:
        """(count,) int64 spread over 0 … bound − 1 and ascending: one draw from each of `count` equal parts.

        So the values are distinct where bound ≥ count, and cover every value where it is not.
        """
        edges = np.arange(count + 1, dtype=np.int64) * bound // count if count else np.zeros(1, np.int64)
        width = np.maximum(np.diff(edges), 1).astype(np.uint64)
        return edges[:-1] + (self.words(count) % width).astype(np.int64)

    def uniforms(self, shape: tuple[int, ...]) -> np.ndarray:
        """float32 of `shape`: the odd multiples of 2⁻²⁴, so strictly between 0 and 1 and exact."""
        values = np.empty(math.prod(shape), np.float32)
        for part in _blocks(values):
            part[:] = ((self.words(part.size) >> np.uint64(41)) * 2 + 1).astype(np.float64) * 2.0**-24
        return values.reshape(shape)

    def normals(self, shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0) -> np.ndarray:
        """float32 of `shape`, nearly normal: the centred sum of four uniform lanes (Irwin–Hall), cut at ±3.46 std."""
        values = np.empty(math.prod(shape), np.float32)
        for part in _blocks(values):
            lanes = self.words(part.size).view(np.uint16).reshape(-1, 4)  # a sum: the byte order does not matter
            total = np.add(lanes[:, 0], lanes[:, 1], dtype=np.int32)
            total += lanes[:, 2]
            total += lanes[:, 3]
            part[:] = (total - CENTRE) * (std / SIGMA) + mean  # in float64; rounded once, here
        return values.reshape(shape)


def _blocks(values: np.ndarray) -> list[np.ndarray]:
    """Views of consecutive parts of a flat array."""
    return [values[start : start + BLOCK] for start in range(0, values.size, BLOCK)]
