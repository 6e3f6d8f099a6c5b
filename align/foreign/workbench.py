"""From two foreign models at work to a map: weights, modules and edges, found by trying.

The torch side is recorded once in float64; every candidate weight map is tried by a pass of the Paddle side with
torch's weights, which gives it its edges, and by a replay on torch's own inputs.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from align.client import Client
from align.edges import module_of
from align.errors import CannotCompareError
from align.mapping.decide import Failure, decide
from align.mapping.edges import Equality, match_edges
from align.mapping.links import Map
from align.mapping.modules import canonical_names, match_modules
from align.mapping.side import Side
from align.mapping.weights import propose
from align.record import Record
from align.sides import names

_EQUAL = 1e-9  # relative to the largest value: two passes in float64 that do the same


@dataclass
class Found:
    """The map, the modules that correspond (Paddle's name → torch's), and the edges (the same)."""

    weights: Map
    modules: Mapping[str, str]
    edges: Mapping[str, str]
    names: Mapping[str, str]


@dataclass
class Workbench:
    """Two sessions with foreign models, their descriptions, and the batch and torch's weights in files."""

    torch: Client
    paddle: Client
    descriptions: Mapping[str, Mapping[str, Any]]
    folder: Path
    batch: Path
    weights: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)  # of its files

    def __post_init__(self) -> None:
        self._wire({}, None)
        self._reference = self._record(self.torch, "torch")
        self._ours = Side.of(self.descriptions["torch"], shapes_of(self._reference))
        self._theirs = Side.of(self.descriptions["paddle"], shapes_of(self._record(self.paddle, "paddle")))

    def find(self, known: Map | None = None) -> Found:
        """The map; `known` is one that was read from a file and is complete.

        Raises:
            CannotCompareError: it is ambiguous, or there is nothing in common.
        """
        found = known or decide(propose(self._ours, self._theirs), self._ours, self._theirs, self._attempt)
        if not found.links:
            raise CannotCompareError(
                "the two models have no weights in common: no shape of one is a shape of the other"
            )
        return self.wired(found)

    @property
    def reference(self) -> Record:
        """What torch did."""
        return self._reference

    @property
    def sides(self) -> tuple[Side, Side]:
        return self._ours, self._theirs

    def wired(self, found: Map) -> Found:
        """What follows from a weight map: the Paddle side runs with torch's weights, and its edges are matched."""
        self._wire({}, None)
        self.fill(found)
        record = self._record(self.paddle, "paddle")
        theirs = replace(self._theirs, edges=shapes_of(record))
        modules = match_modules(found, self._ours, theirs)
        edges = match_edges(modules, self._ours, theirs, _equality(self._reference, record))
        return Found(found, modules, edges, canonical_names(modules, self._ours, theirs))

    def _attempt(self, candidate: Map) -> Failure:
        found = self.wired(candidate)
        self.see(found)
        answer = self.paddle.submit(
            "replay", batch=str(self.batch), dtype="float64", reference=str(self._reference.path)
        ).result()
        failing = [
            place
            for place, raw in enumerate(answer["differences"].values())
            if raw["status"] != "ok" or not raw["max_abs"] <= _EQUAL * raw["scale"]
        ]
        return len(failing) + bool(answer["error"]), -min(failing, default=0)

    def see(self, found: Found) -> None:
        """Let the Paddle side be seen by torch's names."""
        edges = {_renamed(own, found.names): name for own, name in found.edges.items()}
        self._wire(dict(found.names), edges)

    def _wire(self, names: dict[str, str], edges: dict[str, str] | None) -> None:
        words = self.descriptions["paddle"].get("wiring", {})
        self.paddle.submit("foreign.wire", modules=names, edges=edges, **words).result()

    def fill(self, found: Map, weights: Path | None = None) -> None:
        """Give the Paddle side torch's weights: those the bench works with, or others."""
        owned = found.owned(self._ours.tied, self._theirs.tied)
        self.paddle.submit("foreign.fill_mapped", weights=str(weights or self.weights), links=owned.as_json()).result()

    def _record(self, side: Client, name: str) -> Record:
        out = self.folder / f"{name}-{next(self.numbers)}.rec"
        facts = side.submit("record", batch=str(self.batch), dtype="float64", out=str(out)).result()
        if facts["error"]:
            error = facts["error"]
            raise CannotCompareError(
                f"the {names(self.descriptions)[name]} model raised in {error['module']}: {error['message']}"
            )
        return Record(out)


def shapes_of(record: Record) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and kind of values of every edge; plain numbers are left out."""
    entries = ((edge, record.entry(edge)) for edge in record)
    return {e: (entry.shape, np.dtype(entry.dtype).kind) for e, entry in entries if not entry.facts["literal"]}


def _equality(torch: Record, paddle: Record) -> Equality:
    return Equality(
        lambda a, b: same(torch[a], torch[b]),
        lambda a, b: same(paddle[a], paddle[b]),
        lambda a, b: same(torch[a], paddle[b]),
    )


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays hold the same values but for rounding."""
    if one.shape != other.shape or one.dtype.kind != other.dtype.kind or not one.size:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    with np.errstate(all="ignore"):
        return bool(np.abs(one - other).max() <= _EQUAL * np.abs(one).max())


def _renamed(edge: str, names: Mapping[str, str]) -> str:
    """An edge under the canonical name of its module, as the harness will call it before it is mapped."""
    module = module_of(edge)
    return names.get(module, module) + edge[len(module) :]
