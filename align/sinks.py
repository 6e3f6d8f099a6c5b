"""What happens at an edge: a sink is told each value as it passes and may put another in its place.

`Recorder` keeps the values; `Replay` compares them with a record and substitutes the record's, so that every piece of
the model is judged on the reference's own inputs (teacher forcing) and errors do not accumulate.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from align.difference import Difference, difference, holds_masked_scores
from align.record import Record, RecordWriter


@dataclass(frozen=True, slots=True)
class Passage:
    """One tensor passing one edge. `differentiable` is what the framework's autograd says of it; `caller` the calling
    module.
    """

    edge: str
    array: np.ndarray
    differentiable: bool
    caller: str


class Sink(Protocol):
    def pass_edge(self, passage: Passage) -> np.ndarray | None:
        """See one value; return another to put in its place, or None to let it pass."""


def _role(passage: Passage) -> str:
    """How an edge is judged: as "value", as "constant" (no gradient reaches it) or as "masked" (a mask was added)."""
    kind = passage.array.dtype.kind
    if kind == "b" or (kind == "f" and not passage.differentiable):
        return "constant"
    return "masked" if holds_masked_scores(passage.array) else "value"


class Recorder:
    """Writes every value to a record, with the facts that judging needs."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer

    def pass_edge(self, passage: Passage) -> None:
        self._writer.add(passage.edge, passage.array, role=_role(passage), caller=passage.caller)


@dataclass
class Replay:
    """Compares each value with the reference's and then substitutes the reference's.

    Integers are substituted too, and must be equal. Conventions stay the port's own and are judged by their effect
    alone: constants (additive masks, position tables, bools), and scores with a mask added, of which the ordinary
    ones are compared all the same. `constants` and `masks` ask to substitute these as well, which tells where a bad
    one was made. `perturb` changes what is substituted.
    """

    reference: Record
    constants: bool = False
    masks: bool = False
    perturb: Callable[[np.ndarray], np.ndarray] | None = None
    differences: dict[str, Difference] = field(default_factory=dict)
    callers: dict[str, str] = field(default_factory=dict)
    own_constants: dict[str, int] = field(default_factory=dict)  # edge → checksum, where the port's own differ
    own_masks: list[str] = field(default_factory=list)  # edges with masked scores
    unexpected: list[str] = field(default_factory=list)

    def pass_edge(self, passage: Passage) -> np.ndarray | None:
        edge = passage.edge
        self.callers[edge] = passage.caller
        if edge not in self.reference:
            self.unexpected.append(edge)
            return None
        expected, role = self.reference[edge], self.reference.entry(edge).facts["role"]
        if role == "constant":
            self._note_constant(passage, expected)
            return expected.astype(passage.array.dtype) if self.constants else None
        self.differences[edge] = difference(expected, passage.array, masked=role == "masked")
        if role == "masked":
            self.own_masks.append(edge)
            return expected.astype(passage.array.dtype) if self.masks else None
        return self._substitute(expected, passage.array.dtype)

    def _note_constant(self, passage: Passage, expected: np.ndarray) -> None:
        found = difference(expected, passage.array)
        if found.status != "ok" or found.max_abs > 1e-12 * found.scale:
            self.own_constants[passage.edge] = zlib.crc32(np.ascontiguousarray(passage.array).tobytes())

    def _substitute(self, expected: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if expected.dtype.kind != "f":
            return expected
        value = expected if self.perturb is None else self.perturb(expected)
        return value.astype(dtype) if dtype.kind == "f" else value

    @property
    def missing(self) -> list[str]:
        """The reference's edges that this pass never reached."""
        return [edge for edge in self.reference if edge not in self.callers]
