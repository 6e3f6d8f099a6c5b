"""Bugs of conversion: weights that reach the port changed, exchanged, or not at all.

All arrays are in the torch layout: Linear weights [out, in].
"""

from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from align.edges import ROOT
from align.selftest.kinds.forward import places
from align.selftest.mutation import Mutation
from align.selftest.operators.scope import NORMS
from align.selftest.sabotage import Weights, change_weights, module
from align.selftest.site import CONTAINERS, Site
from align.session import Session
from fake_data import make_batch

Array = np.ndarray
Alter = Callable[[Weights], None]


def mutations(site: Site) -> list[Mutation]:
    """Every kind at its places."""
    kinds = (_linears, _siblings, _norms, _tables, _others, _layers, _tied)
    return [mutation for kind in kinds for mutation in kind(site)]


def one(
    kind: str, name: str, here: Site, weight: str, change: Callable[[Array], Array], explained: str = ""
) -> Mutation:
    """A bug in one weight: `change(array)` is what it becomes. Of those that hold it, the innermost is blamed."""

    def alter(weights: Weights) -> None:
        weights[weight] = np.ascontiguousarray(change(weights[weight])).astype(weights[weight].dtype)

    owner, _, leaf = weight.rpartition(".")
    inside = [tied for tied, to in here.tied.items() if to == weight and tied.startswith(f"{owner}.")]
    blamed = (inside or [weight])[0].rpartition(".")[0] or ROOT
    return several(kind, f"{name} of {leaf}", here, blamed, alter, explained)


def several(kind: str, name: str, here: Site, blamed: str, alter: Alter, explained: str = "") -> Mutation:
    def apply(session: Session) -> None:
        change_weights(session, alter)

    return Mutation(kind, name, "forward", blamed, apply, explained, here.task)


def swapped(first: str, second: str, names: list[str]) -> Alter:
    """Two parts of the network have each other's weights; `names` are those of the first."""

    def alter(weights: Weights) -> None:
        for name in names:
            other = second + name.removeprefix(first)
            weights[name], weights[other] = weights[other], weights[name]

    return alter


# What single weights become ------------------------------------------------------------------------------------------


def fortran_order(a: Array) -> Array:
    """The numbers read row by row although they were written column by column."""
    return a.T.reshape(a.shape)


def bfloat16(a: Array) -> Array:
    """Cut off, as a conversion by bits does it."""
    return (a.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def float16(a: Array) -> Array:
    return a.astype(np.float16)


def first_value_everywhere(a: Array) -> Array:
    """A vector of one, broadcast."""
    return np.full_like(a, a.flat[0])


def as_initialised(a: Array) -> Array:
    """What stays where nothing was loaded: N(0, 0.02)."""
    return np.random.default_rng(0).normal(0, 0.02, a.shape)


def in_one_value(change: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Change nothing but the value nearest to a third, so that rounding shows."""

    def changed(a: Array) -> Array:
        a = a.copy()
        at = np.abs(np.abs(a) - 1 / 3).argmin()
        a.flat[at] = change(a.flat[at : at + 1])[0]
        return a

    return changed


def interleaved_rows(heads: int) -> Callable[[Array], Array]:
    """Within each head the rows (i, i + d/2) side by side, as another rotary embedding wants them."""
    return lambda a: a.reshape(heads, 2, -1, *a.shape[1:]).swapaxes(1, 2).reshape(a.shape)


def _rolled(by: int) -> Callable[[Array], Array]:
    return lambda a: np.roll(a, by, 0)


def next_row(row: int) -> Callable[[Array], Array]:
    """One row has become a copy of the next."""
    return lambda a: np.concatenate([a[:row], a[row + 1 : row + 2], a[row + 1 :]])


# Places --------------------------------------------------------------------------------------------------------------


def _weights(site: Site, *classes: str) -> list[tuple[Site, str]]:
    """The `weight` of a module for each part that these classes play."""
    return [(here, f"{path}.weight") for here, path in places(site, *classes) if f"{path}.weight" in here.shapes]


def _linears(site: Site) -> Iterator[Mutation]:
    found = _weights(site, "Linear")
    square = [(here, name) for here, name in found if len(set(here.shapes[name])) == 1]
    oblong = [(here, name) for here, name in found if min(here.shapes[name]) > 1 and (here, name) not in square]
    for here, name in square[:5]:
        yield one("CV02", "not_transposed", here, name, np.transpose, "transpos")
    for here, name in oblong[:2]:
        yield one("CV01", "in_fortran_order", here, name, fortran_order, "transpos|order|permut")
    for here, name in [*found[-1:], *oblong[:1]]:
        yield one("CV04", "not_loaded", here, name, as_initialised, "init|load|random|another")
    for here, name in oblong[1:2] or found[1:2]:
        yield one("CV16", "in_bfloat16", here, name, bfloat16, "bf16|bfloat16|round")
        yield one("CV16", "one_value_in_float16", here, name, in_one_value(float16), "fp16|float16|round|value")
    biases = [(here, f"{name.removesuffix('weight')}bias") for here, name in found]
    biases = [(here, name) for here, name in biases if name in here.shapes]
    for here, name in (*biases[:1], *biases[-2:]):
        yield one("CV04", "zero", here, name, np.zeros_like, "zero|bias|load")
    for here, name in biases[1:2]:
        yield one("CV05", "broadcast", here, name, first_value_everywhere, "broadcast|constant|value")


def _siblings(site: Site) -> Iterator[Mutation]:
    """Projections side by side, as queries, keys and values are."""
    for group in families(site)[:2]:
        heads = heads_of(site, site.shapes[f"{group[0]}.weight"][0])
        for a, b in list(combinations(group, 2))[:3]:
            names = [name for name in site.parameters(a) if name.replace(a, b) in site.shapes]
            exchanged = f"exchanged_with_{b.rpartition('.')[2]}"
            yield several("CV08", exchanged, site, a, swapped(a, b, names), "swap|exchang|another|layer|module")
        if heads:
            last = f"{group[-1]}.weight"
            width = site.shapes[last][0] // heads
            yield one("CV08", "heads_moved", site, last, _rolled(width), "head|permut|order")
            if width % 2 == 0:
                rotary = interleaved_rows(heads)
                yield one("CV10", "rotary_order", site, f"{group[0]}.weight", rotary, "head|permut|order|rotary")
            if len(group) == 3:
                packed = _packed_head_by_head(group, heads)
                yield several("CV09", "packed_head_by_head", site, group[0], packed, "pack|permut|order|head")


def families(site: Site) -> list[list[str]]:
    """Linears in the middle of the network that stand side by side and have one shape, and biases or none."""
    middle = list(site.roles("Linear").values())
    found = []
    for parent in dict.fromkeys(path.rpartition(".")[0] for path in middle):
        inside = [path for path in middle if path.rpartition(".")[0] == parent]
        shapes = [site.shapes[f"{path}.weight"] for path in inside]
        alike = [path for path, shape in zip(inside, shapes, strict=True) if shape == shapes[0]]
        if len(alike) > 1:
            found.append(alike)
    return found


def heads_of(site: Site, width: int) -> int:
    """The number of heads, by the name that the configuration gives it."""
    counts = [v for k, v in site.config.items() if "head" in k and isinstance(v, int) and v > 1 and width % v == 0]
    return counts[0] if counts else 0


def _packed_head_by_head(group: list[str], heads: int) -> Alter:
    """Three projections packed as [H, 3, d] and taken apart as [3, H, d]."""

    def alter(weights: Weights) -> None:
        for leaf in ("weight", "bias"):
            names = [f"{path}.{leaf}" for path in group]
            if all(name in weights for name in names):
                packed = np.stack([weights[n].reshape(heads, -1, *weights[n].shape[1:]) for n in names], 1)
                for name, part in zip(
                    names, np.split(packed.reshape(-1, *weights[names[0]].shape[1:]), 3), strict=True
                ):
                    weights[name] = np.ascontiguousarray(part)

    return alter


def _norms(site: Site) -> Iterator[Mutation]:
    found = list(places(site, *NORMS))
    for here, path in found[:2]:
        yield one("CV04", "ones", here, f"{path}.weight", np.ones_like, "one|gamma|load|init")
    for here, path in found[-1:]:
        yield one("CV04", "zero", here, f"{path}.bias", np.zeros_like, "zero|bias|beta|load")
        both = [f"{path}.weight"]
        names = swapped(f"{path}.weight", f"{path}.bias", both)
        yield several("CV04", "gamma_and_beta_exchanged", here, path, names, "swap|exchang|another")
    for here, path in found[len(found) // 2 :][:1]:
        yield one("CV16", "in_float16", here, f"{path}.weight", float16, "fp16|float16|round")


def _tables(site: Site) -> Iterator[Mutation]:
    found = _weights(site, "Embedding")
    for here, name in found:
        if here.shapes[name][0] <= 4:
            yield one("CV08", "rows_reversed", here, name, lambda a: a[::-1], "permut|row|order|revers")
        else:
            kind = "FW38" if "position" in name else "TK02"
            yield one(kind, "rows_moved_by_one", here, name, lambda a: np.roll(a, 1, 0), "permut|row|order|shift")
    for here, name in found[:1]:
        yield one("CV03", "transposed", here, name, fortran_order, "transpos|order|permut")
        yield one("CV04", "not_loaded", here, name, as_initialised, "init|load|random|another")
        yield one("CV16", "in_float16", here, name, float16, "fp16|float16|round")
        yield one("TK02", "a_row_of_the_next", here, name, next_row(_an_id(here)), "row|value")


def _an_id(site: Site) -> int:
    """One that stands in the batch."""
    ids = np.unique(make_batch(site.model, site.task, site.config)["input_ids"])
    return int(ids[len(ids) // 2])


def _others(site: Site) -> Iterator[Mutation]:
    """Parameters that the architecture's own modules hold, from a middle layer."""
    for path in site.middles().values():
        own = [n for n in site.parameters(path) if n not in site.tied] if _is_own(site, path) else []
        for name in own[:6]:
            shape = site.shapes[name]
            yield one("CV04", "zero", site, name, np.zeros_like, "zero|bias|load")
            if len(shape) > 2 and shape[0] > 4:
                yield one("CV03", "in_fortran_order", site, name, fortran_order, "transpos|order|permut")
                turned = (*shape[:-2], shape[-1], shape[-2])
                yield one("CV09", "width_before_heads", site, name, _regrouped(turned), "head|permut|order")
            if len(shape) == 3 and shape[1] == 1 < shape[2]:
                yield one("CV08", "kernel_reversed", site, name, lambda a: a[..., ::-1], "permut|revers|order")
            if len(shape) > 2 and shape[0] <= 4:
                yield one("CV08", "reversed", site, name, lambda a: a[::-1], "permut|row|order|revers")
        alike = [(a, b) for a, b in pairwise(own) if site.shapes[a] == site.shapes[b]]
        for a, b in alike[:2]:
            exchanged = f"{a.rpartition('.')[2]}_exchanged_with_{b.rpartition('.')[2]}"
            yield several("CV08", exchanged, site, path, swapped(a, b, [a]), "swap|exchang|another")


def _is_own(site: Site, path: str) -> bool:
    return not {"Linear", "Embedding", *NORMS} & {site.kinds[path]["class"]}


def _regrouped(shape: tuple[int, ...]) -> Callable[[Array], Array]:
    return lambda a: a.reshape(shape).swapaxes(-1, -2)


def _layers(site: Site) -> Iterator[Mutation]:
    """Two layers that have each other's weights, as when names are sorted as text."""
    for path in site.of_class(*CONTAINERS):
        layers = [child for child in site.children(path) if child.rpartition(".")[2].isdigit()]
        for a, b in pairwise(layers):
            names = [name for name in site.shapes if name.startswith(f"{a}.")]
            others = {name.removeprefix(b): shape for name, shape in site.shapes.items() if name.startswith(f"{b}.")}
            if names and {name.removeprefix(a): site.shapes[name] for name in names} == others:
                first = next(n for n in site.kinds if n.startswith(f"{a}.") and f"{n}.weight" in site.shapes)
                exchanged = swapped(a, b, names)
                yield several("CV11", f"exchanged_with_{b}", site, first, exchanged, "layer|swap|exchang|another")
                break


def _tied(site: Site) -> Iterator[Mutation]:
    """A tied tensor that is one of its own, and another."""
    for task in site.tasks:
        here = site.at(task)
        for name in list(here.tied)[:1]:
            yield _untied(here, name)
            return


def _untied(here: Site, name: str) -> Mutation:
    path, _, leaf = name.rpartition(".")

    def apply(session: Session) -> None:
        layer = module(session, path)
        setattr(layer, leaf, _copy(session.backend.name, getattr(layer, leaf)))

        def alter(weights: Weights) -> None:
            weights[name] = as_initialised(weights[name]).astype(weights[name].dtype)

        change_weights(session, alter)

    return Mutation("CV07", "a_table_of_its_own", "forward", path, apply, "init|load|random|another", here.task)


def _copy(framework: str, parameter: Any) -> Any:
    """A parameter of the same shape."""
    if framework == "torch":
        return type(parameter)(parameter.detach().clone())
    import paddle

    return paddle.create_parameter(parameter.shape, parameter.dtype)
