"""Dropout that should be off."""

from collections.abc import Iterator

import numpy as np

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import brief

_FEWEST, _MOST = 0.002, 0.95  # of the elements, that a dropout sets to zero


def dropout(evidence: Evidence) -> Iterator[Candidate]:
    """Some elements, or whole slices, are zero and all others larger by one and the same factor."""
    expected, actual = evidence.expected, evidence.actual
    if expected.dtype.kind != "f" or expected.shape != actual.shape:
        return
    yield from _nothing_lost(evidence)
    there = expected != 0
    lost = there & (actual == 0)
    share = float(lost.sum()) / max(int(there.sum()), 1)
    if not _FEWEST <= share <= _MOST:
        return
    kept = there & ~lost
    factor = float(np.median(actual[kept].astype(np.float64) / expected[kept]))
    axis = _axis(lost, there)
    text = f"{share:.1%} of the values are zero" + ("" if axis is None else f", by whole slices of axis {axis}")
    predicted = np.where(lost, 0.0, expected * factor)
    if factor > 1 + 1e-6:
        yield Candidate(f"dropout: {text} that are not in torch, the others taken {brief(factor)} times", predicted, 1)
    else:
        yield Candidate(f"{text}, the others as they should be", predicted, 1)


def _nothing_lost(evidence: Evidence) -> Iterator[Candidate]:
    """The factor of a dropout without the zeros: none happened to fall, or it is the other convention's."""
    p, expected = evidence.facts.get("p", 0.0), evidence.expected.astype(np.float64)
    if 0 < p < 1:
        kept = float(1 / np.float32(1 - p))  # a kernel divides in float32
        for factor in (1 / (1 - p), kept):
            text = f"dropout is active, though nothing falls out: all is taken 1/(1 − {brief(p)}) times"
            yield Candidate(text, factor * expected)
        for factor in (1 - p, float(np.float32(1 - p))):
            yield Candidate(f"all is taken 1 − {brief(p)} times (downscale in inference)", factor * expected)


def _axis(lost: np.ndarray, there: np.ndarray) -> int | None:
    """The axis whose slices are lost as a whole or kept as a whole, if there is one."""
    for axis in range(lost.ndim):
        others = tuple(a for a in range(lost.ndim) if a != axis)
        if others and ((lost | ~there).all(others) | ~lost.any(others)).all():
            return axis
    return None
