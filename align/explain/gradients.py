"""Why a gradient is wrong: what was done to it, or which part of it is missing."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from align.explain import Explanation, simplest
from align.explain.arrange import moved
from align.explain.candidate import Candidate
from align.explain.numbers import recognise, show
from align.explain.target import Target

Candidates = Mapping[str, np.ndarray]
_MOST_ROWS = 5  # of which each is named


def explain_gradient(
    expected: np.ndarray, actual: np.ndarray | None, candidates: Candidates, limit: float = 0.0
) -> Explanation | None:
    """What turns the `expected` gradient into the `actual` one, None standing for a gradient that never came.

    `candidates` are other gradients by name: parts that sum up to this one, and those of other tensors. `limit` is the
    largest error that passes.
    """
    own = np.zeros_like(expected) if actual is None else actual
    target = Target(expected, own, limit)
    if not (target.differing and target.difference > limit):
        return None
    with np.errstate(all="ignore"):
        return simplest(target, (guess for family in _FAMILIES for guess in family(expected, own, candidates)))


def _none(expected: np.ndarray, actual: np.ndarray, candidates: Candidates) -> Iterator[Candidate]:
    if not actual.any():
        yield Candidate("no gradient arrives: the path is detached", np.zeros_like(actual))
    if not expected.any():
        yield Candidate("a gradient arrives where none should", actual.copy())
    yield Candidate("it has the opposite sign", -expected)


def _others(expected: np.ndarray, actual: np.ndarray, candidates: Candidates) -> Iterator[Candidate]:
    """Another gradient, or this one without a part or with a part twice."""
    for name, value in candidates.items():
        if value.shape != expected.shape or not value.any():
            continue
        yield Candidate(f"it lacks the part of {name}", expected - value)
        yield Candidate(f"it has the part of {name} twice", expected + value)
        yield Candidate(f"it is the gradient of {name}", value)


def _rows(expected: np.ndarray, actual: np.ndarray, candidates: Candidates) -> Iterator[Candidate]:
    """Rows that receive nothing, as those of a padding index; or the one row that does so in torch alone."""
    if expected.shape != actual.shape or expected.ndim < 2:
        return
    due, found = expected.reshape(len(expected), -1).any(1), actual.reshape(len(actual), -1).any(1)
    extra = np.flatnonzero(found & ~due)
    if len(extra) == 1:
        more = expected.copy()
        more[extra] = actual[extra]
        yield Candidate(f"a gradient arrives at row {extra[0]}, where torch stops it (padding_idx)", more)
    yield from _row_of_a_part(expected, actual, candidates)
    lost = np.flatnonzero(due & ~found)
    if len(lost):
        kept = expected.copy()
        kept[lost] = 0
        named = " ".join(map(str, lost[:_MOST_ROWS])) + (" …" if len(lost) > _MOST_ROWS else "")
        yield Candidate(f"nothing arrives at {'row' if len(lost) == 1 else 'rows'} {named} (padding_idx)", kept)


def _row_of_a_part(expected: np.ndarray, actual: np.ndarray, candidates: Candidates) -> Iterator[Candidate]:
    """The one row that is wrong, if it is so by what one of several users of a table sends to it."""
    change = np.abs(actual - expected).reshape(len(expected), -1).max(1)
    row = int(change.argmax())
    for name, value in candidates.items():
        if value.shape != expected.shape or not value[row].any():
            continue
        for text, sign in (("arrives at row {}, where torch stops it", 1), ("does not arrive at row {}", -1)):
            changed = expected.copy()
            changed[row] += sign * value[row]
            yield Candidate(f"the part of {name} {text.format(row)} (padding_idx)", changed)


def _changed(expected: np.ndarray, actual: np.ndarray, candidates: Candidates) -> Iterator[Candidate]:
    """The gradient scaled, cut off, or with its elements in another order."""
    for text, order in moved(expected, actual):
        yield Candidate(f"it has the right numbers in another order: {text}", order)
    if expected.shape != actual.shape:
        return
    factor = float((expected * actual).sum() / (expected**2).sum())
    if np.isfinite(factor):
        known = recognise(factor, expected.shape)
        yield Candidate(f"it is scaled by {show(factor, expected.shape)}", factor * expected, 0 if known else 1)
    bound = float(np.abs(actual).max(initial=0.0))
    text = f"each element is cut off at {show(bound)}"
    yield Candidate(text, np.clip(expected, -bound, bound), 0 if recognise(bound) else 1)


def _mixed(expected: np.ndarray, actual: np.ndarray, candidates: Candidates) -> Iterator[Candidate]:
    """One part of the gradient taken another number of times."""
    for name, value in candidates.items():
        if value.shape == expected.shape == actual.shape and value.any():
            times = 1 + float((value * (actual - expected)).sum() / (value**2).sum())
            known = recognise(times, expected.shape)
            text = f"it has the part of {name} {show(times, expected.shape)} times instead of once"
            yield Candidate(text, expected + (times - 1) * value, 0 if known else 1)


_FAMILIES: tuple[Callable[[np.ndarray, np.ndarray, Candidates], Iterator[Candidate]], ...] = (
    _none,
    _others,
    _rows,
    _changed,
    _mixed,
)
