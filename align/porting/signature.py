"""How a call in torch's words becomes one in Paddle's, by one rule: bind its arguments, fill them in."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from align.porting.rules import IGNORED, Rule

Render = Callable[[ast.expr], str]
_ATOMS = (ast.Name, ast.Call, ast.Attribute, ast.Subscript, ast.Constant, ast.List, ast.Tuple, ast.ListComp, ast.Dict)


class UnfitError(Exception):
    """The rule does not fit this call; the message completes "no rule for …"."""


@dataclass
class Bound:
    """What a call gives to each parameter; `rest` to the one with a star."""

    given: dict[str, ast.expr]
    rest: list[ast.expr] = field(default_factory=list)


class Signature:
    """One rule, read: the dotted path of its call (its last word, for a method) and its parameters."""

    def __init__(self, rule: Rule) -> None:
        call = ast.parse(rule.torch, mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Attribute)
        self.rule = rule
        self.path, self.word = ast.unparse(call.func), call.func.attr
        self.star = next((a.value.id for a in call.args if isinstance(a, ast.Starred)), None)  # type: ignore[attr-defined]
        self.required = [a.id for a in call.args if isinstance(a, ast.Name)]
        self.defaults = {word.arg: word.value for word in call.keywords if word.arg}

    @cached_property
    def template(self) -> ast.expr:
        return ast.parse(self.rule.paddle or "", mode="eval").body

    @cached_property
    def used(self) -> set[str]:
        """The parameters that Paddle's call takes."""
        return {node.id for node in ast.walk(self.template) if isinstance(node, ast.Name)}

    def bind(self, call: ast.Call) -> Bound:
        """The arguments by parameter. Raises UnfitError where they are not this signature's."""
        names = [*self.required, *([] if self.star else self.defaults)]
        if self.star:
            names = self.required
        bound = Bound({})
        for place, argument in enumerate(call.args):
            if place < len(names) and not isinstance(argument, ast.Starred):
                bound.given[names[place]] = argument
            elif self.star and place >= len(names):
                bound.rest.append(argument)
            else:
                raise UnfitError("with these arguments")
        for word in call.keywords:
            if word.arg == self.star and word.arg:
                bound.rest.append(word.value)
            elif word.arg in self.defaults or word.arg in self.required or word.arg in IGNORED:
                bound.given[str(word.arg)] = word.value
            else:
                raise UnfitError(f"with the argument {word.arg or '**'}")
        if missing := [name for name in self.required if name not in bound.given]:
            raise UnfitError(f"without {', '.join(missing)}")
        return bound

    def check(self, bound: Bound) -> None:
        """Raise UnfitError where something is given that Paddle's call does not take."""
        for name, value in bound.given.items():
            default = self.defaults.get(name)
            if name in self.used or name in IGNORED:
                continue
            if default is None or ast.unparse(value) != ast.unparse(default):
                raise UnfitError(f"with {name}={ast.unparse(value)}")

    def fill(self, bound: Bound, receiver: ast.expr | None, render: Render) -> str:
        """Paddle's call with the arguments filled in."""
        values, defaults = dict(self.defaults) | bound.given, set(self.defaults.values())
        if receiver is not None:
            values[self.path.partition(".")[0]] = receiver
        filler = _Filler(set(bound.given), values, bound.rest, self.star)
        text = ast.unparse(ast.fix_missing_locations(filler.visit(ast.parse(str(self.rule.paddle), mode="eval").body)))
        for mark, (node, tight) in filler.marks.items():
            inner = ast.unparse(node) if node in defaults else render(node)
            text = text.replace(mark, f"({inner})" if tight and not isinstance(node, _ATOMS) else inner)
        return text if isinstance(self.template, (ast.Call, ast.Attribute)) else f"({text})"


class _Filler(ast.NodeTransformer):
    """Puts a mark in the place of each parameter; texts go there later, as the user wrote them."""

    def __init__(self, given: set[str], values: dict[str, ast.expr], rest: list[ast.expr], star: str | None) -> None:
        self._given, self._values, self._rest, self._star = given, values, rest, star
        self.marks: dict[str, tuple[ast.expr, bool]] = {}

    def _mark(self, node: ast.expr, tight: bool) -> ast.expr:
        mark = f"__given_{len(self.marks)}__"
        self.marks[mark] = node, tight
        return ast.Name(mark)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._mark(self._values[node.id], False) if node.id in self._values else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id in self._values:
            return ast.Attribute(self._mark(self._values[node.value.id], True), node.attr)
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        left, right = (self._mark(self._values[n.id], True) for n in (node.left, node.comparators[0]))  # type: ignore[attr-defined]
        return ast.Compare(left, node.ops, [right])

    def visit_List(self, node: ast.List) -> ast.expr:
        """[*rest]: of a single argument nobody knows whether it is a size or a list of them; both are taken."""
        if [e.value.id for e in node.elts if isinstance(e, ast.Starred)] == [self._star]:  # type: ignore[attr-defined]
            only = self._rest[0] if len(self._rest) == 1 else None
            return ast.List([self._mark(v, False) for v in self._rest]) if only is None else _open(self._mark, only)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        words = [w for w in node.keywords if not (self._is_parameter(w.value) and w.value.id not in self._given)]  # type: ignore[attr-defined]
        args: list[ast.expr] = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                args += [self._mark(value, False) for value in self._rest]
            else:
                args.append(self.visit(argument))
        return ast.Call(self.visit(node.func), args, [ast.keyword(w.arg, self.visit(w.value)) for w in words])

    def _is_parameter(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self._values


def _open(mark: Callable[[ast.expr, bool], ast.expr], only: ast.expr) -> ast.expr:
    return ast.List([mark(only, False)]) if isinstance(only, ast.Starred) else mark(only, False)


def index(rules: tuple[Rule, ...], key: str) -> dict[str, list[Signature]]:
    """Rules by the "path" of their call or by its last "word"."""
    found: dict[str, list[Signature]] = {}
    for signature in map(Signature, rules):
        found.setdefault(getattr(signature, key), []).append(signature)
    return found


def spelled(path: str) -> str:
    """A path as the rules spell it: torch.nn.functional is F, torch.nn is nn."""
    return re.sub(r"^torch\.nn\b", "nn", re.sub(r"^torch\.nn\.functional\b", "F", path))


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that have a place in the text, those of parts without one included."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)):
            continue
        if hasattr(child, "lineno"):
            yield child
        else:
            yield from children(child)
