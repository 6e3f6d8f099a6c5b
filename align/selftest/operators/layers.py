"""Layers: residuals, norms, activations, tables, and the order in which things are done."""

import ast
import copy
from collections.abc import Iterator

from align.selftest.operators.scope import ACTIVATIONS, Change, Operator, Scope, is_call, label, mentions, text


def left_out(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """A norm or an activation that is not called."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name), args=[x]):
            if scope.calls_norm(node):
                yield Change("FW09", f"no_{name}", text(x))
            elif scope.child_class(node) in ACTIVATIONS:
                yield Change("FW16", f"no_{name}", text(x))


def residual(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Norm(residual + branch)."""
    match node:
        case ast.Call(func=norm, args=[ast.BinOp(left=left, op=ast.Add(), right=right)]):
            if scope.calls_norm(node):
                one, other = text(left), text(right)
                yield Change("FW08", "norm_before_the_sum", f"({one} + {text(norm)}({other}))")
                yield Change("FW71", "no_residual", f"{text(norm)}({other})")
                yield Change("FW71", "residual_twice", f"{text(norm)}({one} + {text(node.args[0])})")


def term(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """A term of a sum that no norm or softmax takes at once."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right) if not scope.counts(left) and not scope.counts(right):
            if scope.calls_norm(scope.parent(node)) or scope.enters_softmax(node):
                return
            for lost, kept in ((right, left), (left, right)):
                if not isinstance(lost, ast.BinOp):
                    yield Change(_kind(lost), f"no_{label(lost)}", f"tensors.first_of({text(kept)}, {text(lost)})")


def _kind(node: ast.AST) -> str:
    """The row of the catalogue for a term that is missing."""
    if ast.unparse(node) == "self.bias":
        return "FW50"
    kinds = {"loss": "LO13", "weights": "LO13", "type": "FW45", "segment": "FW45", "position": "FW38", "bias": "FW51"}
    return next((kind for word, kind in kinds.items() if mentions(node, word)), "FW71")


def step(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """`x = x · y` and `x = self.module(x)`, left out."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp(left=ast.Name(id=first), op=ast.Mult())):
            if name == first:
                yield Change("FW44", f"{name}_not_multiplied", "")
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=[ast.Name(id=first), *_]) as call):
            if name == first and scope.child_class(call):
                yield Change("FW71", f"{label(call.func)}_not_called", "")


def stale(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """After `x = self.module(x)`, a call that adds the x before, where it should add the new one."""
    if not isinstance(node, ast.FunctionDef):
        return
    for at, statement in enumerate(node.body):
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=[ast.Name(id=first), *_]) as call):
                if name == first and scope.child_class(call):
                    yield from _reads_before(node, at, name)


def _reads_before(tree: ast.FunctionDef, at: int, name: str) -> Iterator[Change]:
    match tree.body[-1]:
        case ast.Return(value=ast.Call(args=[_, ast.Name(id=last), *_])) if last == name and at < len(tree.body) - 1:
            twin = copy.deepcopy(tree)
            twin.body.insert(at, ast.parse(f"before = {name}").body[0])
            twin.body[-1].value.args[1] = ast.Name("before", ast.Load())  # type: ignore[attr-defined]
            yield Change("FW71", f"residual_of_{name}_before", ast.unparse(ast.fix_missing_locations(twin)))


def loop(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """`for layer in self.layers`."""
    match node:
        case ast.For(target=ast.Name() as target, iter=ast.Attribute(value=ast.Name(id="self")) as layers, body=body):
            lines = "\n".join(f"    {line}" for part in body for line in ast.unparse(part).splitlines())
            head = f"for {text(target)} in list({text(layers)})"
            yield Change("CV15", "one_layer_less", f"{head}[:-1]:\n{lines}")
            yield Change("CV11", "layers_in_reverse", f"{head}[::-1]:\n{lines}")


def table(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """An embedding that is looked up."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name) as module, args=[ids]) if scope.child_class(node) == "Embedding":
            if mentions(ids, "type", "segment"):
                yield Change("FW45", "types_ignored", f"{text(module)}({text(ids)} * 0)")
            yield Change(
                "FW48", f"{name}_times_root_of_width", f"{text(node)} * {text(module)}.weight.shape[-1] ** 0.5"
            )


def bias(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """F.linear(x, weight, bias)."""
    match node:
        case ast.Call(func=function, args=[x, weight, _]) if is_call(node, "linear"):
            yield Change("FW50", "no_bias", f"{text(function)}({text(x)}, {text(weight)})", "bias")


OPERATORS: tuple[Operator, ...] = (left_out, residual, term, step, stale, loop, table, bias)
