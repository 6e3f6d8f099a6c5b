"""The numbers that compare one actual array with one expected array. Nothing is repaired before it is judged."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True, slots=True)
class Difference:
    """How `actual` differs from `expected`.

    `status` is "ok" when the numbers can be judged, else what forbids it: "shape", "dtype" or "nonfinite".
    `mean_abs`, `max_abs` and `rms` describe |actual − expected| (units of the array); `scale` is max |expected|;
    `worst_at` the index of the largest difference. `narrow` says that the actual values are all exact float32 numbers
    though the expected are not.
    """

    status: str
    shape: tuple[int, ...]
    dtype: str
    mean_abs: float = float("inf")
    max_abs: float = float("inf")
    rms: float = float("inf")
    scale: float = 0.0
    worst_at: tuple[int, ...] | None = None
    narrow: bool = False
    detail: str = ""

    @property
    def max_ulp(self) -> float:
        """`max_abs` in float64 or float32 units in the last place of the largest expected value."""
        if self.status != "ok" or not np.isfinite(self.max_abs):
            return float("inf")
        if not self.scale:
            return float(self.max_abs > 0)
        bits = 23 if self.dtype == "float32" else 52
        return self.max_abs / math.ldexp(1.0, math.frexp(self.scale)[1] - 1 - bits)

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        tuples = {"shape": tuple(raw["shape"]), "worst_at": None if raw["worst_at"] is None else tuple(raw["worst_at"])}
        return cls(**{**raw, **tuples})


# Masked scores stand at −1e4 or below in every convention, and eight times as far out as any other score. Beside scores
# that themselves go beyond −9e3 / 8 only what is out of all proportion is a mask: −1e9, the least finite number, −∞.
# Where all scores are as far out, large states made them, unless no product of states comes so far.
MASKED = -9e3
_NO_PRODUCT = -1e30
_GAP = 8.0
_WIDE_GAP = 1e3


def holds_masked_scores(array: np.ndarray) -> bool:
    """Whether a float array mixes ordinary values with scores that an additive mask has put out of reach."""
    return masked_below(array) is not None


def masked_below(array: np.ndarray) -> float | None:
    """The number at and below which the scores of a float array are masked ones; None where it holds none."""
    if array.dtype.kind != "f" or not array.size:
        return None
    lowest, limit, gap = float(array.min()), MASKED, _GAP
    while -math.inf < limit and lowest <= limit:
        ordinary = array[array > limit]
        if not ordinary.size and float(array.max()) > _NO_PRODUCT:
            return None
        largest = float(np.abs(ordinary).max(initial=0.0))
        if largest * gap <= -limit:
            return limit
        gap = _WIDE_GAP
        limit = -largest * gap
    return None


def difference(expected: np.ndarray, actual: np.ndarray, masked: bool = False) -> Difference:
    """Compare two arrays of any float, integer or bool dtype.

    With `masked`, scores that the expected side has put out of reach need only be out of reach on the actual side too:
    whether by −1e4 or by the least finite number is a convention. All other values are compared as ever.

    Equal infinities differ by 0 and so do NaNs in the same place (both sides then agree that the value is undefined);
    a value that is finite on one side only differs by infinity.
    """
    shape, dtype = actual.shape, actual.dtype.name
    if expected.shape != actual.shape:
        return Difference("shape", shape, dtype, detail=f"expected shape {expected.shape}, actual {actual.shape}")
    if _kind(expected) != _kind(actual):
        return Difference("dtype", shape, dtype, detail=f"expected {expected.dtype}, actual {actual.dtype}")
    if expected.size == 0:
        return Difference("ok", shape, dtype, 0.0, 0.0, 0.0)
    error, scale = absolute_error(expected, actual)
    limit = masked_below(expected) if masked else None
    if limit is not None:
        out = expected.reshape(-1) <= limit
        scale = float(np.abs(expected.reshape(-1)[~out]).max(initial=0.0))
        error = np.where(out & (actual.reshape(-1) <= min(MASKED / _GAP, -scale)), 0.0, error)
    worst = int(np.argmax(error))
    index = tuple(int(i) for i in np.unravel_index(worst, shape))
    if not np.isfinite(error[worst]):
        count = int((~np.isfinite(error)).sum())
        text = f"{count} of {error.size} values are finite on one side only, first at {index}"
        return Difference("nonfinite", shape, dtype, scale=scale, worst_at=index, detail=text)
    with np.errstate(over="ignore"):  # masks hold the least finite number
        mean_abs, rms = float(error.mean()), float(np.sqrt(np.mean(error * error)))
    return Difference(
        status="ok",
        shape=shape,
        dtype=dtype,
        mean_abs=mean_abs,
        max_abs=float(error[worst]),
        rms=rms,
        scale=scale,
        worst_at=index,
        narrow=_is_float32(actual) and not _is_float32(expected),
    )


def _kind(array: np.ndarray) -> str:
    return {"i": "integer", "u": "integer", "b": "bool"}.get(array.dtype.kind, "float")


def absolute_error(expected: np.ndarray, actual: np.ndarray) -> tuple[np.ndarray, float]:
    """|actual − expected| flattened, and max |expected| over its finite values; unequal integers differ by 1 at least,
    however large they are.
    """
    e, a = (array.reshape(-1).astype(np.float64, copy=False) for array in (expected, actual))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(a - e)
    size = np.abs(e)
    if _kind(expected) == "integer":
        error = np.where(expected.reshape(-1) == actual.reshape(-1), 0.0, np.maximum(error, 1.0))
    if not np.isfinite(error).all():
        same = (a == e) | (np.isnan(a) & np.isnan(e))
        error = np.where(same, 0.0, np.where(np.isfinite(error), error, np.inf))
        size = size[np.isfinite(size)]
    return error, float(size.max()) if size.size else 0.0


def _is_float32(array: np.ndarray) -> bool:
    if array.dtype != np.float64:
        return array.dtype.kind == "f"
    with np.errstate(over="ignore"):
        return bool((array.astype(np.float32) == array).all())
