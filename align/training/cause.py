"""Why two trainings part: a few laws that hold at the first update that is wrong, if one of them is broken."""

from collections.abc import Callable, Mapping

import numpy as np

_EXACT = 1e-9  # what is left of the difference once the cause is taken away

Values = Mapping[str, np.ndarray]


def cause_of(expected: Values, actual: Values, update: int) -> str | None:
    """The cause of a difference that begins at `update`, if a simple one accounts for it.

    The arguments are what `operations.training.run` records of the two sides.
    """
    return next((text for law in _LAWS if (text := law(expected, actual, update))), None)


def _gradients_scaled(expected: Values, actual: Values, update: int) -> str | None:
    e, a = expected["gradients"][update], actual["gradients"][update]
    factor = _factor(e, a)
    return None if factor is None else f"all of paddle's gradients are {factor:.6g} times torch's: the loss is scaled"


def _gradients_kept(expected: Values, actual: Values, update: int) -> str | None:
    if update == 0 or expected["gradients"].shape != actual["gradients"].shape:
        return None
    torch, paddle = expected["gradients"], actual["gradients"]
    for side, one, other in (("paddle", paddle, torch), ("torch", torch, paddle)):
        factor = _factor(one[update - 1], one[update] - other[update], same=True)
        if factor is not None and factor > 0:
            clipped = "" if abs(factor - 1) < _EXACT else f" (times {factor:.6g}, as clipping left them)"
            return f"{side} did not clear the gradients of update {update - 1}{clipped}"
    return None


def _rate_shifted(expected: Values, actual: Values, update: int) -> str | None:
    e, a = expected["learning rate"], actual["learning rate"]
    if np.array_equal(e, a):
        return None
    for shift in (-2, -1, 1, 2):
        ours = np.arange(max(0, -shift), min(len(e), len(e) - shift))
        if len(ours) > 2 and np.allclose(a[ours], e[ours + shift], rtol=1e-6, atol=0) and np.ptp(e) > 0:
            place = "ahead of" if shift > 0 else "behind"
            return f"paddle's schedule is {abs(shift)} update{'s' * (abs(shift) > 1)} {place} torch's"
    if np.ptp(a) == 0 and np.ptp(e) > 0:
        return f"paddle's learning rate stays at {a[0]:.6g}: the schedule is not stepped"
    factor = _factor(e, a)
    return None if factor is None else f"paddle's learning rate is {factor:.6g} times torch's"


def _not_trained(expected: Values, actual: Values, update: int) -> str | None:
    if update == 0 or expected["weights"].shape != actual["weights"].shape:
        return None
    moved = np.abs(np.diff(actual["weights"][: update + 1], axis=0)).max()
    should = np.abs(np.diff(expected["weights"][: update + 1], axis=0)).max()
    return "paddle's parameters do not move at all: no update reaches them" if moved == 0 < should else None


_LAWS: tuple[Callable[[Values, Values, int], str | None], ...] = (
    _rate_shifted,
    _gradients_scaled,
    _gradients_kept,
    _not_trained,
)


def _factor(expected: np.ndarray, actual: np.ndarray, same: bool = False) -> float | None:
    """The number that turns `expected` into `actual`, if there is one; 1 only counts with `same`."""
    if expected.shape != actual.shape or not np.isfinite(actual).all() or not expected.any():
        return None
    factor = float((expected * actual).sum() / (expected * expected).sum())
    left = np.abs(actual - factor * expected).max()
    if factor == 0 or left > _EXACT * np.abs(actual).max() or (abs(factor - 1) < _EXACT and not same):
        return None
    return factor
