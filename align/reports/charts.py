"""Pictures as SVG text: the curves of a training, the histograms of initial weights, a difference beside its limit.

Colours and line styles are the page's: every shape has a class. All texts are escaped; nothing is drawn that is not
finite.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from align.drawn import Curve, Histogram
from align.verdict import Verdict

_MOST = 300  # points of one line
_LARGEST_GAP = 10.0  # where a value should be 0, a relative difference is anything
_WIDTH, _LEFT, _RIGHT = 400.0, 58.0, 10.0


@dataclass(frozen=True)
class _Axis:
    """A linear or logarithmic scale from `low` to `high`, drawn from `bottom` up to `top`."""

    low: float
    high: float
    bottom: float
    top: float
    is_log: bool = False

    def at(self, values: np.ndarray) -> np.ndarray:
        """Where values are drawn; what lies outside is drawn at the end it lies beyond."""
        low, high = self._scale(np.array([self.low, self.high]))
        part = (np.clip(self._scale(values), low, high) - low) / ((high - low) or 1.0)
        return self.bottom + np.clip(part, 0, 1) * (self.top - self.bottom)

    def _scale(self, values: np.ndarray) -> np.ndarray:
        values = np.nan_to_num(values, nan=self.high, posinf=self.high, neginf=self.low)
        return np.log10(np.maximum(values, self.low)) if self.is_log else values

    def ticks(self) -> list[float]:
        """A few round numbers inside."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            apart = max(1, -(-(last - first) // 4))
            return [10.0**n for n in range(first, last + 1, apart)]
        rough = (self.high - self.low) / 3
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough)
        return [step * n for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def thin(curve: Curve) -> np.ndarray:
    """The updates that are drawn: all of them, or of every few the one that is nearest to its limit."""
    updates = len(curve.gap)
    if updates <= _MOST:
        return np.arange(updates)
    ratio = np.nan_to_num(curve.gap / np.where(curve.limit > 0, curve.limit, 1.0), nan=np.inf)
    return np.array([part[int(np.argmax(ratio[part]))] for part in np.array_split(np.arange(updates), _MOST)])


def draw_curve(curve: Curve) -> Markup:
    """Both sides' values, if the curve has any, and below them the gap with what it may be."""
    updates = thin(curve)
    x = _positions(updates, len(curve.gap))
    parts: list[Markup] = []
    top = 12.0
    if curve.expected.size:
        parts += _values(curve, updates, x, top)
        top += 128
    bottom = top + 110
    parts += _gap(curve, updates, x, top, bottom)
    parts.append(_label(_LEFT, bottom + 16, "0", "middle"))
    parts.append(_label(_WIDTH - _RIGHT, bottom + 16, f"update {len(curve.gap) - 1}", "end"))
    parts.append(Markup('<line class="cross" y1="12" y2="{}" hidden/>').format(bottom))
    said = f"{curve.name} in {curve.dtype}: {len(curve.gap)} updates, {_outcome(curve)}"
    return _svg(bottom + 22, said, parts, "chart")


def first_wrong(curve: Curve) -> int | None:
    """The first judged update whose gap exceeds its limit."""
    wrong = np.flatnonzero(~(curve.gap[: curve.judged] <= curve.limit[: curve.judged]))
    return int(wrong[0]) if wrong.size else None


def _outcome(curve: Curve) -> str:
    at = first_wrong(curve)
    return "never beyond its limit" if at is None else f"beyond its limit from update {at} on"


def _positions(updates: np.ndarray, count: int) -> np.ndarray:
    return _LEFT + updates / max(count - 1, 1) * (_WIDTH - _LEFT - _RIGHT)


def _values(curve: Curve, updates: np.ndarray, x: np.ndarray, top: float) -> list[Markup]:
    both = np.concatenate([curve.expected[updates], curve.actual[updates]])
    finite = both[np.isfinite(both)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    margin = 0.05 * (high - low) or abs(high) or 1.0
    axis = _Axis(low - margin, high + margin, top + 100, top)
    lines = [_line(x, axis.at(curve.expected[updates]), "torch"), _line(x, axis.at(curve.actual[updates]), "paddle")]
    return [*_grid(axis, curve.name), *lines]


def _gap(curve: Curve, updates: np.ndarray, x: np.ndarray, top: float, bottom: float) -> list[Markup]:
    gap, limit = curve.gap[updates], curve.limit[updates]
    known = np.concatenate([gap, limit])
    known = known[np.isfinite(known) & (known > 0)]
    low, high = (float(known.min()), float(known.max())) if known.size else (1e-17, 1.0)
    high = min(high, _LARGEST_GAP)
    low = min(max(low, high * 1e-18), high)
    axis = _Axis(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high) + 1e-9), bottom, top, True)
    parts = [_area(x, axis.at(limit), bottom)]
    if curve.judged < len(curve.gap):
        start = float(_positions(np.array([curve.judged]), len(curve.gap))[0])
        parts.append(_rectangle(start, top, _WIDTH - _RIGHT - start, bottom - top, "unjudged"))
    parts += [*_grid(axis, "difference"), _line(x, axis.at(limit), "limit"), _line(x, axis.at(gap), "gap")]
    at = first_wrong(curve)
    if at is not None:
        spot = float(_positions(np.array([at]), len(curve.gap))[0]), float(axis.at(curve.gap[at : at + 1])[0])
        parts.append(Markup('<circle class="wrong" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(*spot))
    return parts


def _grid(axis: _Axis, title: str) -> Iterator[Markup]:
    yield _label(_LEFT, axis.top - 3, title, "start", "title")
    for tick in axis.ticks():
        y = float(axis.at(np.array([tick]))[0])
        yield Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
            _LEFT, _WIDTH - _RIGHT, y, y
        )
        yield _label(_LEFT - 5, y + 4, f"{tick:.0e}" if axis.is_log else f"{tick:.4g}", "end")


def draw_histogram(histogram: Histogram) -> Markup:
    """How both sides' values are spread: torch's as an area, paddle's as an outline, each to its own full height."""
    width, height, low = 200.0, 74.0, 58.0
    paths = []
    for counts, kind in ((histogram.expected, "torch"), (histogram.actual, "paddle")):
        step, tallest = width / len(counts), max(*counts, 1)
        heights = [round(low - 50 * count / tallest, 1) for count in counts]
        path = "".join(f"V{y:g}H{round(step * (n + 1), 1):g}" for n, y in enumerate(heights))
        paths.append(Markup('<path class="{}" d="M0 {}{}V{}"/>').format(kind, f"{low:g}", path, f"{low:g}"))
    ends = [
        _label(0, height - 2, f"{histogram.low:.3g}", "start"),
        _label(width, height - 2, f"{histogram.high:.3g}", "end"),
    ]
    said = f"{histogram.name}: standard deviation {histogram.deviations[0]:.4g} in torch, "
    said += f"{histogram.deviations[1]:.4g} in paddle"
    return _svg(height, said, [*paths, *ends], "histogram", width)


def draw_gauge(verdict: Verdict) -> Markup | None:
    """A difference on a logarithmic scale with its noise floor and its limit; None where one of them is no number."""
    error, limit, noise = verdict.difference.max_abs, verdict.limit, verdict.noise
    if not (math.isfinite(error) and math.isfinite(limit) and math.isfinite(noise) and error > 0 and limit > 0):
        return None
    known = [value for value in (error, limit, noise) if value > 0]
    axis = _Axis(min(known) / 10, max(known) * 10, 16.0, _WIDTH - 16, True)
    e, most, least = (float(place) for place in axis.at(np.array([error, limit, noise])))
    parts = [_rectangle(16, 36, _WIDTH - 32, 8, "over"), _rectangle(16, 36, most - 16, 8, "within")]
    parts += _mark(most, "limit", limit, 12)
    if noise > 0 and abs(e - least) > 150:
        parts += _mark(least, "noise floor", noise, 68)
    parts += _mark(e, "difference", error, 68)
    parts.append(Markup('<circle class="difference" cx="{:.1f}" cy="40" r="6"/>').format(e))
    said = f"difference {error:.2e}, limit {limit:.2e}, noise floor {noise:.1e}, on a logarithmic scale"
    return _svg(88, said, parts, "gauge")


def _mark(x: float, name: str, value: float, y: float) -> Iterator[Markup]:
    """A tick on the gauge with its name and number above or below, from `y` down."""
    anchor = "start" if x < 60 else "end" if x > _WIDTH - 60 else "middle"
    yield Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="30" y2="50"/>').format(name.split()[0], x, x)
    yield _label(x, y, f"{name} {value:.1e}", anchor)


def _svg(height: float, said: str, parts: Sequence[Markup], kind: str, width: float = _WIDTH) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>').format(
        kind, width, height, said, Markup("").join(parts)
    )


def _line(x: np.ndarray, y: np.ndarray, kind: str) -> Markup:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return Markup('<polyline class="{}" points="{}"/>').format(kind, points)


def _area(x: np.ndarray, y: np.ndarray, bottom: float) -> Markup:
    points = [*zip(x, y, strict=True), (x[-1], bottom), (x[0], bottom)]
    return Markup('<polygon class="allowed" points="{}"/>').format(" ".join(f"{a:.1f},{b:.1f}" for a, b in points))


def _rectangle(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    shape = '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
    return Markup(shape).format(kind, x, y, max(width, 0.0), height)


def _label(x: float, y: float, text: str, anchor: str, kind: str = "") -> Markup:
    shape = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return shape.format(kind, x, y, anchor, escape(text))
