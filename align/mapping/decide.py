"""Open questions of a proposal, settled by function: which assignment lets the Paddle side compute what torch computes?

A trial of one map replays the Paddle side on torch's own inputs and tells at which edges it fails. Of several
assignments that which fails at fewer edges is right; where two fail alike and names do not decide, nobody is to guess.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from align.errors import CannotCompareError
from align.mapping.links import FUNCTION, OPEN, Link, Map
from align.mapping.names import words
from align.mapping.side import Side
from align.mapping.weights import Proposal, Question, Unit, links_of, ops

# What a map fails at: how many edges, and how early the first of them comes. Less is better.
Failure = tuple[int, int]
Try = Callable[[Map], Failure]
_Order = tuple[int, ...]

_PASSES = 3  # over all questions: the answer to one may rest on another's
_WHOLE = 4  # units of which every order is tried; of more, only exchanges of two


class AmbiguousMapError(CannotCompareError):
    """Several maps are equally good; `known` is one of them, in which the links that may be others are OPEN."""

    def __init__(self, message: str, known: Map) -> None:
        super().__init__(message)
        self.known = known


@dataclass(frozen=True)
class _Open:
    """A question that stays open, in words, with the Paddle tensors that it is about."""

    text: str
    paddle: tuple[str, ...]


def decide(proposal: Proposal, torch: Side, paddle: Side, attempt: Try) -> Map:
    """The map, every open question settled.

    Raises:
        AmbiguousMapError: assignments that are equally good by name and by function; all of them are named.
    """
    links = [link for a, b, c, alone in proposal.pairs for link in links_of(a, b, c, alone, torch, paddle)]
    state = _State(torch, paddle, {link.paddle: link for link in [*links, *proposal.packs]}, proposal)
    open_questions: list[_Open] = []
    for _ in range(_PASSES):
        before = dict(state.links)
        open_questions = _settle_all(state, attempt)
        if state.links == before or attempt(state.map())[0] == 0:
            break
    if open_questions:
        raise AmbiguousMapError(
            "the weight map is ambiguous: "
            + "; ".join(question.text for question in open_questions)
            + " — name the right ones in a map (--save-map FILE writes what is known, --weight-map FILE reads it)",
            state.guessed(open_questions),
        )
    return state.map()


@dataclass
class _State:
    torch: Side
    paddle: Side
    links: dict[tuple[str, ...], Link]
    proposal: Proposal

    def map(self) -> Map:
        links = tuple(self.links.values())
        ours = _unlinked(self.torch, (name for link in links for name in link.torch))
        return Map(links, ours, _unlinked(self.paddle, (name for link in links for name in link.paddle)))

    def with_pairs(self, pairs: Sequence[tuple[Unit, Unit]]) -> Map | None:
        links = dict(self.links)
        for ours, theirs in pairs:
            fits = all(ops(a, b, self.torch, self.paddle) for a, b in zip(ours.names, theirs.names, strict=True))
            if not fits:
                return None
            for link in links_of(ours, theirs, 1.0, False, self.torch, self.paddle):
                links[link.paddle] = replace(link, sure=FUNCTION)
        return Map(tuple(links.values()))

    def guessed(self, questions: Sequence[_Open]) -> Map:
        """The map as it stands, in which the links that the questions are about are marked as open."""
        asked = {name for question in questions for name in question.paddle}
        found = self.map()
        links = (replace(k, sure=OPEN, certainty=0.0) if asked & set(k.paddle) else k for k in found.links)
        return replace(found, links=tuple(links))

    def take(self, found: Map) -> None:
        self.links = {link.paddle: link for link in found.links}


def _unlinked(side: Side, linked: Iterable[str]) -> tuple[str, ...]:
    owned = {side.tied.get(name, name) for name in linked}
    return tuple(name for name in side.firsts if name not in owned)


def _settle_all(state: _State, attempt: Try) -> list[_Open]:
    """Settle every question on the ground of what is known by now; what stays open is returned."""
    open_questions: list[_Open] = []
    for questions in _asked_alike(state.proposal.questions):
        open_questions += _settle(questions, state, attempt)
    for packed in _packed_alike(state):
        open_questions += _settle_packing(packed, state, attempt)
    for key, link in list(state.links.items()):
        if link.op.axis is None:
            open_questions += _settle_op(key, link, state, attempt)
    return open_questions


def _asked_alike(questions: Sequence[Question]) -> list[list[Question]]:
    """The questions, those together that ask the same of every layer; units of all in the order of their names."""
    found: dict[tuple[object, ...], list[Question]] = {}
    for question in questions:
        ours, theirs = (
            tuple(sorted(units, key=lambda unit: unit.label)) for units in (question.torch, question.paddle)
        )
        key = (tuple(words(unit.label) for unit in ours), tuple(words(unit.label) for unit in theirs))
        found.setdefault(key, []).append(Question(ours, theirs))
    return list(found.values())


def _settle(questions: Sequence[Question], state: _State, attempt: Try) -> list[_Open]:
    """Settle one question of all layers, or return it."""
    tried: dict[_Order, tuple[Failure, Map]] = {}
    first = questions[0]
    start = _current(first, state)
    while True:
        for order in _orders(start, len(first.paddle)):
            found = None if order in tried else state.with_pairs(_pairs(questions, order))
            if found is not None:
                tried[order] = attempt(found), found
        best = min(failure for failure, _ in tried.values())
        winners = [order for order, (failure, _) in tried.items() if failure == best]
        if len(first.torch) <= _WHOLE or start[: len(first.paddle)] in winners:
            break
        start = winners[0] + tuple(i for i in start if i not in winners[0])
    if len(winners) == 1:
        state.take(tried[winners[0]][1])
        return []
    return [found for question in questions for found in _left_open(question, winners)]


def _pairs(questions: Sequence[Question], order: _Order) -> list[tuple[Unit, Unit]]:
    return [(q.torch[i], unit) for q in questions for i, unit in zip(order, q.paddle, strict=False)]


def _current(question: Question, state: _State) -> _Order:
    """Which of torch's units each Paddle unit has for now; those that have none come last."""
    holder = {name: i for i, unit in enumerate(question.torch) for name in unit.names}
    given = [holder[state.links[unit.names[:1]].torch[0]] for unit in question.paddle]
    return (*given, *(i for i in range(len(question.torch)) if i not in given))


def _orders(start: _Order, theirs: int) -> Iterator[_Order]:
    """Which of torch's units each Paddle unit is given: all ways, or of many what one exchange makes of `start`."""
    if len(start) <= _WHOLE:
        yield from itertools.permutations(range(len(start)), theirs)
        return
    yield start[:theirs]
    for i, j in itertools.combinations(range(len(start)), 2):
        turned = list(start)
        turned[i], turned[j] = turned[j], turned[i]
        yield tuple(turned[:theirs])


def _left_open(question: Question, winners: Sequence[_Order]) -> list[_Open]:
    """For each Paddle unit that stays open, its candidates."""
    found = []
    for place, unit in enumerate(question.paddle):
        candidates = list(dict.fromkeys(question.torch[order[place]].label for order in winners))
        if len(candidates) > 1:
            found.append(_Open(f"{unit.label} (paddle) may be {' or '.join(candidates)} (torch)", unit.names))
    return found


def _packed_alike(state: _State) -> list[list[tuple[str, ...]]]:
    """The packed links, those together that must be packed in one way: a weight and its bias, in every layer."""
    found: dict[tuple[object, ...], list[tuple[str, ...]]] = {}
    for key, link in state.links.items():
        if link.op.axis is not None:
            whole = link.torch[0] if link.op.split else link.paddle[0]
            parts = max(len(link.torch), len(link.paddle))
            found.setdefault((words(whole)[:-1], link.op.split, parts), []).append(key)
    return list(found.values())


def _settle_packing(keys: Sequence[tuple[str, ...]], state: _State, attempt: Try) -> list[_Open]:
    """Settle the order of packed parts, and whether they alternate, for all links that are packed alike."""
    links = [state.links[key] for key in keys]
    count = max(len(links[0].torch), len(links[0].paddle))
    tried = []
    for groups in _group_counts(links, state):
        for order in itertools.permutations(range(count)):
            made = [_packed(link, order, groups, state) for link in links]
            rest = {key: link for key, link in state.links.items() if key not in keys}
            failure = attempt(Map((*rest.values(), *made)))
            tried.append((failure, made))
    best = min(failure for failure, _ in tried)
    winners = [made for failure, made in tried if failure == best]
    if len(winners) > 1:
        link = winners[0][0]
        ways = " or ".join(dict.fromkeys(_way(made[0]) for made in winners[:4]))
        text = f"{' + '.join(link.paddle)} (paddle) may hold {' + '.join(link.torch)} (torch) {ways}"
        return [_Open(text, tuple(name for key in keys for name in key))]
    for key, chosen in zip(keys, winners[0], strict=True):
        del state.links[key]
        state.links[chosen.paddle] = replace(chosen, sure=FUNCTION, certainty=1.0)
    return []


def _packed(link: Link, order: Sequence[int], groups: int, state: _State) -> Link:
    op = replace(link.op, groups=groups)
    if op.split:
        return replace(link, op=op, paddle=tuple(link.paddle[i] for i in order))
    torch = tuple(link.torch[i] for i in order)
    return replace(link, op=op, torch=torch, shapes=tuple(state.torch.shapes[name] for name in torch))


def _group_counts(links: Sequence[Link], state: _State) -> list[int]:
    """The numbers of rounds in which parts may alternate: one, or any number of heads that divides every part."""
    sizes = []
    for link in links:
        op = link.op
        assert op.axis is not None
        whole = link.shapes[0][::-1] if op.transposed else link.shapes[0]
        sizes.append(whole[op.axis] // op.split if op.split else whole[op.axis])
    return [n for n in range(1, min(sizes) + 1) if all(size % n == 0 for size in sizes)]


def _settle_op(key: tuple[str, ...], link: Link, state: _State, attempt: Try) -> list[_Open]:
    """Settle how a tensor is stored where its shape and class do not say."""
    candidates = [replace(link, op=op) for op in ops(link.torch[0], link.paddle[0], state.torch, state.paddle)]
    if len(candidates) < 2:
        return []
    tried = [(attempt(Map(tuple((state.links | {key: c}).values()))), c) for c in candidates]
    best = min(failure for failure, _ in tried)
    winners = [c for failure, c in tried if failure == best]
    if len(winners) == 1:
        state.links[key] = replace(winners[0], sure=FUNCTION)
        return []
    ways = " or ".join(map(_way, winners))
    return [_Open(f"{key[0]} (paddle) may hold {link.torch[0]} (torch) {ways}", key)]


def _way(link: Link) -> str:
    op = link.op
    if op.axis is not None:
        order = ", ".join(link.paddle if op.split else link.torch)
        return f"in the order {order}" + (f" alternating {op.groups} times" if op.groups > 1 else "")
    return {"Keep": "as it is", "Linear": "transposed"}.get(
        op.word, "reshaped" + " after a transposition" * op.transposed
    )
