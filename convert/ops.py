"""What a rule does to a tensor between two layouts. Every op is reversible to the last bit, and knows its inverse.

Each is a reshape of a transposed matrix, or of nothing: `matrix` says which, so that a tensor can be streamed.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Groups = tuple[tuple[str, ...], ...]  # the axes of a tensor, each as the named axes that are stored as one in it


@dataclass(frozen=True)
class Keep:
    """The tensor as it stands: embeddings, norms, biases, everything of three dimensions."""

    def shape(self, shape: Shape) -> Shape:
        """The shape in the target layout; ValueError where the rule cannot apply."""
        return shape

    def view(self, array: np.ndarray) -> np.ndarray:
        """The tensor in the target layout, as a view: nothing is copied yet."""
        return array

    def matrix(self, shape: Shape) -> tuple[int, int] | None:
        """(rows, columns) of the matrix that `shape` in C order is, where the target's bytes are its transpose's.

        None where the target's bytes are the source's.
        """
        return None

    def inverse(self) -> "Keep":
        """The op of the way back."""
        return self

    def sized(self, config: Mapping[str, Any]) -> "Keep":
        """The op for one configuration."""
        return self


@dataclass(frozen=True)
class Reshape(Keep):
    """Axes regrouped, and those at the front moved to the end: "(n_head d_head) d_model" → "d_model n_head d_head".

    `source` and `target` name the axes on both sides. Parentheses hold axes that are stored as one, the first of them
    outermost; 1 is an axis of that length. An axis named like an option of the configuration has its size.
    """

    source: str
    target: str
    sizes: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        before, after = _flat(parse(self.source)), _flat(parse(self.target))
        if len(set(before)) < len(before) or not any(_turned(before, at) == after for at in range(len(before) or 1)):
            raise ValueError(f"{self.source} → {self.target} is no reshaped transposition")

    def shape(self, shape: Shape) -> Shape:
        sizes = self._sizes(shape)
        return tuple(math.prod(sizes[axis] for axis in group) for group in parse(self.target))

    def view(self, array: np.ndarray) -> np.ndarray:
        shape, matrix = self.shape(array.shape), self.matrix(array.shape)
        return array.reshape(shape) if matrix is None else array.reshape(matrix).T.reshape(shape)

    def matrix(self, shape: Shape) -> tuple[int, int] | None:
        sizes, axes, after = self._sizes(shape), _flat(parse(self.source)), _flat(parse(self.target))
        if axes == after:
            return None
        cut = axes.index(after[0])
        return math.prod(sizes[axis] for axis in axes[:cut]), math.prod(sizes[axis] for axis in axes[cut:])

    def inverse(self) -> Keep:
        return replace(self, source=self.target, target=self.source)

    def sized(self, config: Mapping[str, Any]) -> Keep:
        known = {axis: config[axis] for axis in _flat(parse(self.source)) if type(config.get(axis)) is int}
        return replace(self, sizes=tuple(sorted(known.items())))

    def _sizes(self, shape: Shape) -> dict[str, int]:
        """The size of each named axis in a tensor of `shape`; ValueError where it is not such a tensor."""
        groups, found = parse(self.source), dict(self.sizes)
        if len(groups) != len(shape):
            raise ValueError(f"it should have {len(groups)} dimensions: {self.source}")
        for group, size in zip(groups, shape, strict=True):
            unknown = [axis for axis in group if axis not in found]
            if len(unknown) > 1:
                raise ValueError(f"the configuration says neither of {', '.join(unknown)}")
            known = math.prod(found[axis] for axis in group if axis in found)
            if unknown:
                found[unknown[0]] = size // known if known else 0
            if math.prod(found[axis] for axis in group) != size:
                said = ", ".join(f"{axis} {found[axis]}" for axis in group if axis not in unknown)
                raise ValueError(f"its axes should be {self.source}, with {said or 'an axis of 1'}")
        return found


@dataclass(frozen=True)
class Linear(Reshape):
    """The weight of a Linear, transposed: torch stores (out, in), Paddle (in, out). Its own inverse."""

    source: str = "out in"
    target: str = "in out"

    def inverse(self) -> Keep:
        return self


@dataclass(frozen=True)
class Alias(Keep):
    """A second name of the tensor `of`, which a file may leave out: it is then due wherever the name `beside` stands.

    Without `beside`, where no name tells, it is due in the architectures that the rule is limited to (`Rule.only`).
    Where a file holds both, they must be equal to the last bit. If the configuration sets `option` to false, the two
    are not tied, and the rule is a plain Keep. The names have no `{}`.
    """

    of: str
    beside: str | None
    option: str | None = None


@dataclass(frozen=True)
class Drop(Keep):
    """A name that only the other layout has, left out on purpose; the reverse direction does not make it."""

    reason: str


def then(first: Keep, second: Keep) -> Keep:
    """`first`, then `second`, as one op. Two transpositions cancel."""
    if not (isinstance(first, Reshape) and isinstance(second, Reshape)):
        return second if first == Keep() else first
    here, there = _unified(parse(first.target), parse(second.source))
    source, target = _renamed(parse(first.source), here), _renamed(parse(second.target), there)
    if source == target:
        return Keep()
    sizes = {axis: size for axis, size in (*first.sizes, *second.sizes) if axis in _flat(source)}
    if [*map(len, source)] == [*map(len, target)] == [1, 1] and not sizes:
        return Linear()
    return Reshape(spelled(source), spelled(target), tuple(sorted(sizes.items())))


@lru_cache
def parse(axes: str) -> Groups:
    """The groups of "(n_head d_head) d_model": (("n_head", "d_head"), ("d_model",)); an axis of 1 is empty."""
    found = re.findall(r"\(([^()]*)\)|([^\s()]+)", axes)
    return tuple(tuple(group.split()) if group else () if axis == "1" else (axis,) for group, axis in found)


def spelled(groups: Groups) -> str:
    """The text that `parse` reads."""
    return " ".join(group[0] if len(group) == 1 else f"({' '.join(group)})" if group else "1" for group in groups)


def _flat(groups: Groups) -> tuple[str, ...]:
    return tuple(axis for group in groups for axis in group)


def _turned(axes: tuple[str, ...], cut: int) -> tuple[str, ...]:
    return axes[cut:] + axes[:cut]


def _unified(a: Groups, b: Groups) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Two descriptions of the same tensor: what the axes of each are called in a common, finer one."""
    if len(a) != len(b):
        raise ValueError(f"{spelled(a)} and {spelled(b)} are not the same axes")
    here: dict[str, tuple[str, ...]] = {}
    there: dict[str, tuple[str, ...]] = {}
    for one, other in zip(a, b, strict=True):
        if len(one) == 1:
            here[one[0]] = other
        elif len(other) == 1:
            there[other[0]] = one
        elif len(one) == len(other):
            there |= {axis: (name,) for axis, name in zip(other, one, strict=True)}
        else:
            raise ValueError(f"{spelled(a)} and {spelled(b)} are not the same axes")
    return here, there


def _renamed(groups: Groups, names: Mapping[str, Sequence[str]]) -> Groups:
    return tuple(tuple(name for axis in group for name in names.get(axis, (axis,))) for group in groups)
