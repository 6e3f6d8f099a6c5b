"""Sinusoids and rotations: tables of sin(p·f) and cos(p·f), and pairs of features turned by such angles."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import show

_BASE = 10000.0
_UNSIGNED = ("cosines", "cosines twice")
_MATCH = 1e-9
_FURTHEST = 1 << 14

Layout = Callable[[np.ndarray], np.ndarray]  # angles (R, F) → table (R, D)
_LAYOUTS: Mapping[str, Layout] = {
    "sines, then cosines": lambda a: np.concatenate([np.sin(a), np.cos(a)], -1),
    "cosines, then sines": lambda a: np.concatenate([np.cos(a), np.sin(a)], -1),
    "sines and cosines interleaved": lambda a: np.stack([np.sin(a), np.cos(a)], -1).reshape(len(a), -1),
    "sines": np.sin,
    "cosines": np.cos,
    "cosines twice": lambda a: np.concatenate([np.cos(a), np.cos(a)], -1),
    "sines twice": lambda a: np.concatenate([np.sin(a), np.sin(a)], -1),
}


@dataclass(frozen=True)
class _Table:
    """layout(positions × frequencies)."""

    layout: str
    positions: np.ndarray
    frequencies: np.ndarray

    def value(self) -> np.ndarray:
        return _LAYOUTS[self.layout](self.positions[:, None] * self.frequencies)


def sinusoids(evidence: Evidence) -> Iterator[Candidate]:
    """Another layout, other positions or other frequencies of a table of sines and cosines."""
    expected, actual = evidence.expected, evidence.actual
    if expected.dtype.kind != "f" or expected.ndim < 2 or expected.shape[-1:] != actual.shape[-1:]:
        return
    if not max(float(np.abs(expected).max()), float(np.abs(actual).max())) <= 1.0 + _MATCH:
        return
    rows, own = (x.astype(np.float64).reshape(-1, x.shape[-1]) for x in (expected, actual))
    right = _read(rows)
    if right is None:
        return
    for text, table in _variants(right, own):
        if table.size == actual.size:
            yield Candidate(text, table.reshape(actual.shape))


def _read(table: np.ndarray) -> _Table | None:
    """The table's layout and positions, if its frequencies are 10000^(−2i/D)."""
    width = table.shape[1]
    for layout in _LAYOUTS if width > 1 else ():
        count = width if layout in ("sines", "cosines") else width // 2
        frequencies = _BASE ** (-np.arange(count) / max(count, 1))
        positions = _positions(table, layout, frequencies)
        found = _Table(layout, positions, frequencies)
        if found.value().shape == table.shape and np.abs(found.value() - table).max() <= _MATCH:
            return found
    return None


def _positions(table: np.ndarray, layout: str, frequencies: np.ndarray) -> np.ndarray:
    """Whole positions from the slowest wave. Cosines alone do not tell their sign: they fall where they pass zero."""
    last = table.shape[1] // 2 - 1 if "then" in layout or "twice" in layout else table.shape[1] - 1
    slow = {
        "sines, then cosines": np.arctan2(table[:, last], table[:, -1]),
        "cosines, then sines": np.arctan2(table[:, -1], table[:, last]),
        "sines and cosines interleaved": np.arctan2(table[:, last - 1], table[:, last]),
    }.get(layout)
    if slow is None:
        wave = table[:, last].clip(-1.0, 1.0)
        slow = np.arccos(wave) if layout in _UNSIGNED else np.arcsin(wave)
        if layout in _UNSIGNED and 0 < (turn := int(np.argmin(slow))) < len(slow) - 1:
            slow = np.where(np.arange(len(slow)) > turn, -slow, slow)
    return np.round(slow / frequencies[-1])


def _variants(right: _Table, own: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    positions, frequencies = right.positions, right.frequencies
    for layout in _LAYOUTS:
        if layout != right.layout:
            yield f"the table has {layout} instead of {right.layout}", _Table(layout, positions, frequencies).value()
    moved = _positions(own, right.layout, frequencies)
    if len(moved) != len(positions) or not np.array_equal(moved, positions):
        signed = right.layout not in _UNSIGNED
        yield _moved(positions, moved, signed), _Table(right.layout, moved, frequencies).value()
    count = len(frequencies)
    if count > 1:
        last = _BASE ** (-np.arange(count) / (count - 1))
        text = f"the frequencies are 10000^(−i/{count - 1}) instead of 10000^(−i/{count})"
        yield text, _Table(right.layout, positions, last).value()
    for base in (100.0, 1000.0, 100000.0, 500000.0, 1e6):
        other = base ** (-np.arange(count) / count)
        yield (
            f"the base of the frequencies is {base:g} instead of 10000",
            _Table(right.layout, positions, other).value(),
        )


def _moved(due: np.ndarray, own: np.ndarray, signed: bool) -> str:
    """How one sequence of positions differs from another; without `signed` either may as well run backwards."""
    if len(due) == len(own):
        offset = own - due
        if np.ptp(offset) == 0:
            return f"every position is {f'{offset[0]:+g}' if signed else f'{abs(offset[0]):g}'} off"
        if due.any() and np.array_equal(own * due[due != 0][0], due * own[due != 0][0]):
            return f"every position is {show(float(own[due != 0][0] / due[due != 0][0]))} times as large"
    if not signed:
        return f"the positions, without their signs, are {_some(np.abs(own))} instead of {_some(np.abs(due))}"
    return f"the positions are {_some(own)} instead of {_some(due)}"


def _some(values: np.ndarray) -> str:
    shown = [f"{value:g}" for value in values]
    return " ".join(shown) if len(shown) <= 6 else " ".join([*shown[:4], "…", shown[-1]])


def rotations(evidence: Evidence) -> Iterator[Candidate]:
    """Rotary positions: features paired otherwise, turned the other way, or the angles of other positions."""
    expected, actual = evidence.expected, evidence.actual
    if expected.dtype.kind != "f" or expected.shape != actual.shape or expected.ndim < 3 or expected.shape[-1] % 2:
        return
    for name, x in evidence.floats.items():
        if x.shape != expected.shape or np.array_equal(x, expected):
            continue
        for pairing, other in (("half-split", "interleaved"), ("interleaved", "half-split")):
            angles = _angles(x, expected, pairing)
            if angles is None:
                continue
            of = evidence.name(name)
            yield Candidate(f"{of} is turned in {other} pairs instead of {pairing} ones", _turn(x, angles, other))
            yield Candidate(f"{of} is turned the other way", _turn(x, -angles, pairing))
            for axis in range(x.ndim - 1):
                rolled = np.roll(angles, 1, axis)
                step = angles - rolled
                index = [slice(None)] * angles.ndim
                index[axis] = slice(1, 2)
                for shift in (-2, -1, 1, 2):
                    moved = angles + shift * step[tuple(index)]
                    yield Candidate(f"{of} is turned by positions that are {shift:+d} off", _turn(x, moved, pairing))


def _pairs(x: np.ndarray, pairing: str) -> tuple[np.ndarray, np.ndarray]:
    half = x.shape[-1] // 2
    return (x[..., :half], x[..., half:]) if pairing == "half-split" else (x[..., ::2], x[..., 1::2])


def _angles(x: np.ndarray, turned: np.ndarray, pairing: str) -> np.ndarray | None:
    """The angle by which each pair is turned, if every pair keeps its length."""
    (a, b), (c, d) = _pairs(x, pairing), _pairs(turned.astype(np.float64), pairing)
    lengths = a**2 + b**2, c**2 + d**2
    if np.abs(lengths[0] - lengths[1]).max() > _MATCH * lengths[0].max():
        return None
    angles = np.arctan2(d * a - c * b, c * a + d * b)
    return angles if np.abs(_turn(x, angles, pairing) - turned).max() <= _MATCH * np.abs(turned).max() else None


def _turn(x: np.ndarray, angles: np.ndarray, pairing: str) -> np.ndarray:
    a, b = _pairs(x, pairing)
    parts = a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)
    joined = np.concatenate(parts, -1) if pairing == "half-split" else np.stack(parts, -1).reshape(x.shape)
    return joined
