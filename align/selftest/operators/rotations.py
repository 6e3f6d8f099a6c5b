"""Rotary embeddings: what is turned by its position, and which way."""

import ast
from collections.abc import Iterator

from align.selftest.operators.scope import Change, Operator, Scope, is_call, label, text

_WAVES = {"sin": "cos", "cos": "sin"}


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


def half_turned(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """x · cos − y · sin, x · sin + y · cos: half of a rotation."""
    match node:
        case ast.BinOp(
            left=ast.BinOp(left=x, op=ast.Mult(), right=ast.Name(id=first)),
            op=ast.Add() | ast.Sub() as sign,
            right=ast.BinOp(left=y, op=ast.Mult(), right=ast.Name(id=second)),
        ) if _WAVES.get(first) == second:
            plus, minus = ("+", "-") if isinstance(sign, ast.Add) else ("-", "+")
            one, other = text(x), text(y)
            yield Change("FW34", "of_the_other_sign", f"({one} * {first} {minus} {other} * {second})")
            yield Change("FW34", "waves_exchanged", f"({one} * {second} {plus} {other} * {first})")
            yield Change("FW36", "not_turned", one if first == "cos" else other)


OPERATORS: tuple[Operator, ...] = (left_as_it_is, turned, half_turned)
