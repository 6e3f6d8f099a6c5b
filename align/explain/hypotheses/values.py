"""How the port's values follow from the expected ones alone: constant, scaled, rounded, moved."""

from collections.abc import Iterator

import numpy as np

from align.explain.arrange import gathered, moved
from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import recognise, show
from align.explain.rounding import roundings

_FEW = 0.5  # the largest part of an axis that "only at index …" may speak of


def constant(evidence: Evidence) -> Iterator[Candidate]:
    """One number everywhere."""
    actual = evidence.actual
    if actual.size > 1 and np.isfinite(actual).all():
        value = actual.reshape(-1)[0]
        known = actual.dtype.kind != "f" or recognise(float(value)) is not None
        text = str(value) if actual.dtype.kind != "f" else show(float(value))
        yield Candidate(f"it is {text} everywhere", np.full_like(actual, value), 0 if known else 1)


def scaled(evidence: Evidence) -> Iterator[Candidate]:
    """The expected value rounded, with another sign, times a factor, or with an offset; in some slices or in all."""
    expected, actual = evidence.expected, evidence.actual
    if expected.dtype.kind != "f" or actual.dtype.kind != "f" or expected.shape != actual.shape or not expected.size:
        return
    expected, actual = expected.astype(np.float64), actual.astype(np.float64)
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return
    yield Candidate("it has the opposite sign", -expected)
    for text, (cut,) in roundings(expected):
        yield Candidate(f"its values are {text}", cut)
    yield from _times(expected, actual, "")
    offset = float(np.median(actual - expected))
    yield Candidate(f"it is {show(offset)} too large everywhere", expected + offset, 1)
    for axis, size in enumerate(expected.shape):
        where = _support(expected, actual, axis)
        if where is not None:
            text = f" at index {_indices(where, size)} along axis {axis}, and right elsewhere"
            yield from _in_slices(expected, actual, axis, where, text)


def _times(expected: np.ndarray, actual: np.ndarray, where: str) -> Iterator[Candidate]:
    factor = float((expected * actual).sum() / (expected**2).sum())
    if np.isfinite(factor):
        fitted = 0 if recognise(factor, expected.shape) else 1
        yield Candidate(f"it is scaled by {show(factor, expected.shape)}{where}", factor * expected, fitted)


def _support(expected: np.ndarray, actual: np.ndarray, axis: int) -> np.ndarray | None:
    """The indices of an axis at which anything differs, if they are few."""
    others = tuple(a for a in range(expected.ndim) if a != axis)
    error = np.abs(actual - expected)
    where = np.flatnonzero((error > 1e-10 * error.max()).any(others))
    return where if 0 < len(where) <= _FEW * expected.shape[axis] else None


def _in_slices(
    expected: np.ndarray, actual: np.ndarray, axis: int, where: np.ndarray, text: str
) -> Iterator[Candidate]:
    part, own = np.take(expected, where, axis), np.take(actual, where, axis)
    for guess in [Candidate(f"it is zero{text}", np.zeros_like(part)), *_times(part, own, text)]:
        predicted = expected.copy()
        predicted[(slice(None),) * axis + (where,)] = guess.predicted
        yield Candidate(guess.text, predicted, guess.parameters)


def _indices(where: np.ndarray, size: int) -> str:
    """Indices of an axis in words: "28 (the last)", "3 to 7", "0 3 5 …"."""
    last = " (the last)" if where[-1] == size - 1 else ""
    if len(where) > 1 and np.array_equal(where, np.arange(where[0], where[-1] + 1)):
        return f"{where[0]} to {where[-1]}{last}"
    return " ".join(map(str, where[:6])) + (" …" if len(where) > 6 else last)


def rearranged(evidence: Evidence) -> Iterator[Candidate]:
    """The expected numbers in another order or shape."""
    expected, actual = evidence.expected, evidence.actual
    for text, predicted in [*moved(expected, actual), *gathered(expected, actual, few=True)]:
        yield Candidate(f"it has the right numbers in another order: {text}", predicted)


def regathered(evidence: Evidence) -> Iterator[Candidate]:
    """Slices of the expected value, repeated, missing or in any order."""
    for text, predicted in gathered(evidence.expected, evidence.actual):
        yield Candidate(f"it has slices of the right value: {text}", predicted)


def shifted(evidence: Evidence) -> Iterator[Candidate]:
    """The expected value moved along an axis, with zeros or the end itself where nothing was."""
    expected, actual = evidence.expected, evidence.actual
    if expected.shape != actual.shape or expected.ndim == 0:
        return
    for axis, size in enumerate(expected.shape):
        for shift in [s for s in (-2, -1, 1, 2) if abs(s) < size]:
            index = np.arange(size) - shift
            held = np.take(expected, index.clip(0, size - 1), axis)
            out = ((index < 0) | (index >= size)).reshape((-1,) + (1,) * (expected.ndim - axis - 1))
            text = f"it is moved by {shift:+d} along axis {axis}"
            yield Candidate(f"{text}, zeros move in", np.where(out, 0, held).astype(actual.dtype))
            yield Candidate(f"{text}, the end is repeated", held)
