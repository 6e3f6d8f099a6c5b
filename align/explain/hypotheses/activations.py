"""Activation functions, by themselves or in a module's own code."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy.optimize import brentq
from scipy.special import erf, expit

from align.difference import MASKED
from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import show

Function = Callable[[np.ndarray], np.ndarray]


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


FUNCTIONS: Mapping[str, Function] = {
    "no activation": lambda x: x,
    "GELU (erf)": lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))),
    "GELU (tanh)": _gelu_tanh,
    "quick GELU, x·σ(1.702 x)": lambda x: x * expit(1.702 * x),
    "ReLU": lambda x: np.maximum(x, 0.0),
    "SiLU": lambda x: x * expit(x),
    "tanh": np.tanh,
    "sigmoid": expit,
    "hard sigmoid, x/6 + 1/2": lambda x: np.clip(x / 6 + 0.5, 0.0, 1.0),
    "hard sigmoid, x/5 + 1/2": lambda x: np.clip(x / 5 + 0.5, 0.0, 1.0),
    "hard swish": lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0),
    "hard tanh": lambda x: np.clip(x, -1.0, 1.0),
    "ReLU6": lambda x: np.clip(x, 0.0, 6.0),
    "squared ReLU": lambda x: np.maximum(x, 0.0) ** 2,
    "softplus": _softplus,
    "Mish": lambda x: x * np.tanh(_softplus(x)),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    "SELU": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0.0))),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log sigmoid": lambda x: -_softplus(-x),
    "exp": np.exp,
    "sine": np.sin,
    "absolute value": np.abs,
    "square": np.square,
    "1 + ELU": lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0.0))),
}
_MATCH = 1e-10
_FEW = 512  # elements


def activations(evidence: Evidence) -> Iterator[Candidate]:
    """Another activation of the tensor that the expected value is one of."""
    expected, actual = evidence.expected.astype(np.float64), evidence.actual.astype(np.float64)
    if evidence.expected.dtype.kind != "f" or expected.shape != actual.shape or expected.size < 2:
        return
    if not float(np.abs(expected).max()) < -MASKED:
        return  # a mask, which every activation leaves as it is or sets to zero
    for name, x in evidence.floats.items():
        right = _function(x, expected) if x.shape == expected.shape else None
        if right is None:
            continue
        of = "" if name in evidence.inputs and len(evidence.inputs) == 1 else f" of {evidence.name(name)}"
        for text, function in FUNCTIONS.items():
            if text != right:
                yield Candidate(f"{text} instead of {right}{of}", function(x))
        for text, predicted in _fits(x, actual, FUNCTIONS[right]) if right != "no activation" else ():
            yield Candidate(f"{text} instead of {right}{of}", predicted, 1)


def _function(x: np.ndarray, value: np.ndarray) -> str | None:
    """The function that makes `value` of `x`, tried on some elements before it is tried on all."""
    scale, step = np.abs(value).max(), x.size // _FEW + 1
    pairs = [(x.reshape(-1)[::step], value.reshape(-1)[::step]), (x, value)]
    for name, function in FUNCTIONS.items():
        if all(np.abs(function(given) - wanted).max() <= _MATCH * scale for given, wanted in pairs):
            return name
    return None


def _fits(x: np.ndarray, actual: np.ndarray, right: Function) -> Iterator[tuple[str, np.ndarray]]:
    """Families with one parameter, solved at the element that tells it best."""
    most, least = np.unravel_index(np.argmax(x), x.shape), np.unravel_index(np.argmin(x), x.shape)
    slope = float(actual[least] / x[least])
    yield f"leaky ReLU with slope {show(slope)}", np.where(x > 0, x, slope * x)
    alpha = float(actual[least] / np.expm1(x[least]))
    yield f"ELU with alpha {show(alpha)}", np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))
    middle = np.unravel_index(np.argmin(np.abs(np.abs(x) - 1.0)), x.shape)
    share = float(actual[middle] / x[middle])
    if 0 < share < 1:
        factor = float(np.log(share / (1 - share)) / x[middle])
        yield f"x·σ({show(factor)}·x)", x * expit(factor * x)
    yield f"ReLU cut off at {show(float(actual[most]))}", np.clip(x, 0.0, float(actual[most]))
    scale = _solve(lambda t: float(right(np.asarray(t * x[middle])) - actual[middle]))
    if scale is not None:
        yield f"the activation of {show(scale)} times its input", right(scale * x)


def _solve(function: Callable[[float], float]) -> float | None:
    """The root between 2⁻⁶ and 2⁶ that lies nearest 1, if there is one."""
    grid = [2.0 ** (k / 2) for k in range(-12, 13)]
    values = [function(t) for t in grid]
    roots = [
        float(brentq(function, a, b, xtol=1e-15, rtol=1e-14))
        for a, b, f, g in zip(grid, grid[1:], values, values[1:], strict=False)
        if np.isfinite(f) and np.isfinite(g) and f * g < 0
    ]
    return min(roots, key=lambda t: abs(np.log(t)), default=None)
