"""What one model is made of, as far as a map is made from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from align.edges import ROOT, ancestors, module_of
from convert.ops import Shape


@dataclass(frozen=True)
class Module:
    """One module: `own` are the names of the tensors that it holds itself."""

    name: str
    kind: str
    transposed: bool
    own: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """Modules in the order of registration, shapes of tensors by name, and the edges of one pass in their order
    (name → shape and kind of its values).
    """

    modules: tuple[Module, ...]
    shapes: Mapping[str, Shape]
    edges: Mapping[str, tuple[Shape, str]] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    trainable: frozenset[str] = frozenset()

    @classmethod
    def of(cls, description: Mapping[str, Any], edges: Mapping[str, tuple[Shape, str]]) -> "Side":
        modules = [Module(m["name"], m["class"], m["transposed"], tuple(m["own"])) for m in description["modules"]]
        shapes = {name: tuple(shape) for name, shape in description["shapes"].items()}
        trained = frozenset(name for name, is_trained in description["trainable"].items() if is_trained)
        return cls(tuple(modules), shapes, edges, description["tied"], trained)

    @cached_property
    def by_name(self) -> dict[str, Module]:
        return {module.name: module for module in self.modules}

    @cached_property
    def owner(self) -> dict[str, Module]:
        """The module that holds each tensor; of one with several names, that of the first."""
        held = {name: module for module in self.modules for name in module.own}
        return held | {name: held[first] for name, first in self.tied.items() if name not in held}

    @cached_property
    def firsts(self) -> list[str]:
        """Every tensor once, by its first name."""
        return [name for name in self.shapes if name not in self.tied]

    @cached_property
    def calls(self) -> dict[str, int]:
        """Each module that ran, with its place in the order of first calls; one that never ran is left out."""
        first: dict[str, int] = {}
        for edge in self.edges:
            first.setdefault(module_of(edge), len(first))
        return first

    @cached_property
    def subtree(self) -> dict[str, frozenset[str]]:
        """All tensors that a module and its children hold."""
        found: dict[str, set[str]] = {module.name: set() for module in self.modules}
        for module in self.modules:
            for above in (module.name, *ancestors(module.name)):
                if above in found:
                    found[above].update(module.own)
        return {name: frozenset(tensors) for name, tensors in found.items()}

    def place(self, tensor: str) -> float:
        """Where in the order of calls a tensor is used: its module's first call, or that of the nearest enclosing
        module that ran; infinity if none did.
        """
        module = self.owner[tensor].name
        for name in (module, *ancestors(module)):
            if name in self.calls and name != ROOT:
                return self.calls[name]
        return float("inf")
