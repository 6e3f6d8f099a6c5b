"""What operators are made of: one place in the code of a module, and what may stand there instead."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from align.edges import ROOT
from align.selftest.source import Unit

NORMS = ("LayerNorm", "RMSNorm", "GroupNorm")
ACTIVATIONS = ("GELU", "ReLU", "SiLU", "Tanh", "Sigmoid", "Softplus")

OWN_NORM = "Norm"  # what the name of an architecture's own norm ends in

_SIZES = ("shape", "start", "stop", "step", "ndim")


@dataclass(frozen=True)
class Change:
    """Other source for one expression or statement, and which kind of bug that is.

    `explained` is a pattern of a true explanation, "" where the change has no name of its own.
    """

    kind: str
    name: str
    text: str
    explained: str = ""


class Scope:
    """The code around a place."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self._parents = {child: node for node in ast.walk(unit.tree) for child in ast.iter_child_nodes(node)}
        self._counts: set[str] = set()
        for node in ast.walk(unit.tree):
            match node:
                case ast.arg(arg=name, annotation=ast.Name(id="int" | "range" | "bool")):
                    self._counts.add(name)
                case ast.Assign(targets=[target], value=value):
                    self._assign(target, value)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case ast.Tuple(elts=targets), ast.Tuple(elts=values):
                for one, other in zip(targets, values, strict=False):
                    self._assign(one, other)
            case _ if self.counts(value):
                self._counts |= {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}

    def counts(self, node: ast.expr) -> bool:
        """Whether an expression is a whole number: a size, a step, a number of layers."""
        match node:
            case ast.Constant(value=value):
                return isinstance(value, int)
            case ast.Name(id=name):
                return name in self._counts
            case ast.Attribute(attr=name):
                return name in _SIZES
            case ast.Call():
                return is_call(node, "len", "range", "int")
            case ast.BinOp(left=left, right=right):
                return self.counts(left) and self.counts(right)
            case ast.UnaryOp(operand=inner) | ast.Subscript(value=inner) | ast.IfExp(body=inner):
                return self.counts(inner)
        return False

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """What encloses a node, from the nearest outwards."""
        while node in self._parents:
            node = self._parents[node]
            yield node

    def parent(self, node: ast.AST) -> ast.AST:
        return self._parents[node]

    def child_class(self, node: ast.AST) -> str:
        """The class of the submodule that a node calls, "" if it is no such call."""
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                path = name if self.unit.module == ROOT else f"{self.unit.module}.{name}"
                return self.unit.site.kinds.get(path, {"class": ""})["class"]
        return ""

    def calls_norm(self, node: ast.AST) -> bool:
        """Whether a node calls a submodule that normalises: one of the framework's, or of the file's own."""
        kind = self.child_class(node)
        return kind in NORMS or (kind.endswith(OWN_NORM) and kind in self.unit.source.classes)

    def enters_softmax(self, node: ast.AST) -> bool:
        """Whether a node is part of what a softmax is taken of."""
        return any(is_call(up, "softmax") or "Softmax" in self.child_class(up) for up in self.above(node))


Operator = Callable[[ast.AST, Scope], Iterator[Change]]


def text(node: ast.AST) -> str:
    """The source of a node, in brackets where it is compound."""
    source = ast.unparse(node)
    return source if isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.stmt)) else f"({source})"


def is_call(node: ast.AST, *names: str) -> bool:
    """Whether a node calls a function or a method of one of these names."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name in names
    return False


def mentions(node: ast.AST, *words: str) -> bool:
    """Whether a name or an attribute in an expression contains one of the words."""
    names = [getattr(n, "id", None) or getattr(n, "attr", None) or "" for n in ast.walk(node)]
    return any(word in name for word in words for name in names)


def label(node: ast.AST) -> str:
    """A word for an expression: the last of the names in it that is not `self`."""
    names = [getattr(n, "attr", None) or getattr(n, "id", None) for n in ast.walk(node)]
    return next((name for name in names if name not in (None, "self")), "it")
