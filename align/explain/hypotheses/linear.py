"""Products with a weight matrix: x·Wᵀ + b."""

from collections.abc import Iterator

import numpy as np

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import show
from align.explain.rounding import roundings

_MATCH = 1e-10


def linear(evidence: Evidence) -> Iterator[Candidate]:
    """What becomes of a product with one of the module's own matrices."""
    expected, actual = evidence.expected, evidence.actual
    if expected.dtype.kind != "f" or expected.ndim < 2 or expected.shape != actual.shape:
        return
    for name, weight in evidence.parameters.items():
        for x in evidence.floats.values() if weight.ndim == 2 else ():
            bias = _bias(evidence, x, weight)
            if bias is not None:
                yield from _variants(name, x, weight, bias, evidence)


def _bias(evidence: Evidence, x: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """The bias with which x·Wᵀ is the expected value (zeros, if it has none); None if it is not."""
    if x.shape[:-1] + weight.shape[:1] != evidence.expected.shape or x.shape[-1:] != weight.shape[1:]:
        return None
    product, expected = x @ weight.T, evidence.expected.astype(np.float64)
    vectors = [value for value in evidence.parameters.values() if value.shape == weight.shape[:1]]
    for bias in [*vectors, np.zeros(len(weight))]:
        if np.abs(product + bias - expected).max() <= _MATCH * np.abs(expected).max():
            return bias
    return None


def _variants(
    name: str, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, evidence: Evidence
) -> Iterator[Candidate]:
    product, actual = x @ weight.T, evidence.actual.astype(np.float64)
    if bias.any():
        yield Candidate("the bias is not added", product)
        yield Candidate("the bias is added twice", product + 2 * bias)
        yield Candidate("the bias is subtracted", product - bias)
    if weight.shape[0] == weight.shape[1]:
        yield Candidate(f"{name} is used transposed", x @ weight + bias)
    for text, (cut,) in roundings(weight):
        yield Candidate(f"{name} is {text}", x @ cut.T + bias)
    for text, (cut_x, cut) in roundings(x, weight):
        yield Candidate(f"{name} and what it multiplies are {text}", cut_x @ cut.T + bias)
    sizes = (*weight.shape, *x.shape)
    scale = float((product * (actual - bias)).sum() / (product**2).sum())
    yield Candidate(f"the product with {name} is taken {show(scale, sizes)} times", scale * product + bias, 1)
    if bias.any():
        share = float((bias * (actual - product)).sum() / ((bias**2).sum() * (product.size / bias.size)))
        yield Candidate(f"the bias is taken {show(share, sizes)} times", product + share * bias, 1)
