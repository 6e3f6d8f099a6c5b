"""A weight map: links between tensors of the torch side and tensors of the Paddle side.

An op says how: in the words of `convert.rules` a tensor is kept, transposed (Linear) or reshaped; beyond these several
tensors of one side may be packed in one of the other.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from align.errors import CannotCompareError
from convert.ops import Shape

# What a link rests on, the surest first; an open one is a guess among several that are equally good.
GIVEN, FUNCTION, UNIQUE, NAMES, OPEN = "given", "function", "shape", "names", "open"


@dataclass(frozen=True)
class Op:
    """From torch's tensors to Paddle's: each torch tensor is transposed first if `transposed`.

    One to one, it then takes `shape`. Many to one, the tensors are joined along `axis` of the Paddle tensor, in
    `groups` rounds: with 1 whole tensors follow each other, with g each is cut into g pieces, and the first pieces of
    all come first. One to many (`split`) is the same read the other way round.
    """

    transposed: bool = False
    shape: Shape | None = None
    axis: int | None = None
    groups: int = 1
    split: int = 0

    @property
    def word(self) -> str:
        if self.axis is not None:
            return "Split" if self.split else "Concat"
        return "Linear" if self.transposed else "Reshape" if self.shape is not None else "Keep"

    def to_paddle(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        turned = [value.T if self.transposed else value for value in values]
        if self.axis is None:
            return [turned[0] if self.shape is None else np.ascontiguousarray(turned[0]).reshape(self.shape)]
        return _apart(turned[0], self.axis, self.split, self.groups) if self.split else [self._joined(turned)]

    def to_torch(self, values: Sequence[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
        """The way back; `shapes` are those of the torch tensors."""
        if self.axis is None:
            due = shapes[0][::-1] if self.transposed else shapes[0]
            found = [np.ascontiguousarray(values[0]).reshape(due)]
        elif self.split:
            found = [self._joined(values)]
        else:
            found = _apart(values[0], self.axis, len(shapes), self.groups)
        return [value.T if self.transposed else value for value in found]

    def _joined(self, values: Sequence[np.ndarray]) -> np.ndarray:
        assert self.axis is not None
        pieces = [np.split(value, self.groups, self.axis) for value in values]
        return np.concatenate([piece for turn in zip(*pieces, strict=True) for piece in turn], self.axis)


def _apart(value: np.ndarray, axis: int, count: int, groups: int) -> list[np.ndarray]:
    pieces = np.split(value, groups * count, axis)
    return [np.concatenate(pieces[i::count], axis) for i in range(count)]


@dataclass(frozen=True)
class Link:
    """Some tensors of torch and those of Paddle that hold the same numbers; `sure` says what that rests on.

    `certainty` is between 0 and 1: how far the next best candidate is behind.
    """

    torch: tuple[str, ...]
    paddle: tuple[str, ...]
    op: Op = field(default_factory=Op)
    sure: str = NAMES
    certainty: float = 1.0
    shapes: tuple[Shape, ...] = ()  # of torch's tensors


@dataclass(frozen=True)
class Map:
    """The links of two models, with the names that have no counterpart."""

    links: tuple[Link, ...]
    only_torch: tuple[str, ...] = ()
    only_paddle: tuple[str, ...] = ()

    def to_paddle(self, weights: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Paddle's tensors, made of torch's."""
        for link in self.links:
            if all(name in weights for name in link.torch):
                yield from zip(link.paddle, link.op.to_paddle([weights[n] for n in link.torch]), strict=True)

    def to_torch(self, arrays: Mapping[str, np.ndarray | None]) -> Iterator[tuple[str, np.ndarray | None]]:
        """Torch's tensors, made of those of Paddle's that are there; None (no gradient) stays None.

        Arrays of another rank than the tensor's (a step counter) cannot be turned and are left out.
        """
        seen: set[str] = set()
        for link in self.links:
            values = [arrays[name] for name in link.paddle if name in arrays]
            if len(values) < len(link.paddle) or seen & set(link.torch):
                continue
            seen |= set(link.torch)
            there = [value for value in values if value is not None]
            if len(there) < len(values):
                yield from ((name, None) for name in link.torch)
            else:
                yield from zip(link.torch, link.op.to_torch(there, link.shapes), strict=True)

    def view(self, name: str) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
        """Torch's name of one Paddle tensor, and the function to torch's layout, which leaves other ranks as they are.

        Raises:
            CannotCompareError: the tensor is packed otherwise in torch, so that one view cannot show it.
        """
        link = next((link for link in self.links if name in link.paddle), None)
        if link is None:
            return name, np.asarray
        if link.op.axis is not None:
            raise CannotCompareError(f"{name} is packed otherwise in torch: this stage needs weights one to one")
        rank = len(link.op.shape or link.shapes[0])
        return link.torch[0], lambda a: link.op.to_torch([a], link.shapes)[0] if a.ndim == rank else a

    def owned(self, torch_ties: Mapping[str, str], paddle_ties: Mapping[str, str]) -> Self:
        """The same map with every tied tensor under its first name on either side, and no Paddle tensor twice."""
        kept: dict[tuple[str, ...], Link] = {}
        for link in self.links:
            torch = tuple(torch_ties.get(name, name) for name in link.torch)
            paddle = tuple(paddle_ties.get(name, name) for name in link.paddle)
            kept.setdefault(paddle, Link(torch, paddle, link.op, link.sure, link.certainty, link.shapes))
        return type(self)(tuple(kept.values()), self.only_torch, self.only_paddle)

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(link) for link in self.links]

    @classmethod
    def from_json(cls, links: Iterable[Mapping[str, Any]]) -> Self:
        return cls(tuple(_link(raw) for raw in links))


def _link(raw: Mapping[str, Any]) -> Link:
    op = dict(raw["op"])
    op["shape"] = None if op["shape"] is None else tuple(op["shape"])
    shapes = tuple(tuple(shape) for shape in raw["shapes"])
    return Link(tuple(raw["torch"]), tuple(raw["paddle"]), Op(**op), raw["sure"], raw["certainty"], shapes)


def size(shape: Shape) -> int:
    return math.prod(shape)
