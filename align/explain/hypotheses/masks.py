"""Plain numbers, additive masks, and masks of ones and zeros."""

from collections.abc import Iterator

import numpy as np

from align.difference import MASKED
from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import brief


def numbers(evidence: Evidence) -> Iterator[Candidate]:
    """A plain number instead of another, among arguments or in what a module returns."""
    expected, actual = evidence.expected, evidence.actual
    if evidence.literal and expected.ndim == actual.ndim == 0:
        yield Candidate(f"the number is {actual.item()} instead of {expected.item()}", actual.copy())


def masks(evidence: Evidence) -> Iterator[Candidate]:
    """A mask inverted, or with another number where it masks."""
    expected, actual = evidence.expected, evidence.actual
    if expected.shape == actual.shape and expected.ndim and expected.dtype.kind in "fib":
        yield from _zeros_and_ones(expected, actual)
        yield from _additive(expected, actual)


def _zeros_and_ones(expected: np.ndarray, actual: np.ndarray) -> Iterator[Candidate]:
    if np.isin(expected, (0, 1)).all() and len(np.unique(expected)) == 2:
        yield Candidate("the mask is inverted: 0 stands for 1 and 1 for 0", (expected == 0).astype(actual.dtype))


def _additive(expected: np.ndarray, actual: np.ndarray) -> Iterator[Candidate]:
    if expected.dtype.kind != "f":
        return
    out = expected <= MASKED
    if not out.any() or out.all():
        return
    least = float(expected.min())
    if not expected[~out].any():
        yield Candidate("nothing is masked: the mask is 0 everywhere", np.zeros_like(expected))
        yield Candidate("the mask is inverted: it masks all that it should not", np.where(out, 0.0, least))
        value = actual[~out][0]
        yield Candidate(f"the mask is inverted, with {brief(float(value))}", np.where(out, 0.0, value))
    value = actual[out][0]
    text = f"{brief(float(value))} stands where it masks, instead of {brief(least)}"
    yield Candidate(text, np.where(out, value, expected))
