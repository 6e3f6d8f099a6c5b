"""Convolutions written out as sums of shifted products, and what is computed in groups."""

import ast
from collections.abc import Iterator

from align.selftest.operators.scope import Change, Operator, Scope, is_call, mentions, text


def borders(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """F.pad(x, [before, after]): as many on both sides, or one more before and one less behind."""
    match node:
        case ast.Call(func=function, args=[x, ast.List(elts=[before, after]), *others]) if is_call(node, "pad"):
            options = [f"{option.arg}={text(option.value)}" for option in node.keywords]
            ends = f"[{text(before)} + 1, {text(after)} - 1]"
            moved = ", ".join([text(x), ends, *map(text, others), *options])
            yield Change("FW63", "one_place_to_the_right", f"{text(function)}({moved})")


def windows(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """x[:, at : at + size], where `at` runs over the places of a kernel: the window before."""
    match node:
        case ast.Subscript(value=x, slice=ast.Tuple(elts=[*axes, ast.Slice(lower=ast.Name() as at, upper=upper)])):
            if axes and isinstance(upper, ast.BinOp) and not isinstance(upper.right, ast.Constant):
                start = ", ".join(ast.unparse(axis) for axis in axes)
                size = text(upper.right)
                yield Change(
                    "FW63", "the_window_before", f"{text(x)}[{start}, {text(at)} - 1 : {text(at)} - 1 + {size}]"
                )


def steps(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """`for place in range(1, k)`, where the body adds to a sum what stands at the place: the last one left out."""
    match node:
        case ast.For(target=ast.Name() as target, iter=ast.Call(args=[start, stop]), body=body):
            if is_call(node.iter, "range") and _adds(body, target.id):
                lines = "\n".join(f"    {line}" for part in body for line in ast.unparse(part).splitlines())
                head = f"for {text(target)} in range({text(start)}, {text(stop)} - 1)"
                yield Change("FW44", "without_the_last_place", f"{head}:\n{lines}")


def _adds(body: list[ast.stmt], place: str) -> bool:
    """Whether statements end in a sum that grows, with something that stands at `place`."""
    match body[-1]:
        case ast.AugAssign(op=ast.Add()) | ast.Assign(value=ast.BinOp(op=ast.Add())):
            return any(mentions(part, place) for part in body)
    return False


def groups(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """x.chunk(groups): the groups in another order."""
    match node:
        case ast.Call(func=ast.Attribute(value=x, attr="chunk")) if not isinstance(x, ast.Attribute):
            yield Change("FW56", "groups_in_reverse", f"{text(node)}[::-1]")


OPERATORS: tuple[Operator, ...] = (borders, windows, steps, groups)
