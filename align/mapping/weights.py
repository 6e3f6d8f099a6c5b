"""A proposal for the weight map: what fits by shape, weighed by names, classes, numbers of layers and order of calls.

First whole leaf modules are assigned to each other (a weight goes with its bias), then single tensors, then packed
ones. Where names leave two assignments nearly equal, the proposal has a question, which `decide` settles by function.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from align.mapping.links import NAMES, UNIQUE, Link, Op, size
from align.mapping.names import alike, numbers, tokens
from align.mapping.side import Side
from convert.ops import Shape

MARGIN = 0.12  # two assignments whose names differ by less are a question
_NUMBER, _CLASS, _ORDER = 0.5, 0.5, 0.3
_FAR = 3  # places in the order of calls that count as far apart
_IMPOSSIBLE = 1e6


@dataclass(frozen=True)
class Unit:
    """Tensors that are assigned together; `label` is what they are called as a whole."""

    names: tuple[str, ...]
    label: str
    kind: str
    place: float
    index: int
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """Units among which names do not decide: `torch` in the order that pairs them with `paddle` for now."""

    torch: tuple[Unit, ...]
    paddle: tuple[Unit, ...]


@dataclass
class Proposal:
    """The links found; questions of assignment; and for some links other ops that fit as well."""

    pairs: list[tuple[Unit, Unit, float, bool]] = field(default_factory=list)
    packs: list[Link] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    left_torch: list[str] = field(default_factory=list)
    left_paddle: list[str] = field(default_factory=list)


def propose(torch: Side, paddle: Side) -> Proposal:
    """Assign as much as shapes allow."""
    proposal = Proposal(left_torch=torch.firsts, left_paddle=paddle.firsts)
    repeated = False
    for make in (_leaf_units, _tensor_units, _tensor_units):
        groups: dict[object, tuple[list[Unit], list[Unit]]] = defaultdict(lambda: ([], []))
        for at, (side, left) in enumerate(((torch, proposal.left_torch), (paddle, proposal.left_paddle))):
            for signature, unit in make(side, left):
                groups[signature][at].append(unit)
        for ours, theirs in groups.values():
            _assign(ours, theirs, torch, paddle, proposal)
        if make is _tensor_units and not repeated:  # what only torch shares under several names fills each of Paddle's
            repeated = True
            proposal.left_torch += list(torch.tied)
    proposal.left_torch = [name for name in proposal.left_torch if name not in torch.tied]
    for made in _packs(torch, paddle, proposal):
        proposal.packs.append(made)
        proposal.left_torch = [name for name in proposal.left_torch if name not in made.torch]
        proposal.left_paddle = [name for name in proposal.left_paddle if name not in made.paddle]
    return proposal


def _leaf_units(side: Side, left: Sequence[str]) -> Iterator[tuple[object, Unit]]:
    """Modules that hold tensors and have no children that do, with what must be equal for two of them to be assigned:
    the words for their tensors, and their shapes but for a transposition.
    """
    there = set(left)
    for index, module in enumerate(side.modules):
        own = [name for name in module.own if name in there and size(side.shapes[name]) > 1]
        if own and side.subtree[module.name] == frozenset(module.own):
            leaves = {tokens(name.rpartition(".")[2]): name for name in own}
            signature = tuple(sorted((leaf, tuple(sorted(side.shapes[name]))) for leaf, name in leaves.items()))
            names = tuple(leaves[leaf] for leaf in sorted(leaves))
            yield signature, _unit(side, names, module.name, module.kind, index)


def _tensor_units(side: Side, left: Sequence[str]) -> Iterator[tuple[object, Unit]]:
    for index, name in enumerate(left):
        shape = side.shapes[name]
        if size(shape) > 1 or name in side.trainable:
            yield (
                (size(shape), size(shape) == max(shape, default=1)),
                _unit(side, (name,), name, side.owner[name].kind, index),
            )


def _unit(side: Side, names: tuple[str, ...], label: str, kind: str, index: int) -> Unit:
    return Unit(names, label, kind, min(side.place(name) for name in names), index, numbers(label))


def _assign(ours: list[Unit], theirs: list[Unit], torch: Side, paddle: Side, proposal: Proposal) -> None:
    """The cheapest assignment within one group of units that fit by shape, with its questions."""
    if not (ours and theirs):
        return
    ours, theirs = _counted(sorted(ours, key=_by_place)), _counted(sorted(theirs, key=_by_place))
    named = np.array([[_unlike(a, b, torch, paddle) for b in theirs] for a in ours])
    place = np.array([[_apart(i, j, len(ours), len(theirs)) for j in range(len(theirs))] for i in range(len(ours))])
    rows, columns = linear_sum_assignment(named + _ORDER * place)
    chosen = {int(i): int(j) for i, j in zip(rows, columns, strict=True) if named[i, j] < _IMPOSSIBLE}
    margins = _margins(named, chosen)
    for i, j in chosen.items():
        alone = len(ours) == len(theirs) == 1
        proposal.pairs.append((ours[i], theirs[j], min(margins[i].values(), default=1.0), alone))
    for group in _connected(margins):
        if len(group) > 1:
            members = sorted(group)
            proposal.questions.append(
                Question(tuple(ours[i] for i in members), tuple(theirs[chosen[i]] for i in members if i in chosen))
            )
    taken = (
        {name for i in chosen for name in ours[i].names},
        {name for j in chosen.values() for name in theirs[j].names},
    )
    proposal.left_torch = [name for name in proposal.left_torch if name not in taken[0]]
    proposal.left_paddle = [name for name in proposal.left_paddle if name not in taken[1]]


def _by_place(unit: Unit) -> tuple[float, int]:
    return unit.place, unit.index


def _counted(units: list[Unit]) -> list[Unit]:
    """The units with numbers that count from 0 among those of the same words: one side may count from 1."""
    least: dict[tuple[str, ...], tuple[int, ...]] = {}
    for unit in units:
        kind = _template(unit)
        least[kind] = tuple(map(min, zip(least.get(kind, unit.numbers), unit.numbers, strict=False)))
    return [Unit(u.names, u.label, u.kind, u.place, u.index, _minus(u.numbers, least[_template(u)])) for u in units]


def _template(unit: Unit) -> tuple[str, ...]:
    return tuple("#" if token.isdecimal() else token for token in tokens(unit.label))


def _minus(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a - b for a, b in zip(one, other, strict=True))


def _unlike(a: Unit, b: Unit, torch: Side, paddle: Side) -> float:
    """How little the names of two units agree; impossible where their shapes do not fit."""
    if not all(ops(x, y, torch, paddle) for x, y in zip(a.names, b.names, strict=True)):
        return _IMPOSSIBLE
    cost = 1 - alike(a.label, b.label)
    cost += _NUMBER * _other_numbers(a.numbers, b.numbers)
    return cost + _CLASS * (("Embedding" in a.kind) != ("Embedding" in b.kind))


def _other_numbers(a: Sequence[int], b: Sequence[int]) -> float:
    if a == b:
        return 0.0
    if a and b and a[0] == b[0]:
        return 0.3 if len(a) == len(b) else 0.1
    return 1.0 if a and b else 0.2


def _apart(i: int, j: int, ours: int, theirs: int) -> float:
    if ours == theirs:
        return min(1.0, abs(i - j) / _FAR)
    return min(1.0, abs((i + 0.5) / ours - (j + 0.5) / theirs) * max(ours, theirs) / _FAR)


def _margins(named: np.ndarray, chosen: Mapping[int, int]) -> dict[int, dict[int, float]]:
    """By how much the names prefer each pair to its exchange with each other unit of the group, where that is close."""
    margins: dict[int, dict[int, float]] = {i: {} for i in range(len(named))}
    for i, j in chosen.items():
        for other in range(len(named)):
            if other == i:
                continue
            if other in chosen:
                k = chosen[other]
                margin = float(named[i, k] + named[other, j] - named[i, j] - named[other, k]) / 2
            else:
                margin = float(named[other, j] - named[i, j])
            margins[i][other] = margins[other][i] = min(margin, 1.0)
    return margins


def _connected(margins: Mapping[int, Mapping[int, float]]) -> Iterator[set[int]]:
    """The groups of units that names cannot tell apart."""
    left = set(margins)
    while left:
        group, edge = set(), [min(left)]
        while edge:
            unit = edge.pop()
            if unit not in group:
                group.add(unit)
                edge += [other for other, margin in margins[unit].items() if margin < MARGIN]
        left -= group
        yield group


def ops(ours: str, theirs: str, torch: Side, paddle: Side) -> list[Op]:
    """The ops that make the Paddle tensor `theirs` of the torch tensor `ours`, the likeliest first; none if none
    fits. Only where classes do not say how a square matrix is stored, there is more than one.
    """
    one, other = torch.shapes[ours], paddle.shapes[theirs]
    keep, turn = one == other, len(one) == 2 and one[::-1] == other
    if keep and turn:
        a, b = torch.owner[ours], paddle.owner[theirs]
        if b.transposed and "Linear" in a.kind:
            return [Op(transposed=True)]
        if not b.transposed and ("Embedding" in a.kind or "Embedding" in b.kind or one[0] == 1):
            return [Op()]
        return [Op(transposed=True), Op()] if b.transposed or "Linear" in a.kind else [Op(), Op(transposed=True)]
    if keep or turn:
        return [Op(transposed=turn)]
    if size(one) != size(other):
        return []
    flat = [Op(shape=other)]
    return [*flat, Op(transposed=True, shape=other)] if len(one) == 2 and min(one) > 1 else flat


def links_of(ours: Unit, theirs: Unit, certainty: float, alone: bool, torch: Side, paddle: Side) -> list[Link]:
    """The links of two units that are assigned to each other, each by its likeliest op."""
    return [
        Link((a,), (b,), ops(a, b, torch, paddle)[0], UNIQUE if alone else NAMES, certainty, (torch.shapes[a],))
        for a, b in zip(ours.names, theirs.names, strict=True)
    ]


def _packs(torch: Side, paddle: Side, proposal: Proposal) -> Iterator[Link]:
    """Tensors that one side holds packed in one of the other's."""
    for many, one, split in ((torch, paddle, False), (paddle, torch, True)):
        parts = list(proposal.left_paddle if split else proposal.left_torch)
        for whole in sorted(proposal.left_torch if split else proposal.left_paddle, key=one.place):
            found = _parts(whole, one, many, parts)
            if found:
                names, axis, turned = found
                parts = [name for name in parts if name not in names]
                if split and turned:  # an op counts the axes of a torch tensor after its transposition
                    axis = len(one.shapes[whole]) - 1 - axis
                op = Op(transposed=turned, axis=axis, split=len(names) if split else 0)
                torch_names = (whole,) if split else names
                shapes = tuple(torch.shapes[name] for name in torch_names)
                yield Link(torch_names, names if split else (whole,), op, NAMES, 0.5, shapes)


def _parts(whole: str, one: Side, many: Side, parts: Sequence[str]) -> tuple[tuple[str, ...], int, bool] | None:
    """The tensors of `many` that make up `whole`, the axis of `whole` along which, and whether transposed."""
    shape = one.shapes[whole]
    families: dict[Shape, list[str]] = defaultdict(list)
    for name in sorted(parts, key=lambda n: -alike(n, whole)):
        families[many.shapes[name]].append(name)
    best = None
    for part, names in families.items():
        linear = one.owner[whole].transposed or many.owner[names[0]].transposed
        for turned in ((True, False) if linear else (False, True)) if len(shape) == 2 else (False,):
            view = part[::-1] if turned else part
            axes = [n for n in range(len(shape)) if len(view) == len(shape) and shape[n] != view[n]]
            if len(axes) != 1 or not view[axes[0]] or shape[axes[0]] % view[axes[0]]:
                continue
            axis = axes[0]
            count = shape[axis] // view[axis]
            near = _nearest(whole, names, count, many)
            if near and (best is None or alike(near[0], whole) > alike(best[0][0], whole)):
                best = near, axis, turned
    return best


def _nearest(whole: str, names: Sequence[str], count: int, many: Side) -> tuple[str, ...] | None:
    """Those `count` of `names` whose modules stand beside each other, as they were registered: of several such families
    that with the names nearest to `whole`, and then the first that is used.
    """
    families: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        module, _, leaf = name.rpartition(".")
        families[module.rpartition(".")[0], leaf].append(name)
    fitting = [found for found in families.values() if len(found) == count]
    if not fitting:
        return None
    registered = list(many.shapes)
    fitting.sort(key=lambda found: (-sum(alike(name, whole) for name in found), min(map(many.place, found))))
    return tuple(sorted(fitting[0], key=registered.index))
