"""What reports draw beside the verdicts: curves over the updates of a training, histograms of initial values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

_BINS = 30


@dataclass(frozen=True, eq=False)
class Curve:
    """One quantity over the updates of a training: the gap between the sides and what it may be, both relative.

    `expected` and `actual` are the values of both sides, empty where the quantity is no single number, as the gradient
    of a parameter. Only the first `judged` updates are judged.
    """

    name: str
    kind: str
    dtype: str
    expected: np.ndarray
    actual: np.ndarray
    gap: np.ndarray
    limit: np.ndarray
    judged: int

    def as_json(self) -> dict[str, Any]:
        arrays = {key: getattr(self, key).tolist() for key in ("expected", "actual", "gap", "limit")}
        return {"name": self.name, "kind": self.kind, "dtype": self.dtype, **arrays, "judged": self.judged}


@dataclass(frozen=True)
class Histogram:
    """How the initial values of one parameter are spread from `low` to `high` on either side, in bins of equal width.

    `expected` and `actual` count the values of each bin; the means and standard deviations are those of all of them.
    """

    name: str
    low: float
    high: float
    expected: Sequence[int]
    actual: Sequence[int]
    means: tuple[float, float]
    deviations: tuple[float, float]

    @classmethod
    def of(cls, name: str, expected: np.ndarray, actual: np.ndarray) -> Self:
        """The histogram of finite values (any shape)."""
        sides = [values.ravel().astype(np.float64, copy=False) for values in (expected, actual)]
        low, high = (float(pick([pick(side) for side in sides])) for pick in (np.min, np.max))
        size = max(abs(low), abs(high))
        if high - low < 2 * _BINS * np.spacing(size):  # too near to each other to lie in different bins
            margin = size / 2 if size > np.finfo(np.float64).tiny else 0.5
            low, high = low - margin, high + margin
        one, other = (np.histogram(side, _BINS, (low, high))[0].tolist() for side in sides)
        means, deviations = ([float(f(side)) for side in sides] for f in (np.mean, np.std))
        return cls(name, low, high, one, other, (means[0], means[1]), (deviations[0], deviations[1]))

    def as_json(self) -> dict[str, Any]:
        sides = {
            side: {"counts": list(counts), "mean": mean, "std": std}
            for side, counts, mean, std in zip(
                ("torch", "paddle"), (self.expected, self.actual), self.means, self.deviations, strict=True
            )
        }
        return {"name": self.name, "low": self.low, "high": self.high, **sides}
