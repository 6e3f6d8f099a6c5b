"""Probabilities: a softmax over scores, with a mask of ones and zeros or without."""

from collections.abc import Iterator

import numpy as np
from scipy.special import expit, log_softmax

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.hypotheses.attention import denominators, softmax
from align.explain.numbers import recognise, show

_MATCH = 1e-10
_MASKS = (
    10.0,
    100.0,
    1e3,
    1e4,
    1e5,
    1e6,
    1e9,
    1e10,
    1e12,
)  # what a masked score loses; from 1e17 on it loses all of its digits
_ALL_DIGITS = 1e30


def softmaxes(evidence: Evidence) -> Iterator[Candidate]:
    """Another softmax of the scores that the expected value is one of."""
    expected = evidence.expected
    if expected.dtype.kind != "f" or expected.ndim < 2 or expected.shape != evidence.actual.shape:
        return
    for scores in [x for x in evidence.floats.values() if x.shape == expected.shape]:
        axis = next((a for a in range(scores.ndim - 1, -1, -1) if _near(softmax(scores, a), expected)), None)
        if axis is not None:
            yield from _variants(scores, axis, evidence)
        elif expected.ndim >= 3:
            yield from _masked(scores, evidence)


def _near(value: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.nanmax(np.abs(value - expected), initial=0.0) <= _MATCH)


def _variants(scores: np.ndarray, axis: int, evidence: Evidence) -> Iterator[Candidate]:
    right, actual = softmax(scores, axis), evidence.actual.astype(np.float64)
    for other in [a for a in range(scores.ndim) if a != axis]:
        yield Candidate(f"softmax over axis {other} instead of {axis}", softmax(scores, other))
    yield Candidate("softmax is applied twice", softmax(right, axis))
    yield Candidate("softmax is not applied", scores)
    yield Candidate("log softmax instead of softmax", log_softmax(scores, axis=axis))
    yield Candidate("sigmoid instead of softmax", expit(scores))
    yield Candidate("softmax(−x) instead of softmax(x)", softmax(-scores, axis))
    lowered = np.maximum(scores - scores.max(axis, keepdims=True), -64.0)
    yield Candidate("scores more than 64 below the best are raised to that", softmax(lowered, axis))
    yield from _temperature(scores, axis, right, actual)
    if axis == scores.ndim - 1:
        for text, predicted, parameters in denominators(scores, lambda p: p, actual):
            yield Candidate(text, predicted, parameters)


def _temperature(scores: np.ndarray, axis: int, right: np.ndarray, actual: np.ndarray) -> Iterator[Candidate]:
    """softmax(factor · scores): the logarithms of the actual probabilities tell the factor."""
    seen = (right > 1e-12) & (actual > 1e-12)
    logs = np.where(seen, np.log(np.where(seen, actual, 1.0)), 0.0)
    x = np.where(seen, scores, 0.0)
    count = np.maximum(seen.sum(axis, keepdims=True), 1)
    x, logs = (np.where(seen, v - v.sum(axis, keepdims=True) / count, 0.0) for v in (x, logs))
    factor = float((x * logs).sum() / ((x**2).sum() or 1.0))
    if np.isfinite(factor) and factor:
        text = f"the scores are taken {show(factor)} times (temperature {show(1 / factor)})"
        yield Candidate(text, softmax(factor * scores, axis), 0 if recognise(factor) else 1)


def _masked(scores: np.ndarray, evidence: Evidence) -> Iterator[Candidate]:
    """A softmax that masks by itself, given scores (B, H, Q, K) and a mask (B, K) or (B, 1, 1, K), 1 at tokens."""
    for mask in [m for m in evidence.at_hand.values() if _is_mask(m, scores.shape)]:
        tokens = mask.reshape(len(mask), *(1,) * (scores.ndim - 2), -1).astype(np.float64)
        right = next((lost for lost in _rules(tokens) if _near(softmax(scores - lost), evidence.expected)), None)
        if right is not None:
            yield from _mask_variants(scores, tokens)
            yield from _variants(scores - right, scores.ndim - 1, evidence)


def _is_mask(mask: np.ndarray, shape: tuple[int, ...]) -> bool:
    return mask.shape[:1] == shape[:1] and mask.size == shape[0] * shape[-1] and bool(np.isin(mask, (0.0, 1.0)).all())


def _lost(tokens: np.ndarray, relief: bool) -> np.ndarray:
    """1 where a score is put out of reach; with `relief` nothing is in a row without any token."""
    return (tokens.max(-1, keepdims=True) if relief else 1.0) - tokens


def _rules(tokens: np.ndarray) -> Iterator[np.ndarray]:
    """What scores lose by each convention."""
    for relief in (True, False):
        for value in (*_MASKS, _ALL_DIGITS):
            yield value * _lost(tokens, relief)


def _mask_variants(scores: np.ndarray, tokens: np.ndarray) -> Iterator[Candidate]:
    shape = scores.shape
    yield Candidate("the mask is not applied", softmax(scores))
    for relief in (True, False):
        lost = _lost(tokens, relief)
        for value in (*_MASKS, _ALL_DIGITS):
            large = f"{value:g}" if value < _ALL_DIGITS else "so much that no digit of the score is left (over 1e17)"
            where = "" if relief else ", in a row without any token too"
            yield Candidate(f"masked scores lose {large}{where}", softmax(scores - value * lost))
    yield Candidate("masked scores lose ∞, and ∞ · 0 is no number", np.full_like(scores, np.nan))
    least = 1e6 * _lost(tokens, False)
    yield Candidate("the mask is inverted", softmax(scores - 1e6 * tokens))
    for relief in (True, False):
        text = "the mask is added, not subtracted: masked scores win"
        yield Candidate(text, softmax(scores + 1e6 * _lost(tokens, relief)))
    if len(shape) == 4:
        B, H, _, K = shape
        for relief in (True, False):
            tiled = np.tile(tokens.reshape(B, K), (H, 1)).reshape(B, H, 1, K)
            text = "the mask is tiled over batch and heads in the wrong order: a head has another sample's"
            yield Candidate(text, softmax(scores - 1e6 * _lost(tiled, relief)))
    if shape[-1] == shape[-2]:
        yield Candidate("the mask is applied to the queries, not the keys", softmax(scores - least.swapaxes(-1, -2)))
