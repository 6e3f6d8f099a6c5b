"""Gated attention units: rotations by given tables, gates, scores of one head, and scales by the number of keys."""

import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import show

_MATCH = 1e-10  # relative: how well a form must compute the reference's own value
_OUT_OF_REACH = 1e3  # what a mask has put there says nothing of the product
Pair = tuple[np.ndarray, np.ndarray]

_PAIRINGS: Mapping[str, Callable[[np.ndarray], Pair]] = {
    "neighbours": lambda x: (x[..., ::2], x[..., 1::2]),
    "halves": lambda x: (x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]),
}
_JOINTS: Mapping[str, Callable[[Pair], np.ndarray]] = {
    "neighbours": lambda pair: np.stack(pair, -1).reshape(*pair[0].shape[:-1], -1),
    "halves": lambda pair: np.concatenate(pair, -1),
}


def _is(value: np.ndarray, expected: np.ndarray) -> bool:
    return value.shape == expected.shape and bool(np.abs(value - expected).max() <= _MATCH * np.abs(expected).max())


def turned_by_tables(evidence: Evidence) -> Iterator[Candidate]:
    """x·cos − y·sin, x·sin + y·cos, from tables that the code was given: pairs, signs and waves taken otherwise."""
    expected, floats = evidence.expected, evidence.floats
    if expected.ndim < 3 or expected.shape != evidence.actual.shape or expected.shape[-1] % 2:
        return
    tables = [t for t in floats.values() if t.ndim == 2 and t.shape == (expected.shape[-2], expected.shape[-1] // 2)]
    whole = [x for x in floats.values() if x.shape == expected.shape and x is not expected]
    for x, (sin, cos) in itertools.product(whole, itertools.permutations(tables, 2)):
        for (pairing, part), (order, join) in itertools.product(_PAIRINGS.items(), _JOINTS.items()):
            p, q = part(x)
            if _is(join((p * cos - q * sin, p * sin + q * cos)), expected):
                yield from _other_turns(x, sin, cos, pairing, order)


def _other_turns(x: np.ndarray, sin: np.ndarray, cos: np.ndarray, pairing: str, order: str) -> Iterator[Candidate]:
    p, q = _PAIRINGS[pairing](x)
    join = _JOINTS[order]
    first, second = p * cos - q * sin, p * sin + q * cos
    other = next(name for name in _PAIRINGS if name != pairing)
    r, s = _PAIRINGS[other](x)
    yield Candidate(f"the pairs that turn are {other}, not {pairing}", join((r * cos - s * sin, r * sin + s * cos)))
    elsewhere = _JOINTS[next(name for name in _JOINTS if name != order)]
    yield Candidate("the turned pairs are put in another order", elsewhere((first, second)))
    yield Candidate("the two of a pair are exchanged before they turn", join((q * cos - p * sin, q * sin + p * cos)))
    yield Candidate("it turns the other way", join((p * cos + q * sin, q * cos - p * sin)))
    for text, value in {
        "has the other sign": p * cos + q * sin,
        "has sine and cosine exchanged": p * sin - q * cos,
        "is not turned": p,
        "lacks the sine's term": p * cos,
        "lacks the cosine's term": -q * sin,
    }.items():
        yield Candidate(f"the first of a turned pair {text}", join((value, second)))
    for text, value in {
        "has the other sign": p * sin - q * cos,
        "has sine and cosine exchanged": p * cos + q * sin,
        "is not turned": q,
        "lacks the sine's term": q * cos,
        "lacks the cosine's term": p * sin,
    }.items():
        yield Candidate(f"the second of a turned pair {text}", join((first, value)))


def gates(evidence: Evidence) -> Iterator[Candidate]:
    """u ⊙ (A v), where u and v stand side by side in one tensor."""
    expected, floats = evidence.expected, evidence.floats
    if expected.ndim != 3 or expected.shape != evidence.actual.shape:
        return
    B, L, width = expected.shape
    mixing = [a for a in floats.values() if a.shape == (B, L, L)]
    joint = [y for y in floats.values() if y.ndim == 3 and y.shape[:2] == (B, L) and y.shape[2] >= 2 * width]
    for weights, y in itertools.product(mixing, joint):
        u, v = y[..., :width], y[..., width : 2 * width]
        if not _is(u * (weights @ v), expected):
            continue
        yield Candidate("nothing is gated: A v instead of u ⊙ A v", weights @ v)
        yield Candidate("the gate is added instead of multiplied", u + weights @ v)
        yield Candidate("the values are gated before they are mixed: A (u ⊙ v)", weights @ (u * v))
        yield Candidate("gate and values are exchanged: v ⊙ A u", v * (weights @ u))
        yield Candidate("the values are not mixed: u ⊙ v", u * v)


def scores_of_one_head(evidence: Evidence) -> Iterator[Candidate]:
    """factor · q·k + mask, with one head and so three axes."""
    expected, floats = evidence.expected, evidence.floats
    if expected.ndim != 3 or expected.shape != evidence.actual.shape or expected.shape[1] != expected.shape[2]:
        return
    B, L, _ = expected.shape
    states = [x for x in floats.values() if x.ndim == 3 and x.shape[:2] == (B, L) and x.shape[2] > 1]
    factors = [np.ones(()), *(f for f in floats.values() if f.shape in ((B, 1, 1), (B, L, 1)))]
    masks = [
        np.zeros(()),
        *(m for m in floats.values() if m.shape in ((B, 1, L), (B, L, L)) and m.min() < -_OUT_OF_REACH),
    ]
    seen = np.abs(expected) < _OUT_OF_REACH
    for q, k in itertools.permutations(states, 2):
        if q.shape != k.shape or not seen.any():
            continue
        product = q @ k.swapaxes(-1, -2)
        for factor, mask in itertools.product(factors, masks):
            if _is((product * factor + mask)[seen], expected[seen]):
                yield from _other_scores(evidence, product, factor, mask, seen)


def _other_scores(
    evidence: Evidence, product: np.ndarray, factor: np.ndarray, mask: np.ndarray, seen: np.ndarray
) -> Iterator[Candidate]:
    right = product * factor
    if factor.ndim:
        yield Candidate("the scores are not scaled", product + mask)
        yield Candidate("the scores are scaled twice", right * factor + mask)
    if mask.ndim:
        yield Candidate("no mask is added", right)
        yield Candidate("the mask is subtracted", right - mask)
        yield Candidate("the mask is added twice", right + 2 * mask)
        yield Candidate("the mask hides queries instead of keys", right + mask.swapaxes(-1, -2))
        yield Candidate("the scores are masked before they are scaled", (product + mask) * factor)
    yield Candidate("queries and keys are exchanged", right.swapaxes(-1, -2) + mask)
    chosen = seen & (np.abs(right) > _MATCH) & (np.abs(evidence.actual) < _OUT_OF_REACH)
    if chosen.any():
        ratio = float(np.median(evidence.actual[chosen] / right[chosen]))
        yield Candidate(f"the scores are scaled by {show(ratio)}", right * ratio + mask, 1)


def scales_by_keys(evidence: Evidence) -> Iterator[Candidate]:
    """c · ln l or c / √l, where l is the number of keys that a mask leaves, at least 1."""
    expected = evidence.expected.astype(np.float64)
    if expected.ndim < 2 or expected.shape[-1] != 1 or expected.shape != evidence.actual.shape:
        return
    for mask in (
        m for m in evidence.at_hand.values() if m.ndim == expected.ndim and m.shape[:-1] == expected.shape[:-1]
    ):
        counted = mask.astype(np.float64).sum(-1, keepdims=True)
        for form in (np.log, lambda keys: 1 / np.sqrt(keys)):
            due = form(counted.clip(1))
            factor = (expected * due).sum() / (due**2).sum()
            if factor and _is(due * factor, expected):
                yield Candidate("padding counts among the keys", factor * form(np.full_like(counted, mask.shape[-1])))
                yield Candidate("one key too many is counted", factor * form(counted.clip(1) + 1))
                yield Candidate("one key too many is counted", factor * form((counted + 1).clip(1)))
                yield Candidate("without any key the number of keys is 0, not 1", factor * form(counted))
