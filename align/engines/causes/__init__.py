"""Why one side's optimizer deviates: hypotheses, each computed in NumPy and held against what the side did.

A hypothesis is accepted only if it leaves at most 1e-9 of the difference, or what rounding leaves, and never more than
a thousandth. Those without a free number come first; a number that is fitted comes from one element of one tensor, and
has to account for all others.
"""

import numpy as np

_LEFT, _LEFT_BY_ROUNDING = 1e-9, 1e-3
ROUNDING = 64 * 2.0**-53


def allowed(whole: float) -> float:
    """What a hypothesis may leave of a relative difference."""
    if not np.isfinite(whole):  # something is there on one side only
        return ROUNDING
    return min(_LEFT_BY_ROUNDING * whole, max(_LEFT * whole, ROUNDING))


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, in units of the largest expected value; infinity where one is not finite."""
    if actual.shape != np.shape(expected):
        return float("inf")
    worst = float(np.abs(actual - expected).max(initial=0.0))
    if not np.isfinite(worst):
        return float("inf")
    return worst / float(np.abs(expected).max()) if worst and np.any(expected) else float("inf") if worst else 0.0


def listed(names: list[str]) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more
