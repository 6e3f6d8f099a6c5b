"""Bugs of initialisation: what a fresh model gets is changed, each time that one is built.

Values are drawn by NumPy in the torch layout, so that a bug is the same on both sides.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from align.edges import ROOT
from align.selftest.mutation import Mutation
from align.selftest.site import Site
from align.session import Session

Alter = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Change = Callable[[Session, Any, np.random.Generator], None]  # of a fresh model


def mutations(site: Site) -> list[Mutation]:
    """Every kind of initialisation bug that the model has a place for."""
    return [m for kinds in (_matrices, _tables, _norms, _biases, _structure, _layers) for m in kinds(site)]


def _bug(kind: str, name: str, blamed: str, change: Change, explained: str = "") -> Mutation:
    """A mutation that changes each fresh model."""

    def apply(session: Session) -> None:
        fresh, builds = session.fresh, count()

        def changed(dtype: str = "float32") -> Any:
            model = fresh(dtype)
            change(session, model, np.random.default_rng([len(name), next(builds)]))
            return model

        session.fresh = changed  # type: ignore[method-assign]

    return Mutation(kind, name, "init", blamed, apply, explained)


def _values(kind: str, name: str, parameter: str, alter: Alter, explained: str = "") -> Mutation:
    """A mutation that gives one parameter other values."""
    return _bug(kind, name, _owner(parameter), _each([parameter], alter), explained)


def _each(parameters: list[str], alter: Alter) -> Change:
    def change(session: Session, model: Any, random: np.random.Generator) -> None:
        for parameter in parameters:
            _alter(session, model, random, parameter, alter)

    return change


def _alter(session: Session, model: Any, random: np.random.Generator, parameter: str, alter: Alter) -> None:
    module = dict(session.backend.modules(model))[_owner(parameter)]
    tensor = dict(session.backend.parameters(model))[parameter]
    turned = parameter.endswith(".weight") and session.backend.is_transposed(module)
    value = np.array(session.backend.to_numpy(tensor))
    new = alter(value.T if turned else value, random).astype(value.dtype)
    session.backend.set_value(tensor, np.ascontiguousarray(new.T if turned else new))


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0] or ROOT


def _linears(site: Site) -> list[str]:
    """The weights of Linears that have a tensor of their own."""
    names = [f"{module}.weight" for module in site.of_class("Linear")]
    return [name for name in names if name in site.shapes and name not in site.tied]


def _largest(site: Site) -> str:
    """The largest weight of a Linear that is no square: both its axes show."""
    shapes = {name: site.shapes[name] for name in _linears(site)}
    return max(shapes, key=lambda name: (shapes[name][0] != shapes[name][1], math.prod(shapes[name])))


# What a parameter gets ------------------------------------------------------------------------------------------------


def _xavier(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
    bound = math.sqrt(6 / sum(value.shape))
    return random.uniform(-bound, bound, value.shape)


def _xavier_normal(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Where a matrix is five times as high as wide, the uniform one has the deviation of torch's own Linear."""
    return random.normal(0, math.sqrt(2 / sum(value.shape)), value.shape)


def _from_zero(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return random.uniform(0, value.shape[1] ** -0.5, value.shape)


def _from_a_fixed_seed(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.02, value.shape)


def _cut(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A normal cut at two standard deviations, scaled to the deviation 1."""
    values = random.standard_normal(shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = random.standard_normal(int(beyond.sum()))
    return values / 0.8796256610342398


def _other_tails() -> Alter:
    """The same mean and deviation: a normal in place of one that is cut at 2σ, a cut one in place of all else.

    They are the first build's: with each build's own, its values would depend on each other.
    """
    drawn: list[np.ndarray] = []

    def alter(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if not drawn:
            drawn.append(value)
        mean, std = drawn[0].mean(), drawn[0].std()
        whole = 2.0 < float((((drawn[0] - mean) / std) ** 4).mean()) < 2.7
        return mean + std * (random.standard_normal(value.shape) if whole else _cut(random, value.shape))

    return alter


def _first_rows_larger(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A quarter of the rows with twice the deviation of the others; over all it stays what it was."""
    gain = np.ones((len(value), 1))
    gain[: max(1, len(value) // 4)] = 2.0
    return value * gain / math.sqrt((gain**2).mean())


def _row_the_other_way(row: int) -> Alter:
    """Zero where it was drawn, drawn where it was zero."""

    def alter(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
        new = value.copy()
        new[row] = 0.0 if value[row].any() else random.permutation(value[row - 1])
        return new

    return alter


def _bias_the_other_way(bound: float) -> Alter:
    """Drawn as torch's Linear does where it was constant, zero where it was drawn."""

    def alter(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return value * 0 if np.ptp(value) else random.uniform(-bound, bound, value.shape)

    return alter


def _matrices(site: Site) -> Iterator[Mutation]:
    if not _linears(site):
        return
    big = _largest(site)
    fan_out, fan_in = site.shapes[big]
    swap = math.sqrt(fan_in / fan_out) if fan_in != fan_out else math.sqrt(2)
    depth = math.sqrt(2 * max(1, len(site.of_class("LayerNorm")) // 2))
    yield _values("IN01", "linear_by_xavier", big, _xavier, "Xavier")
    yield _values("IN04", "other_tails_same_sigma", big, _other_tails(), r"cut at")
    yield _values("IN04", "sigma_5_percent_off", big, lambda value, _: value * 1.05)
    yield _values("IN04", "sigma_12_percent_off", big, lambda value, _: value * 0.88)
    yield _values("IN05", "fans_swapped", big, lambda value, _: value * swap)
    yield _values("IN07", "uniform_from_zero", big, _from_zero, "uniform from 0")
    yield _values("IN08", "depth_scaled", big, lambda value, _: value / depth)
    yield _values("IN08", "rows_of_one_head_larger", big, _first_rows_larger)
    yield _values("IN08", "fixed_seed", big, _from_a_fixed_seed, "fixed seed")
    yield _values("IN08", "zeroed", big, lambda value, _: value * 0, "always 0 in")
    first = _owner(_linears(site)[0])
    yield _bug("IN01", "every_linear_by_xavier", first, _each(_linears(site), _xavier_normal), "Xavier")


def _tables(site: Site) -> Iterator[Mutation]:
    words = next((f"{m}.weight" for m in site.of_class("Embedding") if f"{m}.weight" in site.shapes), None)
    if words is not None:
        pad = site.config.get("pad_token_id") or 0
        yield _values("IN02", "table_by_xavier", words, _xavier, "Xavier|row")
        yield _values("IN06", "row_of_padding", words, _row_the_other_way(pad), f"row {pad} is")


def _norms(site: Site) -> Iterator[Mutation]:
    gammas = [f"{m}.weight" for m in site.kinds if "Norm" in site.kinds[m]["class"] and f"{m}.weight" in site.shapes]
    if gammas:
        last = gammas[-1]
        yield _values("IN03", "gamma_drawn", last, lambda value, r: r.normal(0, 0.02, value.shape), "always 1 in")
        yield _values("IN08", "gamma_zero", last, lambda value, _: value * 0, "constant")


def _biases(site: Site) -> Iterator[Mutation]:
    biases = [f"{_owner(name)}.bias" for name in _linears(site) if f"{_owner(name)}.bias" in site.shapes]
    if biases:
        bias = biases[len(biases) // 2]
        bound = site.shapes[f"{_owner(bias)}.weight"][1] ** -0.5
        yield _values("IN01", "bias_the_other_way", bias, _bias_the_other_way(bound))
        yield _bug(
            "FW51", "bias_missing", _owner(bias), lambda session, model, _: _set(session, model, bias, None), "only the"
        )


def _set(session: Session, model: Any, parameter: str, value: Any) -> None:
    module = dict(session.backend.modules(model))[_owner(parameter)]
    setattr(module, parameter.rpartition(".")[2], value)


def _structure(site: Site) -> Iterator[Mutation]:
    linears = _linears(site)
    if linears:
        frozen = linears[len(linears) // 2]
        yield _bug(
            "BW08", "weight_frozen", _owner(frozen), lambda session, model, _: _freeze(session, model, frozen), "frozen"
        )
    tying = next((at for task in site.tasks if (at := site.at(task)).tied), None)
    if tying is not None:
        name = next(iter(tying.tied))
        bug = _bug("CV06", "tied_by_copy", _owner(name), lambda session, model, _: _untie(session, model, name), "own")
        yield replace(bug, task=tying.task)


def _freeze(session: Session, model: Any, parameter: str) -> None:
    tensor = dict(session.backend.parameters(model))[parameter]
    if session.backend.name == "torch":
        tensor.requires_grad_(False)
    else:
        tensor.stop_gradient = True


def _untie(session: Session, model: Any, parameter: str) -> None:
    """A tensor of its own for a tied name, with the same values."""
    tensor = dict(session.backend.parameters(model))[parameter]
    if session.backend.name == "torch":
        import torch

        copy: Any = torch.nn.Parameter(tensor.detach().clone())
    else:
        module = dict(session.backend.modules(model))[_owner(parameter)]
        copy = module.create_parameter(tensor.shape, dtype=tensor.dtype)
        session.backend.set_value(copy, session.backend.to_numpy(tensor))
    _set(session, model, parameter, copy)


def _layers(site: Site) -> Iterator[Mutation]:
    stack = next((module for module in site.kinds if _is_stack(site, module)), None)
    if stack is not None:
        first, *others = site.children(stack)
        pairs = [(f"{first}.{leaf}", f"{other}.{leaf}") for other in others for leaf in _leaves(site, first)]
        yield _bug("IN09", "layers_cloned", stack, _copy(pairs), "copy")
    for module in site.kinds:
        twins = [f"{child}.weight" for child in site.children(module) if site.kinds[child]["class"] == "Linear"]
        twins = [name for name in twins if site.shapes.get(name) == site.shapes.get(twins[0])]
        if len(twins) > 1:
            yield _bug("IN09", "one_matrix_for_two", module, _copy([(twins[0], twins[1])]), "copy")
            break


def _is_stack(site: Site, module: str) -> bool:
    """Whether the module holds layers that are all alike, and nothing else."""
    children = site.children(module)
    leaves = [_leaves(site, child) for child in children if child.rpartition(".")[2].isdigit()]
    return len(children) == len(leaves) > 1 and bool(leaves[0]) and all(leaf == leaves[0] for leaf in leaves)


def _leaves(site: Site, module: str) -> dict[str, tuple[int, ...]]:
    """The parameters inside a module, by their names in it."""
    return {n.removeprefix(f"{module}."): shape for n, shape in site.shapes.items() if n.startswith(f"{module}.")}


def _copy(pairs: list[tuple[str, str]]) -> Change:
    def change(session: Session, model: Any, random: np.random.Generator) -> None:
        tensors = dict(session.backend.parameters(model))
        for source, target in pairs:
            session.backend.set_value(tensors[target], np.array(session.backend.to_numpy(tensors[source])))

    return change
