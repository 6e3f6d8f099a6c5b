"""Bugs in the code of the architecture's own modules, made by rewriting it in one place."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from align.selftest.mutation import Mutation
from align.selftest.operators import OPERATORS, Change, Operator, Scope
from align.selftest.site import Site
from align.selftest.source import Unit, install, rewritten, units
from align.session import Session
from fake_data import label_names

PLACES = 2  # in one piece of code that show the same change
NOTHING: Mapping[str, Any] = {}


def mutations(site: Site) -> list[Mutation]:
    """Every change that an operator makes in every piece of the architecture's code."""
    return list(changed_code(site, OPERATORS))


def changed_code(
    site: Site, operators: Sequence[Operator], kind: str = "", case: Mapping[str, Any] = NOTHING
) -> Iterator[Mutation]:
    """What the operators make of the code, as bugs of their own kinds or of this one."""
    for unit in units(site):
        for node, change, number in _changes(unit, operators):
            yield _mutation(unit, node, replace(change, kind=kind or change.kind), number, case)


def _changes(unit: Unit, operators: Sequence[Operator]) -> Iterator[tuple[ast.AST, Change, int]]:
    """The places of a unit's code with what may stand there, each change numbered from 1."""
    scope, count = Scope(unit), Counter[str]()
    for node in _code(unit.tree):
        for change in (change for operator in operators for change in operator(node, scope)):
            count[change.name] += 1
            if count[change.name] <= PLACES:
                yield node, change, count[change.name]


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """A function and all in it that is run: no annotations, decorators or defaults."""
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list") and not isinstance(value, ast.arguments):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    yield from _code(part)


def _mutation(unit: Unit, node: ast.AST, change: Change, number: int, case: Mapping[str, Any]) -> Mutation:
    tree = rewritten(unit.tree, node, change.text)

    def apply(session: Session) -> None:
        install(session, unit, tree)

    where = f"{unit}" if number == 1 else f"{unit}, {number}"
    stage = "loss" if _needs_labels(unit, node) else "forward"
    return Mutation(
        change.kind,
        f"{change.name} in {where}",
        stage,
        unit.module,
        apply,
        change.explained,
        unit.site.task,
        unit.site.given,
        case,
    )


def _needs_labels(unit: Unit, node: ast.AST) -> bool:
    """Whether the place is only reached with labels that the forward stage does not give."""
    labels = label_names(unit.site.model, unit.site.task)
    if not labels:
        return False
    scope = Scope(unit)
    enclosing = [n for n in (node, *scope.above(node)) if isinstance(n, ast.stmt)]
    read = [n for s in enclosing[:-1] for n in ast.walk(s.test if isinstance(s, ast.If) else s)]
    return str(unit) not in unit.site.runs or any(isinstance(n, ast.Name) and n.id in labels for n in read)
