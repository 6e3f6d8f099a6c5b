"""Attention: scales, masks, softmax, and how heads are split and merged."""

import ast
from collections.abc import Iterator

from align.selftest.operators.scope import Change, Operator, Scope, is_call, mentions, text

MASKS_FROM = 1e3  # a constant of the file that is as large puts scores out of reach


def scale(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Scores / √d, or queries times a factor that the module keeps or is given."""
    match node:
        case ast.BinOp(left=scores, op=ast.Div(), right=ast.Call(args=[width]) as root) if is_call(root, "sqrt"):
            yield Change("FW19", "no_scale", text(scores), "scale")
            yield Change("FW20", "scaled_twice", f"{text(node)} / {text(root)}", "scale")
            yield Change("FW20", "divided_by_the_width", f"{text(scores)} / {text(width)}", "scale")
            yield Change("FW20", "scale_off_by_1e-6", f"{text(node)} * (1 + 1e-6)", "scale")
        case ast.BinOp(left=x, op=ast.Mult(), right=ast.Attribute(attr=name) | ast.Name(id=name) as factor) if (
            "scale" in name
        ):
            yield Change("FW19", "no_scale", text(x), "scale")
            yield Change("FW20", "scaled_twice", f"{text(node)} * {text(factor)}", "scale")
            yield Change("FW20", "scale_off_by_1e-6", f"{text(node)} * (1 + 1e-6)", "scale")
            match x:
                case ast.BinOp(left=query, op=ast.Add(), right=bias):
                    yield Change("FW20", "bias_not_scaled", f"({text(query)} * {text(factor)} + {text(bias)})")


def mask_added(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Scores + mask, on their way into a softmax."""
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as sign, right=right) if scope.enters_softmax(node):
            plus, minus = ("+", "-") if isinstance(sign, ast.Add) else ("-", "+")
            scores, mask = text(left), text(right)
            yield Change("FW22", "mask_ignored", scores, "mask|not added")
            yield Change("FW21", "mask_of_the_other_sign", f"({scores} {minus} {mask})", "mask")
            tiled = f"tensors.tiled_over_batch({scores}, {mask})"
            yield Change("FW24", "mask_tiled_over_batch", f"({scores} {plus} {tiled})", "mask")
            if plus == "+":
                yield Change("FW26", "mask_added_twice", f"({scores} + {mask} + {mask})", "mask")
                yield Change("FW23", "mask_on_queries", f"({scores} + tensors.on_queries({mask}))", "mask")


def mask_made(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """1 − tokens, or largest − tokens."""
    match node:
        case ast.BinOp(left=left, op=ast.Sub(), right=tokens) if mentions(tokens, "mask"):
            if isinstance(left, ast.Constant):
                yield Change("FW21", "mask_inverted", text(tokens), "mask")
            elif is_call(left, "amax", "max"):
                yield Change("FW21", "mask_inverted", f"({text(tokens)} - {text(left)})", "mask")
                yield Change("FW27", "empty_row_masked_too", f"(1 - {text(tokens)})", "mask")


def mask_constant(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """What a masked score loses: enough to vanish, and no more than the dtype can hold.

    Where a row without any token loses nothing, one constant is as good as another unless it is too small.
    """
    match node:
        case ast.Attribute(value=ast.Call() as call, attr="min") if is_call(call, "finfo"):
            sign = "-"
        case ast.Name(id=name) if abs(scope.unit.source.numbers.get(name, 0)) >= MASKS_FROM:
            sign = ""
        case _:
            return
    yield Change("FW25", "mask_of_10", f"({sign}10.0)", "mask")
    yield Change("FW26", "mask_beyond_float32", f"({sign}1e39)", "mask")
    if not any(is_call(part, "amax", "max") for part in ast.walk(scope.parent(node))):
        yield Change("FW27", "mask_of_1e4", f"({sign}1e4)", "mask")
        yield Change("FW27", "mask_of_1e9", f"({sign}1e9)", "mask")


def softmax(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """A softmax that is a function, over the last axis."""
    if is_call(node, "softmax") and not scope.child_class(node) and "-1)" in text(node):
        over_queries = text(node).removesuffix("-1)") + "-2)"
        yield Change("FW18", "softmax_over_queries", over_queries, "softmax|axis")
        yield Change("FW69", "softmax_in_float16", f"tensors.through({text(node)}, 'float16')")


def transposed(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Axes exchanged: heads and positions, or keys and their width."""
    match node:
        case ast.Call(func=ast.Attribute(value=x)) if is_call(node, "transpose", "permute", "swapaxes"):
            yield Change("FW29", "reshaped_not_transposed", f"tensors.reshaped({text(x)}, {text(node)})")


def heads(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """(…, H·d) → (…, H, d) and back; (B, C) → B·C."""
    match node:
        case ast.Call(func=ast.Attribute(attr="unflatten"), args=[axis, _]) if ast.unparse(axis) == "-1":
            yield Change("FW30", "width_before_heads", f"tensors.regrouped({text(node)}, -1)")
        case ast.Call(func=ast.Attribute(value=x, attr="flatten"), args=[ast.Constant(value=int(axis)), *_]):
            kind, name = ("FW30", "merged_width_before_heads") if axis else ("FW57", "choices_before_batch")
            yield Change(kind, name, f"tensors.flattened({text(x)}, {axis}, {text(node)})")


def mixed(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Probabilities @ values: a fused attention that takes heads for positions."""
    match node:
        case ast.BinOp(op=ast.MatMult(), right=ast.Name(id=values)):
            for query, key in _products(scope):
                over_heads = f"tensors.attention_over_heads({query}, {key}, {values})"
                yield Change("FW31", "attends_over_heads", over_heads)


def _products(scope: Scope) -> Iterator[tuple[str, str]]:
    """The names in query @ transposed key."""
    for node in ast.walk(scope.unit.tree):
        match node:
            case ast.BinOp(
                left=ast.Name(id=query), op=ast.MatMult(), right=ast.Call(func=ast.Attribute(value=ast.Name(id=key)))
            ):
                yield query, key


OPERATORS: tuple[Operator, ...] = (
    scale,
    mask_added,
    mask_made,
    mask_constant,
    softmax,
    transposed,
    heads,
    mixed,
)
