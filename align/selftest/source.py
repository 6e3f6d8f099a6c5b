"""The source of an architecture: which code the modules of a model run, and that code with one place rewritten.

Nothing is imported to read it, so the places of bugs can be listed without a framework.
"""

import __future__

import ast
import copy
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from align import registry
from align.selftest import tensors
from align.selftest.sabotage import PlaceError, bind, module
from align.selftest.site import Site
from align.session import Session


class Source:
    """The classes and functions of one model file."""

    def __init__(self, text: str) -> None:
        tree = ast.parse(text)
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.numbers = dict(_numbers(tree))
        self.tables = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }

    def methods(self, class_name: str) -> dict[str, tuple[str, ast.FunctionDef]]:
        """The methods of a class by name, with the class that defines each: its own and those it inherits here."""
        found: dict[str, tuple[str, ast.FunctionDef]] = {}
        for base in reversed(self.classes[class_name].bases):
            if isinstance(base, ast.Name) and base.id in self.classes:
                found |= self.methods(base.id)
        own = [node for node in self.classes[class_name].body if isinstance(node, ast.FunctionDef)]
        return found | {node.name: (class_name, node) for node in own if not node.name.startswith("__")}

    def alternatives(self, value: Any) -> list[str]:
        """The other names in a table from which an option chooses one of the file's classes."""
        for table in self.tables.values():
            names = {
                str(key.value): v
                for key, v in zip(table.keys, table.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            if value in names and all(isinstance(v, ast.Name) and v.id in self.classes for v in names.values()):
                return [name for name in names if name != value]
        return []

    def options(self, class_name: str) -> dict[str, str]:
        """Attributes that the class keeps from its configuration: the attribute's name and the option's."""
        found: dict[str, str] = {}
        for node in ast.walk(self.classes[class_name]):
            match node:
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                    pairs = list(zip(targets, values, strict=False))
                case ast.Assign(targets=[target], value=value):
                    pairs = [(target, value)]
                case _:
                    continue
            for pair in pairs:
                match pair:
                    case (
                        ast.Attribute(value=ast.Name(id="self"), attr=attribute),
                        ast.Attribute(value=ast.Name(id="config"), attr=option),
                    ):
                        found[attribute] = option
        return found


def _numbers(tree: ast.Module) -> Iterator[tuple[str, float]]:
    """The numbers that a file gives names to."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant() | ast.UnaryOp() as value):
                number = ast.literal_eval(value)
                if isinstance(number, (int, float)):
                    yield name, number


@cache
def read(model: str, side: str) -> Source:
    """The model file of one framework."""
    return Source(registry.source(model, side))


@dataclass(frozen=True, eq=False)
class Unit:
    """A piece of code that a module runs: its method, or a function of the file that the method calls.

    `owner` is the class that defines the method, `tree` the code that may be rewritten.
    """

    site: Site
    module: str
    owner: str
    method: str
    tree: ast.FunctionDef
    function: str = ""

    def __str__(self) -> str:
        return self.function or f"{self.owner}.{self.method}"

    @property
    def source(self) -> Source:
        return read(self.site.model, self.site.side)


def units(site: Site) -> Iterator[Unit]:
    """All code of an architecture that runs, each piece once: in the first model that has it, in a middle layer."""
    seen: set[str] = set()
    for here in (*site.everywhere(), *_with_other_classes(site)):
        found = [unit for unit in _units(here, read(site.model, site.side)) if str(unit) in here.runs_for_loss]
        yield from (unit for unit in found if str(unit) not in seen)
        seen |= {str(unit) for unit in found}


def _with_other_classes(site: Site) -> Iterator[Site]:
    source = read(site.model, site.side)
    for option, value in site.config.items():
        if isinstance(value, str):
            yield from (site.at(site.task, **{option: other}) for other in source.alternatives(value))


def _units(site: Site, source: Source) -> Iterator[Unit]:
    modules: dict[tuple[str, str], list[str]] = {}
    trees: dict[tuple[str, str], ast.FunctionDef] = {}
    for name, facts in site.kinds.items():
        for method, (owner, tree) in source.methods(facts["class"]).items() if facts["class"] in source.classes else ():
            modules.setdefault((owner, method), []).append(name)
            trees[owner, method] = tree
    called: set[str] = set()
    for (owner, method), names in modules.items():
        middle, tree = names[(len(names) - 1) // 2], trees[owner, method]
        yield Unit(site, middle, owner, method, tree)
        for function in _calls(tree, source):
            if function not in called:
                called.add(function)
                yield Unit(site, middle, owner, method, source.functions[function], function)


def _calls(tree: ast.FunctionDef, source: Source) -> list[str]:
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = dict.fromkeys(function.id for function in calls if isinstance(function, ast.Name))
    return [name for name in names if name in source.functions]


def rewritten(tree: ast.FunctionDef, node: ast.AST, text: str) -> ast.FunctionDef:
    """The function with `node`, an expression or a statement in it, replaced by other source ("" for a statement)."""
    twins: dict[int, Any] = {}
    result = copy.deepcopy(tree, twins)
    if node is tree:
        return ast.parse(text).body[0]  # type: ignore[return-value]
    target = twins[id(node)]
    body = ast.parse(text).body
    new: Any = body[0].value if isinstance(target, ast.expr) else body or ast.Pass()  # type: ignore[attr-defined]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return new if node is target else self.generic_visit(node)

    return ast.fix_missing_locations(Replace().visit(result))


def install(session: Session, unit: Unit, tree: ast.FunctionDef) -> None:
    """Have the unit's module run `tree` in place of the unit's own code.

    Raises:
        PlaceError: the module is of another class, or there is none.
    """
    layer = module(session, unit.module)
    owners = [c for c in type(layer).__mro__ if c.__name__ == unit.owner]
    if not owners or getattr(type(layer), unit.method) is not vars(owners[0])[unit.method]:
        raise PlaceError(f"{unit.owner}.{unit.method}")
    file = sys.modules[owners[0].__module__]
    names = {**vars(file), "tensors": tensors}
    if unit.function:
        names[unit.function] = _compiled(tree, names, None)
        tree = unit.source.methods(unit.owner)[unit.method][1]
    bind(layer, unit.method, _compiled(tree, names, owners[0]))


def _compiled(tree: ast.FunctionDef, names: dict[str, Any], owner: type | None) -> types.FunctionType:
    """The function, in whose body `super()` is that of `owner`."""
    maker = ast.parse("def maker(__class__): pass").body[0]
    assert isinstance(maker, ast.FunctionDef)
    maker.body = [tree, ast.Return(ast.Name(tree.name, ast.Load()))]
    code = ast.fix_missing_locations(ast.Module([maker], []))
    made: dict[str, Any] = {}
    exec(compile(code, f"<{tree.name}, rewritten>", "exec", __future__.annotations.compiler_flag), names, made)
    return made["maker"](owner)
