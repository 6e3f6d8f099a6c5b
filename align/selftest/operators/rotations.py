"""Rotary embeddings: what is turned by its position, and which way."""

import ast
from collections.abc import Iterator

from align.selftest.operators.scope import Change, Operator, Scope, is_call, label, text


def left_as_it_is(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """A query or a key that a rotary module is called with."""
    match node:
        case ast.Call(func=rotary, args=[states, *angles]) if scope.child_class(node).endswith("Rotary"):
            rest = ", ".join(map(text, angles))
            yield Change("FW36", f"{label(states)}_not_turned", text(states))
            yield Change("FW36", f"{label(states)}_turned_twice", f"{text(rotary)}({text(node)}, {rest})")


def turned(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Pairs as complex numbers, times those of their positions."""
    match node:
        case ast.BinOp(left=pairs, op=ast.Mult(), right=turns):
            if any(is_call(part, "view_as_complex", "as_complex") for part in ast.walk(turns)):
                yield Change("FW34", "turned_backwards", f"({text(pairs)} * {text(turns)}.conj())")


OPERATORS: tuple[Operator, ...] = (left_as_it_is, turned)
