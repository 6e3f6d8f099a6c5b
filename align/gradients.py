"""Gradients on edges: each module's vector-Jacobian product, judged alone.

Taps cut the graph at every edge. A `Tape` remembers the cuts of one forward pass and takes gradients back through them,
last cut first: the gradient that arrives at a cut is shown to a sink, and what the sink gives in its place flows on
into the piece before. So a replay judges every piece on the reference's own inputs *and* on the reference's own output
gradients, and parameter gradients come from the same pass.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from align.backends import Backend
from align.difference import Difference, difference
from align.edges import ROOT, is_input, module_of
from align.record import Record, RecordWriter
from fake_data.stream import Stream

LOSS = f"{ROOT}:out.loss"


class GradientSink(Protocol):
    """Sees the gradients of one pass. None is a gradient that never came, which counts as zero."""

    def expects(self, edge: str, differentiable: bool) -> bool:
        """Whether gradients are taken at this edge; `differentiable` is what the framework says of its tensor."""

    def cotangents(self, outputs: Mapping[str, tuple[int, ...]]) -> Mapping[str, np.ndarray]:
        """The gradients that the pass starts from, for some of the model's outputs (edge → shape)."""

    def pass_gradient(self, edge: str, gradient: np.ndarray | None) -> np.ndarray | None:
        """See the gradient of one edge; return what flows on, None for nothing."""

    def pass_parameter(self, name: str, gradient: np.ndarray | None) -> None:
        """See the gradient of one parameter, in the torch layout."""


@dataclass(frozen=True)
class _Cut:
    edge: str
    before: Any  # the tensor that the piece before made
    after: Any  # the leaf that the piece behind it works on


class Tape:
    """The cuts of one forward pass."""

    def __init__(self, backend: Backend, sink: GradientSink) -> None:
        self._backend = backend
        self.sink = sink
        self._cuts: list[_Cut] = []
        self.at: str | None = None  # the edge that is being passed

    def cut(self, edge: str, before: Any, after: Any) -> None:
        self._cuts.append(_Cut(edge, before, after))

    def unwind(self) -> None:
        """Take the gradients back from the model's outputs to its inputs and parameters."""
        outputs = {c.edge: tuple(c.after.shape) for c in self._cuts if _is_output(c.edge)}
        cotangents = self.sink.cotangents(outputs)
        while self._cuts:
            cut = self._cuts.pop()
            self.at = cut.edge
            if _is_output(cut.edge):
                onward = cotangents.get(cut.edge)
            else:
                onward = self.sink.pass_gradient(cut.edge, self._backend.gradient(cut.after))
            if onward is not None and self._backend.is_differentiable(cut.before):
                self._backend.backward(cut.before, onward)


def _is_output(edge: str) -> bool:
    return module_of(edge) == ROOT and not is_input(edge)


class GradientRecorder:
    """Writes every gradient to a record. One that never came is an empty array with the fact `absent`."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer

    def expects(self, edge: str, differentiable: bool) -> bool:
        return differentiable

    def cotangents(self, outputs: Mapping[str, tuple[int, ...]]) -> Mapping[str, np.ndarray]:
        """1 for a loss; where there is none, fixed random numbers for every output."""
        chosen = {LOSS: np.ones(outputs[LOSS])} if LOSS in outputs else _random(outputs)
        for edge, value in chosen.items():
            self._writer.add(edge, value, kind="cotangent")
        return chosen

    def pass_gradient(self, edge: str, gradient: np.ndarray | None) -> np.ndarray | None:
        self._add(edge, gradient, "gradient")
        return gradient

    def pass_parameter(self, name: str, gradient: np.ndarray | None) -> None:
        self._add(name, gradient, "parameter")

    def _add(self, name: str, gradient: np.ndarray | None, kind: str) -> None:
        value = np.empty(0) if gradient is None else gradient
        self._writer.add(name, value, kind=kind, absent=gradient is None)


def _random(outputs: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {edge: Stream(0, "cotangent", edge).normals(shape).astype(np.float64) for edge, shape in outputs.items()}


class GradientRecord(Mapping[str, np.ndarray | None]):
    """What a `GradientRecorder` wrote: edges, then parameters, in the order in which gradients reached them."""

    def __init__(self, path: str | Path) -> None:
        self._record = Record(path)

    def __getitem__(self, name: str) -> np.ndarray | None:
        return None if self._record.entry(name).facts.get("absent") else self._record[name]

    def __contains__(self, name: object) -> bool:
        return name in self._record

    def __iter__(self) -> Iterator[str]:
        return iter(self._record)

    def __len__(self) -> int:
        return len(self._record)

    def kind(self, name: str) -> str:
        """ "cotangent", "gradient" (of an edge) or "parameter"."""
        return self._record.entry(name).facts["kind"]


@dataclass
class GradientReplay:
    """Compares each gradient with the reference's and lets the reference's flow on.

    `values` are the edges of the reference's forward pass: one without a gradient is where the reference stops it, so
    what arrives there is compared with zero and goes no further. `perturb` changes what flows on. The port's own
    gradients at the names in `keep` are written to `kept`.
    """

    reference: GradientRecord
    values: Record
    perturb: Callable[[np.ndarray], np.ndarray] | None = None
    keep: frozenset[str] = frozenset()
    kept: RecordWriter | None = None
    differences: dict[str, Difference] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)  # never came, though the reference's did
    unexpected: list[str] = field(default_factory=list)  # came, though the reference's did not
    _parameters: set[str] = field(default_factory=set)

    def expects(self, edge: str, differentiable: bool) -> bool:
        return differentiable or edge in self.reference

    def cotangents(self, outputs: Mapping[str, tuple[int, ...]]) -> Mapping[str, np.ndarray]:
        names = (name for name in self.reference if self.reference.kind(name) == "cotangent")
        return {name: value for name in names if name in outputs and (value := self.reference[name]) is not None}

    def pass_gradient(self, edge: str, gradient: np.ndarray | None) -> np.ndarray | None:
        if edge in self.reference or edge in self.values:
            self._compare(edge, gradient)
            expected = self.reference.get(edge)
            return expected if expected is None or self.perturb is None else self.perturb(expected)
        return gradient

    def pass_parameter(self, name: str, gradient: np.ndarray | None) -> None:
        self._parameters.add(name)
        if name in self.reference:
            self._compare(name, gradient)

    def finish(self) -> None:
        """Count the reference's parameters that the port does not have as parameters without a gradient."""
        for name in self.reference:
            if self.reference.kind(name) == "parameter" and name not in self._parameters:
                self._compare(name, None)

    def _compare(self, name: str, gradient: np.ndarray | None) -> None:
        expected = self.reference.get(name)
        if expected is None and gradient is None:
            return
        if gradient is None:
            self.absent.append(name)
        elif self.kept is not None and name in self.keep:
            self.kept.add(name, gradient)
        if expected is None:
            self.unexpected.append(name)
        zero = np.zeros_like(expected if gradient is None else gradient)
        self.differences[name] = difference(
            zero if expected is None else expected, zero if gradient is None else gradient
        )
