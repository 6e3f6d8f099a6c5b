"""What is known of one fault: the values at the edge that shows it, and all that the guilty code had at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from align.edges import ROOT, call_of, module_of

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Repair:
    """What the port computes at the edge once something of its guilty module is mended, and in words what it was."""

    text: str
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class Evidence:
    """One fault in the code of `module`: at `edge` the reference has `expected` where the port has `actual`.

    `inputs` and `outputs` are the edges of the guilty call, `inside` those of the calls that the module's own code
    makes in it: all of the reference, in execution order. `parameters` are the reference's own of the module by their
    last name, `facts` its class and hyper-parameters, `batch` what the whole model was given. `limit` is the largest
    error that passes at the edge. With `masked` the edge holds scores with a mask added, of which only the ordinary
    ones count; with `literal` it is a plain number.
    """

    module: str
    edge: str
    expected: np.ndarray
    actual: np.ndarray
    inputs: Arrays = field(default_factory=dict)
    inside: Arrays = field(default_factory=dict)
    outputs: Arrays = field(default_factory=dict)
    parameters: Arrays = field(default_factory=dict)
    batch: Arrays = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    repairs: Sequence[Repair] = ()
    limit: float = 0.0
    masked: bool = False
    literal: bool = False

    @cached_property
    def at_hand(self) -> dict[str, np.ndarray]:
        """Every recorded tensor that the code could have taken instead, each once and by its first name."""
        found: dict[str, np.ndarray] = {}
        for name, value in [*self.inputs.items(), *self.inside.items(), *self.outputs.items()]:
            if name != self.edge and value.size and not any(_same(value, other) for other in found.values()):
                found[name] = value
        return found

    @cached_property
    def floats(self) -> dict[str, np.ndarray]:
        """Those of float numbers, in float64."""
        kept = {name: value for name, value in self.at_hand.items() if value.dtype.kind == "f"}
        return {name: value.astype(np.float64, copy=False) for name, value in kept.items()}

    def part(self, samples: np.ndarray) -> Self:
        """The evidence on some samples of the batch: on these indices of the first axis, wherever it is as long."""
        size = len(self.actual)

        def cut(value: np.ndarray) -> np.ndarray:
            return value[samples] if value.ndim and len(value) == size else value

        def cut_all(arrays: Arrays) -> Arrays:
            return {name: cut(value) for name, value in arrays.items()}

        return replace(
            self,
            expected=cut(self.expected),
            actual=cut(self.actual),
            inputs=cut_all(self.inputs),
            inside=cut_all(self.inside),
            outputs=cut_all(self.outputs),
            batch=cut_all(self.batch),
        )

    def name(self, edge: str) -> str:
        """An edge or parameter in words, as seen from the guilty module: "its input 1", "the output of dense"."""
        if edge in self.parameters:
            return edge
        if self.module == ROOT and edge in self.inputs:
            given = next((name for name, value in self.batch.items() if _same(value, self.inputs[edge])), None)
            if given is not None:
                return given
        leaf, again = edge.partition(":")[2], call_of(edge).partition("@")[2]
        side, part = ("output", leaf[3:].lstrip(".")) if leaf.startswith("out") else ("input", leaf.lstrip("inarg"))
        if edge in self.inputs or edge in self.outputs:
            return f"its {side} {part}".rstrip()
        child = module_of(edge).removeprefix("" if self.module == ROOT else f"{self.module}.")
        what = f"the {side} {part}".rstrip().removesuffix(" 0")
        return f"{what} of {child}" + (f" in call {again}" if again else "")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and np.array_equal(one, other)
