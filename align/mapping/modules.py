"""The module map: which modules of the Paddle side are which of torch's, as it follows from the weight map.

Modules correspond if they hold the same weights, all of them. Of several inside each other that hold the same (a block
with one layer), the innermost holders come first, then those that take and give the same shapes. Modules that share
all their weights with others (an output layer tied to a table) correspond if they share the same and give the same
shapes. Modules without weights are matched below a matched parent, by name or by class.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from align.edges import ROOT, ancestors, call_of, is_input, module_of
from align.mapping.links import Map
from align.mapping.names import alike
from align.mapping.side import Side
from convert.ops import Shape

_ALIKE = 0.6  # names of modules without weights that are taken for the same


def match_modules(found: Map, torch: Side, paddle: Side) -> dict[str, str]:
    """Torch's name of each Paddle module that has a counterpart."""
    made_of = {name: frozenset(link.torch) for link in found.links for name in link.paddle}
    linked = frozenset(name for link in found.links for name in link.torch)
    taken = {name: len(link.paddle) for link in found.links for name in link.torch}
    chains: dict[frozenset[str], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for module in torch.modules:
        cover = torch.subtree[module.name] & linked
        if cover:
            chains[cover][0].append(module.name)
    for module in paddle.modules:
        tensors = paddle.subtree[module.name]
        cover = frozenset().union(*(made_of[name] for name in tensors if name in made_of)) if tensors else frozenset()
        whole = all(_count(name, tensors, made_of) == taken[name] for name in cover)
        if cover and whole:
            chains[cover][1].append(module.name)
    matched = {ROOT: ROOT}
    for ours, theirs in chains.values():
        matched |= _match_chain([n for n in ours if n != ROOT], [n for n in theirs if n != ROOT], torch, paddle)
    return _without_weights(matched | _sharers(matched, made_of, torch, paddle), torch, paddle)


def _count(torch_name: str, tensors: frozenset[str], made_of: Mapping[str, frozenset[str]]) -> int:
    return sum(torch_name in made_of.get(name, ()) for name in tensors)


def _match_chain(ours: list[str], theirs: list[str], torch: Side, paddle: Side) -> dict[str, str]:
    """Match modules that hold the same weights: those that hold them themselves, then by what they take and give."""
    matched: dict[str, str] = {}
    holders = [n for n in ours if torch.by_name[n].own], [n for n in theirs if paddle.by_name[n].own]
    if len(holders[0]) == len(holders[1]) == 1:
        matched[holders[1][0]] = holders[0][0]
        ours, theirs = [n for n in ours if n not in holders[0]], [n for n in theirs if n not in holders[1]]
    for name in theirs:
        same = [other for other in ours if shapes_of(other, torch) == shapes_of(name, paddle)]
        if same:
            best = max(same, key=lambda other: alike(other, name))
            matched[name] = best
            ours = ours[ours.index(best) + 1 :]  # a chain goes inwards
    return matched


def shapes_of(module: str, side: Side) -> list[list[Shape]]:
    """The shapes of the floats that a module is given and gives, call by call."""
    found: dict[str, list[Shape]] = defaultdict(list)
    for edge, (shape, kind) in side.edges.items():
        if module_of(edge) == module and kind == "f" and len(shape) > 1 and not is_input(edge):
            found[call_of(edge)].append(shape)
    return [shapes[:1] for shapes in found.values()]


def _sharers(
    matched: Mapping[str, str], made_of: Mapping[str, frozenset[str]], torch: Side, paddle: Side
) -> dict[str, str]:
    """The modules that hold nothing that is not held elsewhere too, where one alone can be meant."""
    ours, theirs = defaultdict(list), defaultdict(list)
    for name, module in torch.by_name.items():
        if name in torch.calls and name not in matched.values():
            held = frozenset(torch.tied.get(n, n) for n in module.own)
            ours[held, str(shapes_of(name, torch))].append(name)
    for name, module in paddle.by_name.items():
        if name in paddle.calls and name not in matched:
            own = [made_of.get(paddle.tied.get(n, n), frozenset()) for n in module.own]
            held = frozenset(torch.tied.get(n, n) for n in frozenset().union(*own))
            theirs[held, str(shapes_of(name, paddle))].append(name)
    return {
        names[0]: ours[key][0] for key, names in theirs.items() if key[0] and len(names) == 1 and len(ours[key]) == 1
    }


def _without_weights(matched: dict[str, str], torch: Side, paddle: Side) -> dict[str, str]:
    """Add the modules without weights that stand directly below matched ones."""
    for name, module in paddle.by_name.items():
        if name in matched or paddle.subtree[name] or name not in paddle.calls:
            continue
        parent = matched.get(next(iter(ancestors(name))))
        if parent is None:
            continue
        free = [
            n
            for n, other in torch.by_name.items()
            if ancestors(n)[:1] == [parent]
            and not torch.subtree[n]
            and n not in matched.values()
            and shapes_of(n, torch) == shapes_of(name, paddle)
            and (other.kind == module.kind or alike(_leaf(n), _leaf(name)) > _ALIKE)
        ]
        if len(free) == 1 or (free and max(alike(_leaf(n), _leaf(name)) for n in free) == 1):
            matched[name] = max(free, key=lambda n: alike(_leaf(n), _leaf(name)))
    return matched


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def canonical_names(matched: Mapping[str, str], torch: Side, paddle: Side) -> dict[str, str]:
    """What every Paddle module is called: by torch's name, or else by its own last name below its parent's."""
    names: dict[str, str] = {}
    used = {*torch.by_name, *matched.values()}
    for module in paddle.modules:
        if module.name in matched:
            names[module.name] = matched[module.name]
            continue
        above = names.get(next(iter(ancestors(module.name)), ROOT), ROOT)
        depth = len(next(iter(ancestors(module.name)), ROOT).split(".")) if ancestors(module.name)[0] != ROOT else 0
        own = ".".join(module.name.split(".")[depth:])
        name = own if above == ROOT else f"{above}.{own}"
        while name in used:
            name += "_"
        names[module.name] = name
        used.add(name)
    return names


def unmatched(matched: Mapping[str, str], torch: Side, paddle: Side) -> Iterator[tuple[str, Sequence[str]]]:
    """The modules that ran and have no counterpart, by side; only the outermost of each."""
    theirs = set(matched.values())
    for label, side, known in (("torch", torch, theirs), ("paddle", paddle, set(matched))):
        alone = {name for name in side.by_name if name in side.calls and name not in known}
        yield label, [name for name in side.by_name if name in alone and alone.isdisjoint(ancestors(name))]
