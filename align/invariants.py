"""What a batch must not decide: the same examples in another batch, and which values of two runs must then be equal.

Values are matched by their shapes alone, outputs and what passes inside a model alike. One whose first axes are those
of the attention mask belongs to tokens, of which only the attended count; one that begins with the batch belongs to
examples; a number without axes to the whole batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from fake_data.variations import Axes, append_padding, change_padding, take_rows

PADDING, UNDER_PADDING, ORDER, ALONE = "padding", "tokens under padding", "batch order", "batch of one"
_PADS = 3


@dataclass(frozen=True)
class Variation:
    """The examples `rows` of a batch in another form; `padded` says that what stands at pads has changed."""

    name: str
    batch: Mapping[str, np.ndarray]
    rows: tuple[int, ...]
    padded: bool


@dataclass(frozen=True)
class Matched:
    """Values that must be equal, and the (example, position …) in the batch that each index of their first axis is."""

    expected: np.ndarray
    actual: np.ndarray
    places: np.ndarray | None = None

    def place(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Where in the batch an index of the values stands; () if it has no place there."""
        return () if self.places is None or not index else tuple(self.places[index[0]].tolist())


@dataclass(frozen=True)
class Examples:
    """A batch and the axes of its arrays. `by_position` says that its loss is a softmax over positions, pads too."""

    batch: Mapping[str, np.ndarray]
    axes: Mapping[str, Axes]
    by_position: bool = False

    @cached_property
    def count(self) -> int:
        sizes = (len(array) for name, array in self.batch.items() if self.axes[name].names[:1] == ("batch",))
        return next(sizes, 0)

    @cached_property
    def mask(self) -> np.ndarray | None:
        return self.batch.get("attention_mask")

    def attended(self) -> list[int]:
        """The examples in which every sequence has a token: of one without any, nothing is defined."""
        if self.mask is None:
            return list(range(self.count))
        return np.flatnonzero(self.mask.any(-1).reshape(self.count, -1).all(-1)).tolist()

    def take(self, rows: Sequence[int]) -> Self:
        return replace(self, batch=take_rows(self.batch, self.axes, rows))

    def variations(self, longest: int | None) -> Iterator[Variation]:
        """Every variation that there is room for, if no row may be longer than `longest`."""
        rows = tuple(range(self.count))
        if self.count > 1:
            yield Variation(ORDER, self.take(rows[::-1]).batch, rows[::-1], False)
            yield Variation(ALONE, self.take(rows[-1:]).batch, rows[-1:], False)
        if self.mask is not None:
            pads = _PADS if longest is None else min(_PADS, longest - self.mask.shape[-1])
            if pads > 0:
                yield Variation(PADDING, append_padding(self.batch, self.axes, pads), rows, True)
            if (self.mask == 0).any() and "input_ids" in self.batch:
                ids = np.unique(self.batch["input_ids"][self.mask == 1])[::-1]
                yield Variation(UNDER_PADDING, change_padding(self.batch, ids), rows, True)

    def match(self, expected: np.ndarray, actual: np.ndarray, variation: Variation) -> Matched | None:
        """What must be equal of a value from this batch and one from a variation of it; None if nothing need be.

        Where the shapes do not fit each other the values are given as they are.
        """
        if expected.ndim == 0:
            other = len(variation.rows) < self.count or (variation.padded and self.by_position)
            return None if other else Matched(expected, actual)
        sequences = self.count if self.mask is None else self.mask[..., 0].size
        if len(expected) not in (self.count, sequences):
            return None
        if variation.padded and self.mask is not None:
            return _of_tokens(expected, actual, self.mask, variation.batch["attention_mask"])
        each = len(expected) // self.count
        index = np.arange(len(expected)).reshape(self.count, each)[list(variation.rows)].ravel()
        return Matched(expected[index], actual, (index // each)[:, None])


def _of_tokens(expected: np.ndarray, actual: np.ndarray, mask: np.ndarray, other: np.ndarray) -> Matched | None:
    one, two = _by_token(expected, mask), _by_token(actual, other)
    if one is None or (two is None and actual.shape == expected.shape):  # no value for every token
        whole = expected.ndim <= 2 and actual.shape == expected.shape
        return Matched(expected, actual, np.arange(len(expected))[:, None]) if whole else None
    if two is None:
        return Matched(expected, actual)
    kept = mask.reshape(one.shape[:2]) == 1
    return Matched(one[kept], two[:, : mask.shape[-1]][kept], np.argwhere(mask == 1))


def _by_token(value: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """A value for every token as (sequences, length, …); choices may be an axis of their own or not."""
    flat = (mask[..., 0].size, mask.shape[-1])
    axes = next((len(shape) for shape in (mask.shape, flat) if value.shape[: len(shape)] == shape), None)
    return None if axes is None else value.reshape(*flat, *value.shape[axes:])
