"""Numbers that a person recognises: 0.1 = 1/10, 6.3245… = √40, 1.111… = 1/(1 − 0.1)."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

_PRECISION = 1e-8  # relative
_PROBABILITIES = (0.1, 0.05, 0.15, 0.2, 0.25, 0.3)
_LARGEST_INTEGER = 200
_MANTISSAS = (1.0, 2.0, 5.0)


def recognise(value: float, sizes: Iterable[int] = ()) -> str | None:
    """A name for `value`, or None if it is a number like any other. `sizes` are the lengths of the axes in sight.

    1 is only itself: a factor of 1.000000001 is not one that nothing is multiplied by.
    """
    if 1e-12 < abs(value - 1) < 1e-6:
        return None
    if abs(value) <= _LARGEST_INTEGER and abs(value - round(value)) <= _PRECISION * abs(value):
        return str(round(value))
    known = _known(sorted({n for n in sizes if n > 1}))
    return next((name for name, number in known if math.isclose(value, number, rel_tol=_PRECISION)), None)


def _known(sizes: Iterable[int]) -> Iterator[tuple[str, float]]:
    for exponent in range(-13, 4):
        for mantissa in _MANTISSAS:
            yield f"{mantissa * 10.0**exponent:g}", mantissa * 10.0**exponent
    for size in sizes:
        yield f"√{size}", math.sqrt(size)
        yield f"1/√{size}", 1 / math.sqrt(size)
        yield f"1/{size}", 1 / size
        yield f"{size}", float(size)
    for p in _PROBABILITIES:
        yield f"1 − {p:g}", 1 - p
        yield f"1/(1 − {p:g})", 1 / (1 - p)
    for denominator in range(2, 13):
        for numerator in range(1, 2 * denominator):
            if math.gcd(numerator, denominator) == 1:
                yield f"{numerator}/{denominator}", numerator / denominator


def show(value: float, sizes: Iterable[int] = ()) -> str:
    """The value in few digits, with the name it has, if any: "6.325 = √40"."""
    name, digits = recognise(value, sizes), brief(value)
    plain = name is None or math.isclose(float(digits), value, rel_tol=1e-12)
    return digits if plain else f"{digits} = {name}"


def brief(value: float) -> str:
    """As many digits as tell the value from 1 and from its neighbours, without the tail that float32 adds."""
    short = f"{value:.4g}"
    if np.float32(short) == np.float32(value) or not 1e-12 < abs(value - 1) < 1e-3:
        return short
    return f"{value:.10g}"


def rounded(value: float, precision: float) -> float | None:
    """The nearest 1, 2 or 5 times a power of ten, if it lies within `precision` (relative) of a positive value."""
    if not (value > 0 and math.isfinite(value)):
        return None
    exponent = math.floor(math.log10(value))
    choices = [mantissa * 10.0**e for e in (exponent, exponent + 1) for mantissa in _MANTISSAS]
    nearest = float(f"{min(choices, key=lambda choice: abs(choice - value)):g}")
    return nearest if abs(nearest - value) <= precision * nearest else None
