"""Which initialiser a sample looks like: a family that fits it, and the rule its scale follows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

# Kolmogorov's statistic D·√n stays below this in 99.9 % of all samples of the fitted distribution.
_FITS = 1.95
_UNLIKELY = 1e-3
_FEWEST = 2000  # values; to fewer, more than one family fits


@dataclass(frozen=True)
class Initialiser:
    """A named distribution: `family` without its numbers, `text` with them."""

    family: str
    text: str


def recognise(values: np.ndarray, shape: Sequence[int]) -> Initialiser | None:
    """The initialiser that drew `values` (any shape) of a parameter of `shape` (torch layout), if one fits."""
    x = np.sort(values.ravel().astype(np.float64))
    if len(x) < _FEWEST or x[0] == x[-1]:
        return None
    return _uniform(x, shape) or _cut_normal(x, shape) or _normal(x, shape)


def _uniform(x: np.ndarray, shape: Sequence[int]) -> Initialiser | None:
    low, high = x[0], x[-1]
    if not _fits(x, lambda v: (v - low) / (high - low)):
        return None
    slack = 20 * (high - low) / len(x)  # how far the outermost values may stay inside the bounds
    if abs(low + high) <= 2 * slack:
        bound = (high - low) / 2
        return Initialiser("uniform", f"uniform ±{bound:.3g}{_rule(bound, _BOUNDS, shape, slack / bound)}")
    return Initialiser("uniform", f"uniform from {0 if abs(low) <= slack else low:.3g} to {high:.3g}")


def _normal(x: np.ndarray, shape: Sequence[int]) -> Initialiser | None:
    mean, std = float(x.mean()), float(x.std())
    if not _fits(x, lambda v: ndtr((v - mean) / std)):
        return None
    centre = "" if abs(mean) <= 4 * std / math.sqrt(len(x)) else f"mean {mean:.3g}, "
    rule = _rule(std, _DEVIATIONS, shape, 4 / math.sqrt(2 * len(x)))
    return Initialiser("normal", f"normal, {centre}σ {std:.3g}{rule}")


def _cut_normal(x: np.ndarray, shape: Sequence[int]) -> Initialiser | None:
    """A normal cut at kσ on both sides: k follows from how far the ends lie out in standard deviations.

    Not where a whole normal would as likely end there.
    """
    centre, reach = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    ends = reach / float(x.std())
    if len(x) * 2 * norm.sf(ends) < -math.log(_UNLIKELY) or not _ends_of_cut(0.1) < ends < _ends_of_cut(5.0):
        return None
    k = brentq(lambda cut: _ends_of_cut(cut) - ends, 0.1, 5.0)
    sigma = reach / k
    kept = 2 * ndtr(k) - 1
    if not _fits(x, lambda v: (ndtr((v - centre) / sigma) - ndtr(-k)) / kept):
        return None
    rule = _rule(sigma, _DEVIATIONS, shape, 0.02)
    return Initialiser(f"normal cut at {k:.1f}σ", f"normal, σ {sigma:.2g}{rule}, cut at ±{k:.2g}σ")


def _ends_of_cut(k: float) -> float:
    """Where a normal cut at ±kσ ends, in its own standard deviations."""
    return k / math.sqrt(1 - 2 * k * norm.pdf(k) / (2 * ndtr(k) - 1))


def _fits(x: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether sorted values are within Kolmogorov's distance of a distribution."""
    n = len(x)
    distance = np.abs(cdf(x) - (np.arange(n) + 0.5) / n).max() + 0.5 / n
    return bool(distance * math.sqrt(n) <= _FITS)


_Rules = dict[str, Callable[[int, int], float]]
_DEVIATIONS: _Rules = {
    "Xavier": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "Kaiming by fan_in": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "Kaiming by fan_out": lambda fan_in, fan_out: math.sqrt(2 / fan_out),
    "1/√fan_in": lambda fan_in, fan_out: 1 / math.sqrt(fan_in),
    "1/√fan_out": lambda fan_in, fan_out: 1 / math.sqrt(fan_out),
    "1/√(fan_in + fan_out)": lambda fan_in, fan_out: 1 / math.sqrt(fan_in + fan_out),
}
_BOUNDS: _Rules = {
    "Xavier": lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out)),
    "Kaiming by fan_in": lambda fan_in, fan_out: math.sqrt(6 / fan_in),
    "Kaiming by fan_out": lambda fan_in, fan_out: math.sqrt(6 / fan_out),
    "1/√fan_in": lambda fan_in, fan_out: 1 / math.sqrt(fan_in),
    "1/√fan_out": lambda fan_in, fan_out: 1 / math.sqrt(fan_out),
}


def _rule(scale: float, rules: _Rules, shape: Sequence[int], error: float) -> str:
    """The rules by fan that give this scale to within a relative `error`, for a matrix."""
    if len(shape) != 2:
        return ""
    fitting = [name for name, rule in rules.items() if abs(scale / rule(shape[1], shape[0]) - 1) <= error]
    return f" ({' or '.join(fitting)})" if fitting else ""
