"""Normalisations: γ·(x − mean)/√(variance + eps) + β, and what becomes of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import rounded, show

_MATCH = 1e-10  # relative: how well a form must compute the reference's own value
_FITTED_ROWS = 5


@dataclass(frozen=True)
class _Norm:
    """One normalisation over the last axis: of `x` (rows, D), centred or not."""

    x: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    eps: float
    centred: bool = True

    @property
    def deviations(self) -> np.ndarray:
        return self.x - self.x.mean(-1, keepdims=True) if self.centred else self.x

    @property
    def variance(self) -> np.ndarray:
        return (self.deviations**2).mean(-1, keepdims=True)

    def result(self, divisor: np.ndarray | None = None) -> np.ndarray:
        divisor = np.sqrt(self.variance + self.eps) if divisor is None else divisor
        return self.deviations / divisor * self.gamma + self.beta


def norms(evidence: Evidence) -> Iterator[Candidate]:
    """What a module that normalises over the last axis does otherwise."""
    expected, actual = evidence.expected, evidence.actual
    if expected.dtype.kind != "f" or expected.ndim < 2 or expected.shape != actual.shape:
        return
    for x in [value for value in evidence.floats.values() if value.shape == expected.shape]:
        norm = _form(evidence, x)
        if norm is not None:
            yield from _variants(norm, evidence)


def _form(evidence: Evidence, x: np.ndarray) -> _Norm | None:
    """The normalisation of `x` that gives the expected value, with or without γ, β and centring."""
    expected, width = evidence.expected.astype(np.float64), evidence.expected.shape[-1]
    vectors = {name: value for name, value in evidence.parameters.items() if value.shape == (width,)}
    gamma = vectors.get("weight", next(iter(vectors.values()), np.ones(width)))
    beta = vectors.get("bias", np.zeros(width))
    for centred in (True, False):
        norm = _Norm(x, gamma, beta, 0.0, centred)
        eps = evidence.facts.get("eps")
        fitted = _Norm(x, gamma, beta, _eps(norm, expected) if eps is None else float(eps), centred)
        if np.abs(fitted.result() - expected).max() <= _MATCH * np.abs(expected).max():
            return fitted
    return None


def _divisors(norm: _Norm, value: np.ndarray) -> np.ndarray:
    """Of each row, by what its deviations must have been divided to give `value`: least squares."""
    deviations = norm.deviations * norm.gamma
    return (deviations**2).sum(-1, keepdims=True) / (deviations * (value - norm.beta)).sum(-1, keepdims=True)


def _eps(norm: _Norm, value: np.ndarray) -> float:
    """What was added to the variance, from the rows where it matters most."""
    added = _divisors(norm, value) ** 2 - norm.variance
    rows = np.argsort(norm.variance, axis=None)[:_FITTED_ROWS]
    return float(np.median(added.reshape(-1)[rows]))


def _variants(norm: _Norm, evidence: Evidence) -> Iterator[Candidate]:
    gamma, beta, eps, width = norm.gamma, norm.beta, norm.eps, norm.x.shape[-1]
    variance = norm.variance
    plain = norm.result() - beta
    yield Candidate("not normalised: it returns its input", norm.x)
    yield Candidate("not normalised: γ and β are applied to its input as it is", norm.x * gamma + beta)
    yield Candidate("β (bias) is not added", plain)
    yield Candidate("β (bias) is subtracted", plain - beta)
    yield Candidate("γ (weight) is not applied", plain / gamma + beta)
    yield Candidate("neither γ nor β is applied", plain / gamma)
    yield Candidate("normalised, but multiplied by 1 + γ instead of γ", plain / gamma * (1 + gamma) + beta)
    other = _Norm(norm.x, gamma, beta, eps, not norm.centred)
    yield Candidate("the mean is not removed (RMS)" if norm.centred else "the mean is removed", other.result())
    if norm.centred:
        root = np.sqrt(variance + eps)
        yield Candidate("the mean is not removed, but the variance is about it", norm.x / root * gamma + beta)
        bessel = np.sqrt(variance * width / max(width - 1, 1) + eps)
        yield Candidate(f"the variance is over n − 1 = {width - 1} (unbiased)", norm.result(bessel))
        yield Candidate(
            "the deviation is over n − 1 (unbiased) and eps outside the root",
            norm.result(np.sqrt(variance * width / max(width - 1, 1)) + eps),
        )
    yield Candidate("it divides by the variance, not its root", norm.result(variance + eps))
    yield Candidate("eps is added outside the root", norm.result(np.sqrt(variance) + eps))
    yield Candidate("eps is the square of what is meant: the root adds eps²", norm.result(np.sqrt(variance + eps**2)))
    yield from _other_axes(norm)
    yield from _fits(norm, evidence)


def _other_axes(norm: _Norm) -> Iterator[Candidate]:
    """The statistics over other axes than the last."""
    last = norm.x.ndim - 1
    for axes in [(axis,) for axis in range(last)] + [(last - 1, last), tuple(range(last + 1))]:
        mean = norm.x.mean(axes, keepdims=True)
        root = np.sqrt(((norm.x - mean) ** 2).mean(axes, keepdims=True) + norm.eps)
        names = ", ".join(map(str, axes))
        yield Candidate(
            f"normalised over axis {names} instead of {last}", (norm.x - mean) / root * norm.gamma + norm.beta
        )


def _fits(norm: _Norm, evidence: Evidence) -> Iterator[Candidate]:
    """Another eps, in or outside the root, and another factor of the variance."""
    actual = evidence.actual.astype(np.float64)
    eps = _eps(norm, actual)
    for value in (rounded(eps, 0.01), eps):
        if value is not None and np.isfinite(value):
            divisor = np.sqrt(np.maximum(norm.variance + value, 0.0))
            yield Candidate(f"eps {value:.4g} instead of {norm.eps:.4g}", norm.result(divisor), 1)
    rows = np.argsort(norm.variance, axis=None)
    outside = float(np.median((_divisors(norm, actual) - np.sqrt(norm.variance)).reshape(-1)[rows[:_FITTED_ROWS]]))
    for value in (rounded(outside, 0.01), outside):
        if value is not None and np.isfinite(value):
            yield Candidate(
                f"eps {value:.4g} is added outside the root", norm.result(np.sqrt(norm.variance) + value), 1
            )
    factor = float(np.median((_divisors(norm, actual) ** 2 - norm.eps) / norm.variance))
    if np.isfinite(factor) and factor > 0:
        text = f"the variance is {show(factor, norm.x.shape)} times as large"
        yield Candidate(text, norm.result(np.sqrt(factor * norm.variance + norm.eps)), 1)
