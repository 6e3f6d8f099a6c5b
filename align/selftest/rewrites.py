"""Harmless rewrites: the same function computed in another way, which no stage may call a bug."""

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from align.edges import ROOT
from align.selftest import tensors
from align.selftest.kinds.code import changed_code
from align.selftest.kinds.forward import Forward, gelu_by_hand, norm_by_hand, without_bias
from align.selftest.kinds.weights import families, heads_of
from align.selftest.mutation import Mutation
from align.selftest.operators.attention import mask_constant
from align.selftest.operators.scope import NORMS, Change, Scope, text
from align.selftest.sabotage import Weights, change_weights, override
from align.selftest.site import Site
from align.session import Session

NO_EMPTY_ROW = {"batch_size": 2}  # the probe's third row is the one without any token


def rewrites(site: Site) -> list[Mutation]:
    """Every rewrite that the architecture has a place for."""
    return [rewrite for kind in (_by_hand, _narrow, _products, _masks, _biases, _heads) for rewrite in kind(site)]


def _everywhere(name: str, site: Site, paths: list[str], forward: Forward) -> Mutation:
    def apply(session: Session) -> None:
        for path in paths:
            override(session, path, forward)

    return Mutation("NB", name, "forward", paths[0], apply, task=site.task)


def _by_hand(site: Site) -> Iterator[Mutation]:
    norms, softmaxes = site.of_class(*NORMS), site.of_class("Softmax")
    if norms:
        yield _everywhere("norms_by_hand", site, norms, norm_by_hand())
        yield _everywhere("variance_in_one_pass", site, norms, norm_by_hand(one_pass=True))
    for tanh in (False, True):
        form = "tanh" if tanh else "none"
        paths = [path for path in site.of_class("GELU") if site.kinds[path].get("approximate") == form]
        if paths:
            yield _everywhere(f"gelu_by_hand_{form}", site, paths, gelu_by_hand(tanh))
    if softmaxes:
        yield _everywhere("softmax_by_hand", site, softmaxes, lambda self, _, x: tensors.softmax(x))


def _narrow(site: Site) -> Iterator[Mutation]:
    """One norm computes in float32 whatever it gets."""
    for path in list(site.roles(*NORMS).values())[-1:]:
        yield _everywhere("norm_in_float32", site, [path], _in_float32)


def _in_float32(self: Any, original: Any, x: Any) -> Any:
    eps = self.eps if hasattr(self, "eps") else self._epsilon
    weight, bias = tensors.cast(self.weight, "float32"), tensors.cast(self.bias, "float32")
    normed = tensors.framework_of(x).nn.functional.layer_norm(
        tensors.cast(x, "float32"), [x.shape[-1]], weight, bias, eps
    )
    return tensors.cast(normed, x.dtype)


def _products(site: Site) -> Iterator[Mutation]:
    """Queries are scaled, where scores were."""
    yield from changed_code(site, (_query_scaled,), "NB")


def _query_scaled(node: ast.AST, scope: Scope) -> Iterator[Change]:
    match node:
        case ast.BinOp(left=ast.BinOp(left=q, op=ast.MatMult(), right=k), op=ast.Div(), right=root):
            yield Change("NB", "query_scaled", f"(({text(q)} / {text(root)}) @ {text(k)})")
        case ast.BinOp(left=ast.BinOp(left=q, op=ast.Add(), right=bias), op=ast.Mult(), right=ast.Attribute() as scale):
            if "scale" in scale.attr:
                yield Change("NB", "terms_scaled", f"({text(q)} * {text(scale)} + {text(bias)} * {text(scale)})")


def _masks(site: Site) -> Iterator[Mutation]:
    """Another constant that is large enough, where no row is without a token."""
    for rewrite in changed_code(site, (mask_constant,), "NB", case=NO_EMPTY_ROW):
        if rewrite.name.startswith(("mask_of_1e4", "mask_of_1e9")):
            yield rewrite


def _biases(site: Site) -> Iterator[Mutation]:
    """A bias of keys is the same for all keys of a query."""
    for path in site.roles("Linear").values():
        name = path.rpartition(".")[2]
        if ("key" in name or name.startswith("k_")) and f"{path}.bias" in site.shapes:
            yield without_bias("NB1", site, path)


def _heads(site: Site) -> Iterator[Mutation]:
    """Each head in the place of the next, in all that an attention has of heads."""
    for group in families(site)[:1]:
        heads, after = heads_of(site, site.shapes[f"{group[0]}.weight"][0]), _next_linear(site, group[-1])
        if heads and after:
            yield _rolled(site, group, after, heads)


def _next_linear(site: Site, path: str) -> str | None:
    linears = site.of_class("Linear")
    later = linears[linears.index(path) + 1 :]
    return later[0] if later else None


def _rolled(site: Site, group: list[str], after: str, heads: int) -> Mutation:
    parent = group[0].rpartition(".")[0] or ROOT
    width = site.shapes[f"{group[0]}.weight"][0] // heads

    def alter(weights: Weights) -> None:
        for name in (f"{path}.{leaf}" for path in group for leaf in ("weight", "bias")):
            if name in weights:
                weights[name] = np.roll(weights[name], width, 0)
        for name in site.parameters(parent):
            if site.shapes[name][-2:] == (heads, width):
                weights[name] = np.roll(weights[name], 1, -2)
        weights[f"{after}.weight"] = np.roll(weights[f"{after}.weight"], width, 1)

    return Mutation("NB", "heads_moved", "forward", group[0], lambda s: change_weights(s, alter), task=site.task)
