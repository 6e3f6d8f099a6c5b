"""The edge map: which tensors that enter and leave matched modules are the same on both sides.

Calls are matched in their order. In a call, outputs with the same path and shape are the same; the others are matched
in order by shape and kind. Where one side has more of a shape, equal values decide or nothing does. A tensor that one
side is given more often in the same call (as query, key and value) is left out: its gradient comes in as many parts.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from align.edges import ROOT, call_of, is_input, module_of
from align.mapping.side import Side

Same = Callable[[str, str], bool]  # whether two edges held the same values


@dataclass(frozen=True)
class Equality:
    """Whether two edges held the same values: two of torch's, two of Paddle's, or one of either."""

    torch: Same
    paddle: Same
    across: Same


def match_edges(matched: Mapping[str, str], torch: Side, paddle: Side, equal: Equality) -> dict[str, str]:
    """Torch's name of each Paddle edge (by Paddle's own name) that has a counterpart."""
    ours, theirs = _calls(torch), _calls(paddle)
    found: dict[str, str] = {}
    for name, other in matched.items():
        here, there = ours.get(other, []), theirs.get(name, [])
        if len(here) != len(there):
            continue
        for one, two in zip(here, there, strict=True):
            for entering in (True, False):
                a = [edge for edge in one if is_input(edge) == entering]
                b = [edge for edge in two if is_input(edge) == entering]
                pairs = _match(a, b, torch, paddle, equal.across, name == ROOT and not entering)
                if entering:
                    pairs = {
                        theirs: ours
                        for theirs, ours in pairs.items()
                        if _times(ours, a, equal.torch) == _times(theirs, b, equal.paddle)
                    }
                found |= pairs
    return found


def _times(edge: str, edges: Sequence[str], same: Same) -> int:
    return sum(edge == other or same(edge, other) for other in edges)


def _calls(side: Side) -> dict[str, list[list[str]]]:
    """The edges of each call of each module, numbers and changes in place left out."""
    calls: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for edge in side.edges:
        leaf = edge.partition(":")[2]
        if leaf.startswith(("in", "out")):
            calls[module_of(edge)][call_of(edge)].append(edge)
    return {module: list(found.values()) for module, found in calls.items()}


def _match(
    ours: Sequence[str], theirs: Sequence[str], torch: Side, paddle: Side, same: Same, final: bool
) -> dict[str, str]:
    found: dict[str, str] = {}
    paths = {_path(edge): edge for edge in ours if _path(edge)}
    for edge in theirs:
        other = paths.get(_path(edge))
        if other and torch.edges[other] == paddle.edges[edge]:
            found[edge] = other
    ours = [edge for edge in ours if edge not in found.values()]
    theirs = [edge for edge in theirs if edge not in found]
    if not final:
        for edge in theirs:
            equal = [other for other in ours if other not in found.values() and same(other, edge)]
            if equal:
                found[edge] = equal[0]
        ours = [edge for edge in ours if edge not in found.values()]
        theirs = [edge for edge in theirs if edge not in found]
    if not final:  # of several that could be meant, none is
        counts = Counter(torch.edges[e] for e in ours), Counter(paddle.edges[e] for e in theirs)
        ours = [edge for edge in ours if counts[0][torch.edges[edge]] == counts[1][torch.edges[edge]]]
        theirs = [edge for edge in theirs if counts[0][paddle.edges[edge]] == counts[1][paddle.edges[edge]]]
    matcher = SequenceMatcher(None, [torch.edges[e] for e in ours], [paddle.edges[e] for e in theirs], autojunk=False)
    for block in matcher.get_matching_blocks():
        for k in range(block.size):
            found[theirs[block.b + k]] = ours[block.a + k]
    return found


def _path(edge: str) -> str:
    """The words of an output's path; its numbers say nothing across frameworks."""
    leaf = edge.partition(":")[2]
    return leaf if leaf.startswith("out.") and not leaf.removeprefix("out.").replace(".", "").isdecimal() else ""
