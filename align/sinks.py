"""What happens at an edge: a sink is told each value as it passes and may put another in its place.

`Recorder` keeps the values; `Replay` compares them with a record and substitutes the record's, so that every piece of
the model is judged on the reference's own inputs (teacher forcing) and errors do not accumulate.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from align.difference import Difference, difference, holds_masked_scores
from align.edges import is_change
from align.record import Record, RecordWriter


@dataclass(frozen=True, slots=True)
class Passage:
    """One value passing one edge of a call that `caller` made.

    `differentiable` is what the framework's autograd says of a tensor; `literal` marks a plain number.
    """

    edge: str
    array: np.ndarray
    differentiable: bool
    caller: str
    literal: bool = False


class Sink(Protocol):
    def pass_edge(self, passage: Passage) -> np.ndarray | None:
        """See one value; return another to put in its place, or None to let it pass."""


def _role(passage: Passage) -> str:
    """How an edge is judged: as "value", as "constant" (no gradient reaches it) or as "masked" (a mask was added)."""
    kind = passage.array.dtype.kind
    if passage.literal or kind == "b" or (kind == "f" and not passage.differentiable):
        return "constant"
    return "masked" if holds_masked_scores(passage.array) else "value"


class Recorder:
    """Writes every value to a record, with the facts that judging needs."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer

    def pass_edge(self, passage: Passage) -> None:
        self._writer.add(
            passage.edge, passage.array, role=_role(passage), literal=passage.literal, caller=passage.caller
        )


@dataclass
class Replay:
    """Compares each value with the reference's and then substitutes the reference's.

    Integers are substituted too, and must be equal. Conventions stay the port's own and are judged by their effect
    alone: constants (additive masks, position tables, bools, plain numbers), and scores with a mask added, of which
    the ordinary ones are compared all the same. To tell where a bad one was made, the first `constants` of the
    constants and, with `masks`, the masked scores are substituted as well. `perturb` changes what is substituted.
    The port's own values at the edges in `keep` are written to `kept`.
    """

    reference: Record
    constants: int = 0
    masks: bool = False
    perturb: Callable[[np.ndarray], np.ndarray] | None = None
    keep: frozenset[str] = frozenset()
    kept: RecordWriter | None = None
    differences: dict[str, Difference] = field(default_factory=dict)
    callers: dict[str, str] = field(default_factory=dict)
    own_constants: dict[str, int] = field(default_factory=dict)  # edge → its number, where the port's own differ
    own_masks: list[str] = field(default_factory=list)  # edges with masked scores
    unexpected: list[str] = field(default_factory=list)
    stops: dict[str, str] = field(default_factory=dict)  # edge → the side on which no gradient would pass it
    _constants_passed: int = 0

    def pass_edge(self, passage: Passage) -> np.ndarray | None:
        edge = passage.edge
        self.callers[edge] = passage.caller
        if self.kept is not None and edge in self.keep:
            self.kept.add(edge, passage.array)
        if edge not in self.reference:
            return self._pass_unexpected(passage)
        expected, role = self.reference[edge], self.reference.entry(edge).facts["role"]
        if expected.dtype.kind == "f" and not passage.literal and passage.differentiable == (role == "constant"):
            self.stops[edge] = "torch" if passage.differentiable else "paddle"
        if role == "constant":
            return self._pass_constant(passage, expected)
        self.differences[edge] = difference(expected, passage.array, masked=role == "masked")
        if role == "masked":
            self.own_masks.append(edge)
            return _cast(expected, passage.array.dtype) if self.masks else None
        return self._substitute(expected, passage.array.dtype)

    def _pass_unexpected(self, passage: Passage) -> np.ndarray | None:
        """An edge that the reference does not have; what it does not change in place, it goes on with as it was."""
        if not passage.literal:
            self.unexpected.append(passage.edge)
        return self.reference.get(passage.edge.replace(":after", ":in")) if is_change(passage.edge) else None

    def _pass_constant(self, passage: Passage, expected: np.ndarray) -> np.ndarray | None:
        number = self._constants_passed
        self._constants_passed += 1
        found = difference(expected, passage.array)
        if found.status != "ok" or found.max_abs > 1e-12 * found.scale:
            self.own_constants[passage.edge] = number
        return _cast(expected, passage.array.dtype) if number < self.constants else None

    def _substitute(self, expected: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if expected.dtype.kind != "f":
            return expected
        return _cast(expected if self.perturb is None else self.perturb(expected), dtype)

    @property
    def missing(self) -> list[str]:
        """The reference's edges that this pass never reached, plain numbers apart."""
        return [e for e in self.reference if e not in self.callers and not self.reference.entry(e).facts["literal"]]


def _cast(value: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The reference's value in the port's float width; other kinds are never converted into each other."""
    return value.astype(dtype) if value.dtype.kind == dtype.kind == "f" else value
