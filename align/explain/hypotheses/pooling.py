"""Pooling over windows of a sequence."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence

_MODES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "the mean": lambda windows: windows.mean(2),
    "the largest": lambda windows: windows.max(2),
    "the smallest": lambda windows: windows.min(2),
    "the first": lambda windows: windows[:, :, 0],
    "the last": lambda windows: windows[:, :, -1],
    "the sum": lambda windows: windows.sum(2),
}
# What is pooled, of a sequence x (B, L, …): as it is, or with the first token in a window of its own.
_SEQUENCES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "the sequence as it is": lambda x: x,
    "the first token apart and the last dropped": lambda x: np.concatenate([x[:, :1], x[:, :-1]], 1),
    "the first token apart": lambda x: np.concatenate([x[:, :1], x], 1),
    "the last token apart and put first": lambda x: np.concatenate([x[:, -1:], x[:, :-1]], 1),
    "the first token apart, at the end, and the last dropped": lambda x: np.concatenate([x[:, :-1], x[:, :1]], 1),
}
_WIDTHS = (2, 3, 4)
_MATCH = 1e-10


Way = tuple[str, str, str]  # what is taken of each window, of which sequence, and what becomes of its end


def pooling(evidence: Evidence) -> Iterator[Candidate]:
    """Another pooling of the tensor that the expected value is pooled from."""
    expected, actual = evidence.expected, evidence.actual
    if expected.ndim < 2 or expected.shape[1] < 2:
        return
    for name, x in evidence.at_hand.items():
        if x.ndim != expected.ndim or x.shape[2:] != expected.shape[2:] or x.shape[1] <= expected.shape[1]:
            continue
        ways = list(_ways(x))
        right = next((way for way, made in ways if _near(made, expected)), None)
        for way, made in ways:
            if right and made.shape == actual.shape and way != right:
                predicted = made.astype(actual.dtype) if actual.dtype.kind != "f" else made
                yield Candidate(f"{evidence.name(name)} is pooled otherwise: {_change(way, right)}", predicted)


def _near(made: np.ndarray, expected: np.ndarray) -> bool:
    return made.shape == expected.shape and bool(np.abs(made - expected).max() <= _MATCH * np.abs(expected).max())


def _change(way: Way, right: Way) -> str:
    """What of a way is not the right one's."""
    kinds = ("", "", "a window cut short is ")
    pairs = zip(kinds, way, right, strict=True)
    return ", ".join(f"{kind}{own} instead of {due}" for kind, own, due in pairs if own != due)


def _ways(x: np.ndarray) -> Iterator[tuple[Way, np.ndarray]]:
    for apart, sequence in _SEQUENCES.items():
        tokens = sequence(x)
        for width in _WIDTHS:
            lone = -tokens.shape[1] % width
            ends = {
                "filled with its last token": [tokens] + [tokens[:, -1:]] * lone,
                "left out": [tokens[:, : tokens.shape[1] // width * width]],
                "filled with zeros": [tokens] + [np.zeros_like(tokens[:, -1:])] * lone,
                "filled with its last token, at the start": [tokens[:, -1:]] * lone + [tokens],
            }
            for end, filled in ends.items():
                windows = np.concatenate(filled, 1).reshape(len(x), -1, width, *x.shape[2:])
                for mode, reduce in _MODES.items() if windows.shape[1] else ():
                    yield (f"{mode} of {width}", apart, end), reduce(windows)
