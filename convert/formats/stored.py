"""Where one tensor lies in a file, and how its bytes become an array: what all formats share."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from convert.arrays import as_bytes, contiguous
from convert.errors import CheckpointError

# Our names of the element types, and the words in which they are stored. NumPy has no bfloat16 and no float8: they
# travel as their bits.
WORDS: Mapping[str, np.dtype] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "float8_e4m3fn": np.dtype("u1"),
    "float8_e5m2": np.dtype("u1"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint64": np.dtype("<u8"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}
MAX_RANK = 64  # numpy's own
MAX_COUNT = 1 << 48  # elements or bytes: more than any disk holds
MAX_INDEX = 1 << 24  # bytes of a JSON text, which is parsed in memory: what 150,000 tensors take


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of type `dtype` (a key of WORDS) whose first element lies `offset` bytes into the file.

    `strides` counts elements; None is C order. `text`, if not 0, is the number of bytes of UTF-8 text in which the
    elements' bytes are hidden as Latin-1 characters: that is how pickle protocol 2 writes bytes.
    """

    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    text: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor itself, whatever surrounds it in the file."""
        return math.prod(self.shape) * WORDS[self.dtype].itemsize

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files it lies in: one, unless it is put together."""
        return (self.path,)

    @property
    def in_order(self) -> bool:
        """Whether its bytes lie in the file one after the other in C order, so that any part of them can be fetched.

        A subclass that is put together by a `read` of its own must deny it.
        """
        if self.text or self.strides is None or 0 in self.shape:
            return not self.text
        sizes = [(size, step) for size, step in zip(self.shape, self.strides, strict=True) if size > 1]
        return all(step == math.prod(size for size, _ in sizes[at + 1 :]) for at, (_, step) in enumerate(sizes))

    def read(self) -> np.ndarray:
        """The stored words as an array of its own, in C order. CheckpointError if the file has become shorter."""
        words = self._text_words() if self.text else self._words()
        if self.strides is None:
            return words.reshape(self.shape)
        steps = tuple(step * words.itemsize for step in self.strides)
        return contiguous(np.lib.stride_tricks.as_strided(words, self.shape, steps))

    @contextmanager
    def opened(self) -> Iterator[Callable[[np.ndarray, int], None]]:
        """A function that fills contiguous words from element `start` on; only for a tensor that is `in_order`.

        CheckpointError if the file cannot be read or has become shorter.
        """
        try:
            file = self.path.open("rb", buffering=0)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read: {error}") from None
        with file:
            yield partial(self.fetch, file.fileno())

    def fetch(self, file: int, out: np.ndarray, start: int) -> None:
        """Fill `out` from element `start` on; `file` is a descriptor of the open file."""
        rest = as_bytes(out)
        offset = self.offset + start * out.itemsize
        try:
            while rest and (count := os.preadv(file, [rest], offset)):
                rest, offset = rest[count:], offset + count
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read: {error}") from None
        if rest:
            raise CheckpointError(f"{self.path}: has become shorter: {len(rest)} bytes are missing at {offset}")

    def _words(self) -> np.ndarray:
        words = np.empty(span(self.shape, self.strides), WORDS[self.dtype])
        with self.opened() as fetch:
            fetch(words, 0)
        return words

    def _text_words(self) -> np.ndarray:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            text = file.read(self.text)
        try:
            words = np.frombuffer(bytearray(text.decode(), "latin1"), WORDS[self.dtype])
        except ValueError:
            words = np.empty(0, WORDS[self.dtype])
        if words.size != span(self.shape, self.strides):
            raise CheckpointError(
                f"{self.path}: the text at byte {self.offset} does not hold {self.shape} of {self.dtype}"
            )
        return words


def span(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> int:
    """How many elements of storage a tensor reaches over, from its first element to its last."""
    if strides is None or 0 in shape:
        return math.prod(shape)
    return 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))


def plausible(shape: Any, *counts: Any) -> bool:
    """Whether a file's `shape` is a tuple of sizes, and each of `counts` a number, that a tensor could have."""
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_RANK
        and all(type(number) is int and 0 <= number < MAX_COUNT for number in (*shape, *counts))
    )


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; CheckpointError for anything else."""
    if path.stat().st_size > MAX_INDEX:
        raise CheckpointError(f"{path}: not JSON of a checkpoint: more than {MAX_INDEX} bytes")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: bad JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return content
