"""Gated units: gates, scales kept as parameters, root-mean-square norms, and how many keys a query sees."""

import ast
from collections.abc import Iterator

from align.selftest.operators.scope import Change, Operator, Scope, is_call, mentions, text


def gate(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """gate · (weights @ values)."""
    match node:
        case ast.BinOp(left=ast.Name() as left, op=ast.Mult(), right=ast.BinOp(op=ast.MatMult()) as mixed):
            weights, values = text(mixed.left), text(mixed.right)
            yield Change("FW71", "no_gate", text(mixed))
            yield Change("FW71", "gate_added", f"({text(left)} + {text(mixed)})")
            yield Change("FW71", "gated_before_mixing", f"({weights} @ ({text(left)} * {values}))")


def kept_scale(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """x · self.weight."""
    match node:
        case ast.BinOp(left=ast.Name() as x, op=ast.Mult(), right=ast.Attribute(value=ast.Name(id="self")) as weight):
            if weight.attr == "weight":
                yield Change("FW50", "no_weight", text(x), "weight|γ|multiplied|scale|its input")
                yield Change("FW07", "weight_plus_1", f"({text(x)} * (1 + {text(weight)}))")


def root_mean_square(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """√(mean of x² + ε), or one over it."""
    match node:
        case ast.Call(func=root, args=[ast.BinOp(left=mean, op=ast.Add(), right=ast.Attribute() as eps)]):
            if not is_call(node, "rsqrt", "sqrt") or not mentions(mean, "mean"):
                return
            for value in ("1e-5", "1e-7"):
                yield Change("FW02", f"eps_{value}", f"{text(root)}({text(mean)} + {value})", "eps")
            for square in (part for part in ast.walk(mean) if is_call(part, "square")):
                yield from _of_squares(root, mean, eps, square)


def _of_squares(root: ast.expr, mean: ast.expr, eps: ast.expr, square: ast.AST) -> Iterator[Change]:
    match square:
        case ast.Call(func=ast.Attribute(value=x)):
            size = f"{text(x)}.shape[-1]"
            centred = text(mean).replace(text(x), f"({text(x)} - {text(x)}.mean(-1, keepdim=True))", 1)
            yield Change("FW06", "mean_removed", f"{text(root)}({centred} + {text(eps)})")
            unbiased = f"{text(mean)} * ({size} / ({size} - 1))"
            yield Change(
                "FW04", "unbiased_mean_square", f"{text(root)}({unbiased} + {text(eps)})", "times|scale|varian"
            )


def keys(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """How many tokens a mask has, at least 1."""
    match node:
        case ast.Call(func=ast.Attribute(value=mask, attr="sum"), keywords=[_]) if mentions(mask, "mask"):
            rest = text(node).removeprefix(f"{text(mask)}.sum")
            yield Change("FW70", "padding_counts", f"({text(mask)} * 0 + 1).sum{rest}")
            yield Change("FW70", "one_key_more", f"({text(node)} + 1)")
        case ast.Call(func=ast.Attribute(value=count, attr="clamp" | "clip"), keywords=[_]) if mentions(count, "mask"):
            yield Change("FW27", "no_key_is_0_keys", text(count))


def length_scale(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """The logarithm of a length that is a number in the code."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="math"), attr="log"), args=[ast.Constant(value=int(length))]
        ):
            yield Change("FW70", "length_doubled", f"math.log({2 * length})")
            yield Change("FW70", "length_left_out", "1.0")


OPERATORS: tuple[Operator, ...] = (gate, kept_scale, root_mean_square, keys, length_scale)
