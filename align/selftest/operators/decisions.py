"""Decisions and losses: what is chosen, compared, counted and averaged."""

import ast
from collections.abc import Iterator

from align.selftest.operators.scope import Change, Operator, Scope, is_call, label, mentions, text


def where(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """where(condition, one, other), unless it makes an index: a wrong one reads outside of memory."""
    match node:
        case ast.Call(func=function, args=[condition, one, other]) if is_call(node, "where") and not _indexes(scope):
            kind = _kind(node)
            swapped = f"{text(function)}({text(condition)}, {text(other)}, {text(one)})"
            yield Change(kind, "branches_exchanged", swapped)
            yield Change(kind, f"always_{label(one)}", text(one))


def _indexes(scope: Scope) -> bool:
    return any(is_call(n, "gather", "take_along_axis", "index_select") for n in ast.walk(scope.unit.tree))


def _kind(node: ast.AST) -> str:
    """The row of the catalogue for a wrong decision."""
    kinds = {
        "segment": "FW46",
        "of_query": "FW46",
        "types": "FW46",
        "sampled": "LO15",
        "mask": "LO14",
        "losses": "LO02",
        "label": "LO05",
    }
    return next((kind for word, kind in kinds.items() if mentions(node, word)), "FW44")


def compared(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Labels, types and masks compared with a number."""
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if not scope.counts(left):
            ignored = isinstance(right, ast.Name) and scope.unit.source.numbers.get(right.id, 0) < 0
            match operator:
                case ast.NotEq() if ignored:
                    yield Change("LO05", "only_above_0", f"({text(left)} > 0)", "ignore|label")
                case ast.Eq() if not text(left).startswith("self."):
                    yield Change(_kind(node), "unequal_for_equal", f"({text(left)} != {text(right)})")
                case ast.Gt():
                    yield Change(_kind(node), "at_least_for_above", f"({text(left)} >= {text(right)})")


def either(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """a | b, a & b."""
    match node:
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() as sign, right=right):
            one, other = text(left), text(right)
            join, neutral = ("|", "!=") if isinstance(sign, ast.BitOr) else ("&", "==")
            yield Change(_kind(node), f"without_{label(right)}", f"({one} {join} ({other} {neutral} {other}))")
            yield Change(_kind(node), f"without_{label(left)}", f"({other} {join} ({one} {neutral} {one}))")


def choice(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """`a if self.option else b`."""
    match node:
        case ast.IfExp(test=ast.Attribute(value=ast.Name(id="self"), attr=name) as test, body=one, orelse=other):
            yield Change("CV15", f"{name}_reversed", f"({text(other)} if {text(test)} else {text(one)})")


def mean(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Σ losses / number kept, and means of a constant number."""
    match node:
        case ast.BinOp(left=ast.Call(func=ast.Attribute(value=x, attr="sum"), args=[]), op=ast.Div(), right=count):
            yield Change("LO02", "mean_of_all", f"{text(x)}.mean()", "count|mean|ignore")
            yield Change("LO04", "sum_not_mean", f"{text(x)}.sum()", "count|mean|sum")
            rows = f"({text(x)}.flatten(1).sum(-1) / {text(count).replace('.sum()', '.flatten(1).sum(-1)')})"
            yield Change("LO03", "mean_of_rows", f"{rows}.mean()", "count|mean|row")
        case ast.Call(func=ast.Attribute(value=x, attr="mean"), args=[], keywords=[]):
            yield Change("LO04", "sum_not_mean", f"{text(x)}.sum()", "count|mean|sum|scaled")
        case ast.BinOp(left=ast.BinOp(op=ast.Add()) as total, op=ast.Div(), right=ast.Constant()):
            if not scope.counts(total):
                yield Change("LO04", "sum_of_both", text(total), "count|mean|sum|factor|scaled")


def factor(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """A weight of a loss that the module keeps."""
    match node:
        case ast.BinOp(left=ast.Subscript(value=ast.Attribute(attr=kept)), op=ast.Mult(), right=x):
            yield Change("LO13", f"no_{kept}", text(x))


def cut_off(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """log Σ exp − chosen, which Paddle's own function cuts off at 64."""
    match node:
        case ast.BinOp(left=ast.Call() as total, op=ast.Sub()) if is_call(total, "logsumexp"):
            yield Change("LO01", "cut_off_at_64", f"{text(node)}.clip(max=64.0)")


def squeezed(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """An axis of 1 that stays."""
    match node:
        case ast.Call(func=ast.Attribute(value=x, attr="squeeze")):
            yield Change("LO12", "not_squeezed", text(x))


OPERATORS: tuple[Operator, ...] = (where, compared, either, choice, mean, factor, cut_off, squeezed)
