"""Where one tensor lies in a file, and how its bytes become an array: what all formats share."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.arrays import contiguous
from convert.errors import CheckpointError

# Our names of the element types, and the words in which they are stored. NumPy has no bfloat16: it travels as its bits.
WORDS: Mapping[str, np.dtype] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}


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

    def read(self) -> np.ndarray:
        """The stored words as an array of its own, in C order. CheckpointError if the file has become shorter."""
        count = span(self.shape, self.strides)
        words = (
            self._text_words() if self.text else np.fromfile(self.path, WORDS[self.dtype], count, offset=self.offset)
        )
        if words.size != count:
            raise CheckpointError(
                f"{self.path}: the tensor at byte {self.offset} has {words.size} elements, not {count}"
            )
        if self.strides is None:
            return words.reshape(self.shape)
        steps = tuple(step * words.itemsize for step in self.strides)
        return contiguous(np.lib.stride_tricks.as_strided(words, self.shape, steps))

    def _text_words(self) -> np.ndarray:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            text = file.read(self.text)
        try:
            return np.frombuffer(bytearray(text.decode(), "latin1"), WORDS[self.dtype])
        except ValueError:
            raise CheckpointError(
                f"{self.path}: the text at byte {self.offset} does not hold a {self.dtype} array"
            ) from None


def span(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> int:
    """How many elements of storage a tensor reaches over, from its first element to its last."""
    if strides is None or 0 in shape:
        return math.prod(shape)
    return 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; CheckpointError for anything else."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: bad JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return content
