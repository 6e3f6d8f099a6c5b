"""Positions and places: what is counted, sliced, joined, padded, pooled and chosen along the sequence."""

import ast
from collections.abc import Iterator

from align.selftest.operators.scope import Change, Operator, Scope, is_call, label, mentions, text

_LOOPS = (ast.For, ast.comprehension)
LAST_ROW = "position|stands at"  # of a table: the last row is the one before


def positions(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Places counted from 0."""
    if not is_call(node, "arange"):
        return
    compared = isinstance(scope.parent(node), ast.Compare)
    yield Change("FW38", "positions_from_1", f"({text(node)} + 1)", "" if compared else "position")
    if not compared:
        yield Change("FW38", "last_position_cut_off", f"tensors.up_to_the_last_but_one({text(node)})", LAST_ROW)
    ids = [arg.arg for arg in scope.unit.tree.args.args if arg.arg.endswith("input_ids")]
    if ids:
        yield Change("FW39", "positions_count_tokens", f"tensors.counted({ids[0]})", "position")


def distances(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """A range of places or distances; what only repeats a step is none."""
    match node:
        case ast.Call(func=ast.Name(id="range"), args=[start, stop, *step]):
            if not isinstance(scope.parent(node), _LOOPS):
                rest = "".join(f", {text(part)}" for part in step)
                yield Change("FW42", "off_by_one", f"range({text(start)} + 1, {text(stop)} + 1{rest})")
        case ast.BinOp(left=ast.Constant(value=int()), op=ast.Mult(), right=size) if scope.counts(size):
            yield Change("FW42", f"{label(size)}_not_multiplied", text(size))


def frequencies(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """10000^(−2i / width)."""
    match node:
        case ast.BinOp(left=ast.Constant(value=int(base) | float(base)), op=ast.Pow(), right=exponent) if base >= 1000:
            yield Change("FW35", "base_times_10", f"{base * 10} ** {text(exponent)}")
            match exponent:
                case ast.BinOp(left=left, op=ast.Div(), right=width):
                    yield Change("FW41", "up_to_the_last", f"{base} ** ({text(left)} / ({text(width)} - 2))")


def joined(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Two tensors joined."""
    match node:
        case ast.Call(func=function, args=[ast.List(elts=[first, second]), *_]) if is_call(node, "concat", "cat"):
            one, other = text(first), text(second)
            axis = next((text(k.value) for k in node.keywords if k.arg in ("axis", "dim")), text(node.args[-1]))
            waves = mentions(node, "sin") and mentions(node, "cos")
            if one != other:
                name = "sines_after_cosines" if waves else "joined_the_other_way"
                yield Change("FW41" if waves else "FW44", name, f"{text(function)}([{other}, {one}], {axis})")
            if waves:
                yield Change("FW41", "interleaved", f"tensors.interleaved({text(node)}, {axis})")
            if isinstance(second, ast.Subscript):
                yield Change("FW61", "filled_with_zeros", f"{text(function)}([{one}, {other} * 0], {axis})")


def slices(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """x[:, :n], x[:, n:], x[:, :-1]: the other end."""
    match node:
        case ast.Subscript(value=x, slice=ast.Tuple(elts=[*before, ast.Slice(lower=lower, upper=upper, step=None)])):
            if not before or (lower is None) == (upper is None):
                return
            start = ", ".join(ast.unparse(part) for part in before)
            bound = lower if upper is None else upper
            assert bound is not None
            backwards = isinstance(bound, ast.UnaryOp)
            size = text(bound.operand) if isinstance(bound, ast.UnaryOp) else text(bound)
            other = (
                (f"-{size}:" if upper is not None else f":-{size}")
                if not backwards
                else (f"{size}:" if upper is not None else f":{size}")
            )
            yield Change("FW44", "the_other_end", f"{text(x)}[{start}, {other}]")


def pooled(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """x[:, 0]: the first token's state."""
    match node:
        case ast.Subscript(value=x, slice=ast.Tuple(elts=[*before, ast.Constant(value=0)])):
            start = ", ".join(ast.unparse(part) for part in before)
            yield Change("FW72", "last_for_first", f"{text(x)}[{start}, -1]", "token|pool")
            yield Change("FW72", "mean_for_first", f"{text(x)}.mean({len(before)})", "token|pool")


def repeated(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Each element repeated."""
    match node:
        case ast.Call(func=ast.Attribute(value=x, attr="repeat_interleave"), args=[times], keywords=[axis]):
            yield Change("FW62", "tiled", f"tensors.tiled({text(x)}, {text(times)}, {text(axis.value)})")


def padded(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """F.pad(x, (…, before, after))."""
    match node:
        case ast.Call(func=function, args=[x, ast.Tuple(elts=[*others, before, after]), *_]) if is_call(node, "pad"):
            sides = ", ".join(text(part) for part in [*others, after, before])
            yield Change("FW60", "padded_on_the_other_side", f"{text(function)}({text(x)}, ({sides}))")


def parts(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """`a, b = …`, of which each goes to the other's name."""
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id=a), ast.Name(id=b), *more])], value=value):
            if isinstance(value, (ast.Call, ast.GeneratorExp)):
                names = ", ".join([b, a, *map(text, more)])
                yield Change("FW56", f"{a}_and_{b}_exchanged", f"{names} = {ast.unparse(value)}")


def lookup(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """A way of computing that the module chose from a table of the file: each of the others."""
    match node:
        case ast.Subscript(value=ast.Name(id=table), slice=ast.Attribute(value=ast.Name(id="self")) as chosen):
            for turn in range(1, _length(scope, table)):
                keys = f"list({table})"
                index = f"({keys}.index({text(chosen)}) + {turn}) % len({table})"
                yield Change("FW44", f"another_{chosen.attr}_{turn}", f"{table}[{keys}[{index}]]")


def _length(scope: Scope, table: str) -> int:
    tables = scope.unit.source.tables
    return len(tables[table].keys) if table in tables else 0


OPERATORS: tuple[Operator, ...] = (
    positions,
    distances,
    frequencies,
    joined,
    slices,
    pooled,
    repeated,
    padded,
    parts,
    lookup,
)
