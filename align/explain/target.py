"""How near a predicted array comes to what the port computed, and when that is near enough to be believed."""

import numpy as np

from align.difference import MASKED
from align.verdict import TAU

ACCEPTED = 1e-9  # of the difference
# A difference near rounding: the residual must pass at the edge, and stand this far below the difference.
BELOW = 1e-3
_GLANCE = 1 << 14  # elements that are compared before all are
_PER_FIT = 4  # differing elements for each fitted number
_BIG = -MASKED / 8  # masks stand beyond, scores never do


class Target:
    """The port's `actual` array where `expected` was due.

    Numbers beyond ±1125 (masks) are compared relative to themselves, or with `masked` by their sign alone; all others
    relative to the largest difference between actual and expected. Integers and bools must be equal.
    """

    def __init__(self, expected: np.ndarray, actual: np.ndarray, limit: float = 0.0, masked: bool = False) -> None:
        self.actual, self.limit, self.masked = actual, limit, masked
        self.exact = actual.dtype.kind != "f"
        self.difference = self._scale(expected)
        self.differing = actual.size if expected.shape != actual.shape else int((expected != actual).sum())

    def _scale(self, expected: np.ndarray) -> float:
        """The largest ordinary difference; where there is none (shapes, masks), the largest ordinary value.

        Beside masks that differ, an ordinary difference within the limit (or, where no limit is known, within 10⁻¹² of
        the largest value) is rounding, and no measure of what the masks do.
        """
        actual = self.actual.astype(np.float64)
        ordinary = _ordinary(actual)
        largest = float(np.abs(actual[ordinary]).max(initial=0.0)) or 1.0
        if expected.shape == actual.shape:
            both = ordinary & _ordinary(expected)
            error = float(np.abs(np.where(both, actual, 0.0) - np.where(both, expected, 0.0)).max(initial=0.0))
            masks_differ = not np.array_equal(actual[~both], expected[~both], equal_nan=True)
            if error > (max(self.limit, TAU * largest) if masks_differ else 0.0):
                return error
        return largest

    def residual(self, predicted: np.ndarray) -> float:
        """What is left of the difference once `predicted` stands for the expected value; infinite if not comparable."""
        if predicted.shape != self.actual.shape:
            return float("inf")
        if self.exact:
            return 0.0 if np.array_equal(predicted, self.actual) else float("inf")
        step = predicted.size // _GLANCE + 1
        glance = self._left(self.actual.reshape(-1)[::step], predicted.reshape(-1)[::step])
        return glance if step == 1 or not self.accepts(glance) else self._left(self.actual, predicted)

    def _left(self, actual: np.ndarray, predicted: np.ndarray) -> float:
        actual, predicted = actual.astype(np.float64), predicted.astype(np.float64)
        ordinary = _ordinary(actual) & _ordinary(predicted)
        error = np.where(ordinary, actual, 0.0) - np.where(ordinary, predicted, 0.0)
        left = float(np.abs(error).max(initial=0.0)) / self.difference
        return max(left, self._beyond(actual[~ordinary], predicted[~ordinary]))

    def _beyond(self, actual: np.ndarray, predicted: np.ndarray) -> float:
        if not actual.size:
            return 0.0
        same = (actual == predicted) | (np.isnan(actual) & np.isnan(predicted))
        if self.masked:
            same |= (np.sign(actual) == np.sign(predicted)) & (np.minimum(np.abs(actual), np.abs(predicted)) >= _BIG)
        relative = np.where(same, 0.0, np.abs(actual / predicted - 1.0))
        return float(np.where(np.isnan(relative), np.inf, relative).max())

    def can_fit(self, parameters: int) -> bool:
        """Whether enough elements differ to believe in that many fitted numbers."""
        return self.differing >= _PER_FIT * parameters

    def accepts(self, residual: float) -> bool:
        small = residual <= BELOW and residual * self.difference <= self.limit
        return residual <= ACCEPTED or small


def _ordinary(values: np.ndarray) -> np.ndarray:
    """Where neither a mask nor an undefined number stands."""
    return np.abs(values) < _BIG
