"""One tensor on its way: its bytes as the target wants them, in blocks, of which none is larger than it must be.

What keeps its order is read, checked and handed on in blocks that stay in the processor's cache. What is transposed is
read in panels of source rows, each as high as a cache line of the target is wide, and handed on whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from convert.arrays import contiguous, nonfinite_word, same_bits, widen
from convert.formats.blueprint import nbytes
from convert.formats.stored import WORDS, StoredTensor
from convert.ops import Keep, Shape

BLOCK = 1 << 19  # bytes
LINE = 64  # bytes of a cache line
PANEL = 1 << 16  # bytes that a panel has at least, where rows are short

Fetch = Callable[[np.ndarray, int], None]  # fill these words from this element on
Take = Callable[[int], np.ndarray]  # a buffer of so many bytes


@dataclass
class Stream:
    """`tensor`, brought into the target's form by `op` and to its `dtype` (the stored one, or float32).

    After its blocks are drawn, `nonfinite` is the index, in the target, of an infinity or NaN if it holds one.
    """

    tensor: StoredTensor
    op: Keep = field(default_factory=Keep)
    dtype: str = ""
    nonfinite: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        self.dtype = self.dtype or self.tensor.dtype

    @property
    def shape(self) -> Shape:
        """The target's shape."""
        return self.op.shape(self.tensor.shape)

    @property
    def nbytes(self) -> int:
        """The target's bytes."""
        return nbytes(self.dtype, self.shape)

    @property
    def largest(self) -> int:
        """Bytes of the largest block."""
        _, matrix = self._in_file()
        return min(self.nbytes, BLOCK) if matrix is None else self.nbytes

    def blocks(self, take: Take) -> Iterator[np.ndarray]:
        """The target's bytes in order, each block in a buffer from `take`, which is asked for one block at a time.

        Raises CheckpointError where the source cannot be read.
        """
        with self._source() as (fetch, matrix):
            if matrix is None:
                yield from self._straight(fetch, take)
            elif self.nbytes:
                yield self._transposed(fetch, take, *matrix)

    def _in_file(self) -> tuple[StoredTensor, tuple[int, int] | None]:
        """The tensor as it lies in the file, and the matrix to transpose. Fortran order is a transposition itself."""
        stored, matrix = self.tensor, self.op.matrix(self.tensor.shape)
        if stored.in_order or stored.strides is None or len(stored.shape) != 2 or matrix not in (None, stored.shape):
            return stored, matrix
        rows, columns = stored.shape
        turned = replace(stored, shape=(columns, rows), strides=stored.strides[::-1])
        if not turned.in_order:
            return stored, matrix
        return turned, (columns, rows) if matrix is None else None

    @contextmanager
    def _source(self) -> Iterator[tuple[Fetch, tuple[int, int] | None]]:
        stored, matrix = self._in_file()
        if stored.in_order:
            with stored.opened() as fetch:
                yield fetch, matrix
            return
        words = contiguous(self.op.view(stored.read())).reshape(-1)

        def copy(out: np.ndarray, start: int) -> None:
            out[:] = words[start : start + out.size]

        yield copy, None

    def _straight(self, fetch: Fetch, take: Take) -> Iterator[np.ndarray]:
        count, width = self.nbytes // WORDS[self.dtype].itemsize, WORDS[self.dtype].itemsize
        same = self.dtype == self.tensor.dtype
        stored = np.empty(0 if same else min(count, BLOCK // width), WORDS[self.tensor.dtype])  # still to be widened
        for start in range(0, count, BLOCK // width):
            block = take(min(count - start, BLOCK // width) * width)
            out = block.view(WORDS[self.dtype])
            words = out if same else stored[: out.size]
            fetch(words, start)
            self._check(words, start)
            if not same:
                out[:] = widen(words, self.tensor.dtype)
            yield block

    def _transposed(self, fetch: Fetch, take: Take, rows: int, columns: int) -> np.ndarray:
        block = take(self.nbytes)
        target = block.view(WORDS[self.dtype]).reshape(columns, rows)
        lines = LINE // WORDS[self.dtype].itemsize
        height = lines * max(1, PANEL // (lines * columns * WORDS[self.tensor.dtype].itemsize))
        panel = np.empty((min(height, rows), columns), WORDS[self.tensor.dtype])
        for row in range(0, rows, height):
            part = panel[: rows - row]
            fetch(part, row * columns)
            self._check(part.reshape(-1), row * columns, (rows, columns))
            words = part if self.dtype == self.tensor.dtype else widen(part, self.tensor.dtype)
            target[:, row : row + height] = words.T
        return block

    def _check(self, words: np.ndarray, start: int, matrix: tuple[int, int] | None = None) -> None:
        at = nonfinite_word(words, self.tensor.dtype) if self.nonfinite is None else None
        if at is None:
            return
        place = start + at
        if matrix:  # element (row, column) of the source stands at (column, row) of the target
            row, column = divmod(place, matrix[1])
            place = column * matrix[0] + row
        self.nonfinite = tuple(int(index) for index in np.unravel_index(place, self.shape))


def same_tensor(a: StoredTensor, b: StoredTensor) -> bool:
    """Whether two tensors agree in type, shape and every bit."""
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    if a == b:
        return True
    if not (a.in_order and b.in_order):
        return same_bits(a.read(), b.read())
    buffers = np.empty((2, BLOCK), np.uint8)
    blocks = [Stream(tensor).blocks(partial(_part, buffer)) for tensor, buffer in zip((a, b), buffers, strict=True)]
    return all(np.array_equal(one, other) for one, other in zip(*blocks, strict=True))


def _part(buffer: np.ndarray, count: int) -> np.ndarray:
    return buffer[:count]
