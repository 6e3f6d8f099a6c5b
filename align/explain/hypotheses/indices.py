"""Ids, positions, token types, labels and tables of true and false."""

import itertools
from collections.abc import Iterator

import numpy as np

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import brief

_MOST_CHANGED = 3  # values of which it is said what has become of them
_IGNORED = -100
_TRIPLES = 8  # statements of which three are combined
_CONSTANTS = 4  # values of a tensor, the smallest, that statements are made of
_MANY = 16  # values that a tensor must have to be recognised at few places


def indices(evidence: Evidence) -> Iterator[Candidate]:
    """Where integers or truth values of another kind come from."""
    expected, actual = evidence.expected, evidence.actual
    if actual.dtype.kind not in "iub" or not actual.size:
        return
    if actual.dtype.kind in "iu":
        yield from _plain(expected, actual)
        yield from _counts(evidence)
    yield from _predicates(evidence)
    yield from _chosen(evidence)
    yield from _places(evidence)


def _plain(expected: np.ndarray, actual: np.ndarray) -> Iterator[Candidate]:
    starts = [start for start in range(-2, 4) if np.array_equal(_positions(expected.shape) + start, expected)]
    for start in range(-2, 4) if actual.ndim else ():
        due = f" instead of {starts[0]}" if starts else ""
        yield Candidate(f"positions are counted from {start}{due}", _positions(actual.shape) + start)
    if expected.shape != actual.shape:
        return
    what = "positions are" if starts else "it is"
    for shift in (-2, -1, 1, 2):
        size = "large" if shift > 0 else "small"
        yield Candidate(f"{what} {abs(shift)} too {size} everywhere", expected + shift)
    yield Candidate(f"{what} cut off at {actual.max()}", np.minimum(expected, actual.max()))
    yield Candidate(f"{what} at least {actual.min()} everywhere", np.maximum(expected, actual.min()))


def _positions(shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.arange(shape[-1]) if shape else np.asarray(0), shape)


def _counts(evidence: Evidence) -> Iterator[Candidate]:
    """Positions that count only tokens."""
    for name, value in {**evidence.at_hand, **evidence.batch}.items():
        if value.dtype.kind not in "iub" or value.shape != evidence.actual.shape or not value.ndim:
            continue
        token = (value != 0).astype(np.int64)
        counted = token.cumsum(-1)
        text = f"positions count the tokens of {evidence.name(name) if ':' in name else name} that are not 0"
        for start in (-1, 0, 1):
            first = f", the first is {1 + start}"
            yield Candidate(f"{text}{first}, and the others 0", (counted + start) * token)
            yield Candidate(f"{text}{first}, and all others count on", counted + start)
            yield Candidate(f"{text}{first}, and the others {start}", counted * token + start)


def changed_values(evidence: Evidence) -> Iterator[Candidate]:
    """One value, or a few, have each become another everywhere: −100 → 0, −1.8e308 → −10000, 0 and 1 exchanged."""
    expected, actual = evidence.expected, evidence.actual
    if expected.shape != actual.shape or expected.dtype.kind != actual.dtype.kind or not expected.size:
        return
    differs = (expected != actual) & ~(_nan(expected) & _nan(actual))
    before = np.unique(expected[differs])
    if not 0 < len(before) <= _MOST_CHANGED or np.isnan(before.astype(np.float64)).any():
        return
    predicted = expected.copy()
    texts = []
    for value in before:
        after = actual[expected == value]
        if after.size < 2 or not (after == after[0]).all():
            return
        predicted[expected == value] = after[0]
        texts.append(f"every {_short(value)} has become {_short(after[0])}")
    yield Candidate(" and ".join(texts), predicted)


def _nan(values: np.ndarray) -> np.ndarray:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)


def _short(value: np.generic) -> str:
    return brief(float(value) + 0.0) if value.dtype.kind == "f" else str(value)


def _truths(evidence: Evidence) -> dict[str, np.ndarray]:
    """Statements on recorded integers: x = c, x = y, and on pairs of positions x[i] = y[j], x[i] = c, x[j] = c."""
    found: dict[str, np.ndarray] = {}
    integers = {evidence.name(n): v for n, v in evidence.at_hand.items() if v.dtype.kind in "iub" and v.ndim}
    for words, value in integers.items():
        for constant in np.unique(value)[:_CONSTANTS] if value.dtype.kind != "b" else ():
            found[f"{words} = {constant}"] = value == constant
            if value.ndim == 2:
                found[f"{words} = {constant} at the query"] = np.repeat(
                    (value == constant)[:, :, None], value.shape[1], 2
                )
                found[f"{words} = {constant} at the key"] = np.repeat(
                    (value == constant)[:, None, :], value.shape[1], 1
                )
        if value.ndim == 2:
            found[f"{words} is the same at both positions"] = value[:, :, None] == value[:, None, :]
    for (one, a), (other, b) in itertools.combinations(integers.items(), 2):
        if a.shape == b.shape:
            found[f"{one} = {other}"] = a == b
        elif a.ndim == b.ndim == 2 and len(a) == len(b):
            found[f"{one} at the query = {other} at the key"] = a[:, :, None] == b[:, None, :]
            found[f"{other} at the query = {one} at the key"] = b[:, :, None] == a[:, None, :]
    return {text: value for text, value in found.items() if value.shape == evidence.actual.shape}


def _predicates(evidence: Evidence) -> Iterator[Candidate]:
    """Truth values, or labels of 0 and 1, by another rule."""
    actual = evidence.actual
    if not np.isin(actual, (0, 1)).all() or np.unique(actual).size < 2:
        return
    kind = actual.dtype
    if evidence.expected.shape == actual.shape:
        yield Candidate("it is inverted", (evidence.expected == 0).astype(kind))
    truths = _truths(evidence)
    for text, value in truths.items():
        yield Candidate(f"it is true where {text}", value.astype(kind))
        yield Candidate(f"it is true unless {text}", (~value).astype(kind))
    for text, value in _combined(truths):
        yield Candidate(f"it is true where {text}", value.astype(kind))


def _combined(truths: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Two statements or their opposites, and three of them of which one is true."""
    signed = [[(text, value), (f"not {text}", ~value)] for text, value in truths.items()]
    for one, other in itertools.combinations(signed, 2):
        for (text, a), (more, b) in itertools.product(one, other):
            yield f"{text} and {more}", a & b
            yield f"{text} or {more}", a | b
    for three in itertools.combinations(signed, 3) if len(signed) <= _TRIPLES else ():
        for (text, a), (more, b), (most, c) in itertools.product(*three):
            yield f"{text} or {more} or {most}", a | b | c


def _chosen(evidence: Evidence) -> Iterator[Candidate]:
    """One recorded tensor of integers where a statement is true, and another or a constant elsewhere."""
    actual = evidence.actual
    alike = {
        evidence.name(name): value
        for name, value in evidence.at_hand.items()
        if value.shape == actual.shape and value.dtype.kind == actual.dtype.kind
    }
    choices = {**alike, str(_IGNORED): np.full_like(actual, _IGNORED), "0": np.zeros_like(actual)}
    for text, true in _truths(evidence).items():
        for (one, a), (other, b) in itertools.permutations(choices.items(), 2):
            if one in alike or other in alike:
                yield Candidate(f"it is {one} where {text}, and {other} elsewhere", np.where(true, a, b))


def _places(evidence: Evidence) -> Iterator[Candidate]:
    """At some places another recorded tensor stands: one of many values, and the only one that it can be."""
    expected, actual = evidence.expected, evidence.actual
    if expected.shape != actual.shape:
        return
    wrong = expected != actual
    others = {
        name: value
        for name, value in evidence.at_hand.items()
        if value.shape == actual.shape and np.array_equal(value[wrong], actual[wrong])
    }
    if len(others) == 1 and wrong.any():
        name, value = next(iter(others.items()))
        if len(np.unique(value)) >= _MANY:
            first = tuple(map(int, np.argwhere(wrong)[0]))
            text = f"{evidence.name(name)} stands at {int(wrong.sum())} of {actual.size} places, first at {first}"
            yield Candidate(text, np.where(wrong, value, expected))
