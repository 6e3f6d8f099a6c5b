"""Attention: scores q·kᵀ/√d + mask, probabilities softmax(scores), context probabilities·v."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax as _softmax

from align.difference import MASKED
from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import recognise, rounded, show

_MATCH = 1e-10
_REACH = -MASKED / 8  # no ordinary score lies beyond

# How (B, L, D) is read as heads (B, H, L, d): as it should be, and as it goes wrong.
_SPLITS: Mapping[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "": lambda x, H: x.reshape(*x.shape[:2], H, -1).transpose(0, 2, 1, 3),
    "split without a transposition": lambda x, H: x.reshape(len(x), H, x.shape[1], -1),
    "split width before heads": lambda x, H: x.reshape(*x.shape[:2], -1, H).transpose(0, 3, 1, 2),
}
# How heads (B, H, L, d) become (B, L, D) again.
_MERGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda x: x.transpose(0, 2, 1, 3).reshape(len(x), x.shape[2], -1),
    "merged without a transposition": lambda x: x.reshape(len(x), x.shape[2], -1),
    "merged width before heads": lambda x: x.transpose(0, 2, 3, 1).reshape(len(x), x.shape[2], -1),
}


def softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """softmax; a row that is masked throughout is uniform, one of nothing but −∞ NaN."""
    return _softmax(scores, axis=axis)


@dataclass(frozen=True)
class Scores:
    """scale · q·kᵀ + mask over `heads` heads: q (B, Q, D), k (B, K, D), mask broadcasts to (B, H, Q, K)."""

    q: np.ndarray
    k: np.ndarray
    heads: int
    scale: float
    mask: np.ndarray

    def product(self, of_q: str = "", of_k: str = "") -> np.ndarray:
        return _SPLITS[of_q](self.q, self.heads) @ _SPLITS[of_k](self.k, self.heads).swapaxes(-1, -2)

    def value(self, product: np.ndarray | None = None, scale: float | None = None) -> np.ndarray:
        product = self.product() if product is None else product
        return (self.scale if scale is None else scale) * product + self.mask


def find_scores(evidence: Evidence, value: np.ndarray) -> Scores | None:
    """The two recorded tensors, the scale and the mask of which `value` (B, H, Q, K) is the scores."""
    if value.ndim != 4 or value.dtype.kind != "f":
        return None
    B, H, Q, K = value.shape
    states = [x for x in evidence.floats.values() if x.ndim == 3 and len(x) == B and x.shape[2] % H == 0]
    for mask in _masks(evidence, value.shape):
        ordinary = np.abs(value) < _REACH
        if not np.array_equal(ordinary, np.broadcast_to(np.abs(mask) < _REACH, value.shape)):
            continue  # another mask than this one was added
        rest = np.where(ordinary, value - mask, 0.0)
        for q in [x for x in states if x.shape[1] == Q]:
            for k in [x for x in states if x.shape[1] == K and x.shape[2] == q.shape[2] and x is not q]:
                product = np.where(ordinary, Scores(q, k, H, 1.0, mask).product(), 0.0)
                scale = float((product * rest).sum() / ((product**2).sum() or 1.0))
                if scale and np.abs(scale * product - rest).max() <= _MATCH * np.abs(rest).max():
                    return Scores(q, k, H, _exact(scale, q.shape[2] // H), mask)
    return None


def _exact(scale: float, width: int) -> float:
    """The scale that was meant, without the rounding of the fit."""
    meant = [1 / np.sqrt(width), 1.0, 1 / width]
    return next((s for s in meant if np.isclose(scale, s, rtol=1e-9)), scale)


def _masks(evidence: Evidence, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Additive masks among what is recorded, and none."""
    masks = [value for value in evidence.floats.values() if float(value.min(initial=0.0)) <= MASKED]
    whole = [value[:, None] if value.ndim == len(shape) - 1 else value for value in masks]
    found = [
        value
        for value in whole
        if value.ndim == len(shape) and value.shape != shape
        if all(a in (1, b) for a, b in zip(value.shape, shape, strict=True))
    ]
    return [*found, np.zeros((1,) * len(shape))]


def scores(evidence: Evidence) -> Iterator[Candidate]:
    """What becomes of attention scores: (B, H, Q, K), or of a single head (B, Q, K)."""
    if evidence.expected.ndim == evidence.actual.ndim == 3:
        apart = replace(evidence, expected=evidence.expected[:, None], actual=evidence.actual[:, None])
        for guess in _of_heads(apart):
            yield Candidate(guess.text, guess.predicted[:, 0], guess.parameters)
    else:
        yield from _of_heads(evidence)


def _of_heads(evidence: Evidence) -> Iterator[Candidate]:
    form = find_scores(evidence, evidence.expected)
    if form is None:
        yield from _products_in_a_sum(evidence)
        return
    yield from _other_heads(form, evidence)
    for text, predicted in score_variants(form):
        yield Candidate(text, predicted)
    if evidence.actual.shape == evidence.expected.shape:
        yield from _scale_fit(form, evidence)
        yield from _mask_fit(form, evidence)


def _products_in_a_sum(evidence: Evidence) -> Iterator[Candidate]:
    """Scores of which (q + bias)·k is only a part, the rest unknown: that part with its heads split otherwise."""
    expected, actual = evidence.expected, evidence.actual
    if expected.ndim != 4 or expected.shape != actual.shape or actual.dtype.kind != "f":
        return
    if expected.dtype.kind != "f" or not np.isfinite(actual - expected).all():
        return
    B, H, Q, K = expected.shape
    states = {n: x for n, x in evidence.floats.items() if x.ndim == 3 and len(x) == B and x.shape[2] % H == 0}
    vectors = {n: v.reshape(-1) for n, v in evidence.parameters.items() if v.ndim == 2 and len(v) == H}
    for (of_q, q), (of_k, k) in itertools.permutations(states.items(), 2):
        if q.shape[1] != Q or k.shape[1] != K or q.shape[2] != k.shape[2]:
            continue
        biases = {name: v for name, v in vectors.items() if v.size == q.shape[2]}
        for bias, vector in {"": np.zeros(q.shape[2]), **biases}.items():
            form = Scores(q + vector, k, H, 1.0, np.zeros((1, 1, 1, 1)))
            part = f"in the product of {evidence.name(of_q)}{f' + {bias}' if bias else ''} and {evidence.name(of_k)}"
            for how in list(_SPLITS)[1:]:
                for whose, ways in (("the key", ("", how)), ("both", (how, how)), ("the query", (how, ""))):
                    change = form.product(*ways) - form.product()
                    scale = float((change * (actual - expected)).sum() / ((change**2).sum() or 1.0))
                    fitted = 0 if recognise(scale, (q.shape[2] // H, q.shape[2])) else 1
                    text = f"{part} the heads of {whose} are {how}"
                    yield Candidate(text, expected + scale * change, fitted)


def _other_heads(form: Scores, evidence: Evidence) -> Iterator[Candidate]:
    """Another number of heads, with a scale that follows the width of a head or does not."""
    heads = evidence.actual.shape[1] if evidence.actual.ndim == 4 else 0
    if heads and form.q.shape[2] % heads == 0 and heads != form.heads:
        other = Scores(form.q, form.k, heads, 1 / np.sqrt(form.q.shape[2] // heads), form.mask)
        text = f"{heads} heads instead of {form.heads}"
        yield Candidate(text, other.value())
        yield Candidate(f"{text}, and the scale {show(form.scale)} of the other width", other.value(scale=form.scale))


def score_variants(form: Scores) -> Iterator[tuple[str, np.ndarray]]:
    """Everything that goes wrong with scores and has no number to fit."""
    width = form.q.shape[2] // form.heads
    sizes = (width, form.q.shape[2])
    for scale in (1.0, 1 / np.sqrt(form.q.shape[2]), 1 / width, 1 / np.sqrt(form.heads), np.sqrt(width)):
        if not np.isclose(scale, form.scale):
            text = f"q·k is scaled by {show(float(scale), sizes)} instead of {show(form.scale, sizes)}"
            yield text, form.value(scale=float(scale))
    for how in list(_SPLITS)[1:]:
        yield f"the heads of query and key are {how}", form.value(form.product(how, how))
        yield f"the heads of the query are {how}", form.value(form.product(how, ""))
        yield f"the heads of the key are {how}", form.value(form.product("", how))
    q, k = (_SPLITS[""](x, form.heads) for x in (form.q, form.k))
    yield "the keys are reshaped, not transposed", form.value(q @ k.reshape(*k.shape[:2], k.shape[3], k.shape[2]))
    if form.q.shape == form.k.shape:
        yield "query and key are swapped", form.value(form.product().swapaxes(-1, -2))
    plain = form.scale * form.product()
    for text, mask in mask_variants(form.mask, plain.shape):
        yield text, plain + mask


def mask_variants(mask: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """What becomes of an additive mask (B, 1, 1, K) or (B, 1, Q, K) on its way to the scores (B, H, Q, K)."""
    B, H, Q, K = shape
    least = float(mask.min())
    if mask.any():
        yield "the mask is not applied", np.zeros_like(mask)
        yield "the mask is subtracted", -mask
        yield "the mask is added twice", mask + mask
        yield "the mask is inverted", np.where(mask == 0, least, 0.0)
        if mask.shape == (B, 1, 1, K):
            tiled = np.tile(mask, (H, 1, 1, 1)).reshape(B, H, 1, K)
            yield "the mask is tiled over batch and heads in the wrong order: a head has another sample's", tiled
        if Q == K:
            yield "the mask is applied to the queries, not the keys", mask.swapaxes(-1, -2)
        if B == K:
            yield "batch and length of the mask are exchanged", mask.transpose(3, 1, 2, 0)
    if Q == K:
        causal = np.where(np.triu(np.ones((Q, K), bool), 1), MASKED * 2, 0.0)
        yield "a causal mask is added", mask + causal


def _scale_fit(form: Scores, evidence: Evidence) -> Iterator[Candidate]:
    actual = evidence.actual.astype(np.float64)
    ordinary = (np.abs(actual) < _REACH) & (np.abs(evidence.expected) < _REACH)
    product = np.where(ordinary, form.product(), 0.0)
    rest = np.where(ordinary, actual - np.where(np.abs(form.mask) < _REACH, form.mask, 0.0), 0.0)
    scale = float((product * rest).sum() / ((product**2).sum() or 1.0))
    sizes = (form.q.shape[2] // form.heads, form.q.shape[2])
    text = f"q·k is scaled by {show(scale, sizes)} instead of {show(form.scale, sizes)}"
    if np.isclose(scale, form.scale, rtol=1e-3):
        text = f"q·k is scaled by {scale / form.scale:.10g} times the right scale {show(form.scale, sizes)}"
    yield Candidate(text, form.value(scale=scale), 0 if recognise(scale, sizes) else 1)


def _mask_fit(form: Scores, evidence: Evidence) -> Iterator[Candidate]:
    """Another number at masked places."""
    out = np.broadcast_to(form.mask <= MASKED, evidence.actual.shape)
    if out.any():
        plain = form.scale * form.product()
        value = float(np.median((evidence.actual - plain)[out]))
        if np.isfinite(value):
            text = f"masked scores lose {show(-value)} instead of {-float(form.mask.min()):.4g}"
            yield Candidate(text, np.where(out, plain + value, plain), 0 if recognise(value) else 1)


def context(evidence: Evidence) -> Iterator[Candidate]:
    """What becomes of the sum of values, weighted by the probabilities."""
    expected = evidence.expected
    if expected.ndim != 3 or expected.dtype.kind != "f":
        return
    for probabilities in [p for p in evidence.floats.values() if p.ndim == 4 and np.allclose(p.sum(-1), 1.0)]:
        for v in [x for x in evidence.floats.values() if x.ndim == 3 and x.shape[1] == probabilities.shape[3]]:
            if _is_context(probabilities, v, expected):
                yield from _context_variants(probabilities, v, evidence)
                return


def _is_context(probabilities: np.ndarray, v: np.ndarray, expected: np.ndarray) -> bool:
    if len(v) != len(probabilities) or v.shape[2] % probabilities.shape[1]:
        return False
    mixed = _MERGES[""](probabilities @ _SPLITS[""](v, probabilities.shape[1]))
    return mixed.shape == expected.shape and bool(np.abs(mixed - expected).max() <= _MATCH * np.abs(expected).max())


def _context_variants(probabilities: np.ndarray, v: np.ndarray, evidence: Evidence) -> Iterator[Candidate]:
    heads = probabilities.shape[1]
    values = _SPLITS[""](v, heads)

    def mixed(p: np.ndarray) -> np.ndarray:
        return _MERGES[""](p @ values)

    for how, split in list(_SPLITS.items())[1:]:
        yield Candidate(f"the heads of the value are {how}", _MERGES[""](probabilities @ split(v, heads)))
    for how, merge in list(_MERGES.items())[1:]:
        yield Candidate(f"the heads are {how}", merge(probabilities @ values))
    if probabilities.shape[2] == probabilities.shape[3]:
        yield Candidate("the probabilities are transposed: queries for keys", mixed(probabilities.swapaxes(-1, -2)))
    before = next((s for s in evidence.floats.values() if _is_softmax(s, probabilities)), None)
    if before is None:
        return
    form = find_scores(evidence, before)
    for text, other in score_variants(form) if form else ():
        yield Candidate(text, mixed(softmax(other)))
    if form:
        yield Candidate("it attends over heads instead of positions", _over_heads(form, values))
    for text, other, parameters in denominators(before, mixed, evidence.actual):
        yield Candidate(text, other, parameters)


def _is_softmax(scores: np.ndarray, probabilities: np.ndarray) -> bool:
    if scores.shape != probabilities.shape:
        return False
    return bool(np.abs(softmax(scores) - probabilities).max() <= _MATCH)


def _over_heads(form: Scores, values: np.ndarray) -> np.ndarray:
    """Attention with the axes of heads and positions exchanged: (B, L, H, d) taken for (B, H, L, d), unmasked."""
    q, k, v = (_SPLITS[""](x, form.heads).transpose(0, 2, 1, 3) for x in (form.q, form.k, values_as_states(values)))
    return _MERGES[""]((softmax(form.scale * q @ k.swapaxes(-1, -2)) @ v).transpose(0, 2, 1, 3))


def values_as_states(values: np.ndarray) -> np.ndarray:
    return _MERGES[""](values)


def denominators(
    scores: np.ndarray, follow: Callable[[np.ndarray], np.ndarray], actual: np.ndarray
) -> Iterator[tuple[str, np.ndarray, int]]:
    """A constant more in the denominator of softmax. `follow` is what happens to the probabilities afterwards."""
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    total = exponentials.sum(-1, keepdims=True)
    if follow(exponentials / total).shape != actual.shape:
        return
    yield (
        "1 more stands in the denominator of softmax",
        follow(exponentials / (total + np.exp(-scores.max(-1, keepdims=True)))),
        0,
    )
    loss = follow(exponentials / total) - actual
    per_unit = follow(exponentials / total**2)
    small = float((loss * per_unit).sum() / (per_unit**2).sum())
    for _ in range(8):  # the loss is linear in a small constant; for a larger one, Newton's steps
        guess = follow(exponentials / (total + small))
        slope = -follow(exponentials / (total + small) ** 2)
        small -= float(((guess - actual) * slope).sum() / (slope**2).sum())
    if np.isfinite(small) and small > 0:
        meant = rounded(small, 1e-3)
        for value in (meant, small) if meant else (small,):
            text = f"{value:.4g} more stands in the denominator of softmax"
            yield text, follow(exponentials / (total + value)), 1
