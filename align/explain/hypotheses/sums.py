"""Sums of recorded tensors: residuals, embeddings, scaled biases, and what is missing from them or too much."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from align.explain.arrange import moved
from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import recognise, show

_MOST_TERMS = 3
_MOST_TENSORS = 24
_MATCH = 1e-10
_SAME = 1e-11  # of two factors
_ROWS = 4096  # elements on which a sum is searched before it is made


@dataclass(frozen=True)
class _Sum:
    """Σ coefficient · tensor."""

    terms: Mapping[str, float]

    def value(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        return sum((factor * tensors[name] for name, factor in self.terms.items()), np.zeros(()))


def sums(evidence: Evidence) -> Iterator[Candidate]:
    """Another sum than the expected one: a term missing, doubled, scaled or taken from elsewhere."""
    expected, actual = evidence.expected, evidence.actual
    if expected.dtype.kind != "f" or expected.shape != actual.shape or not expected.size:
        return
    expected, actual = expected.astype(np.float64), actual.astype(np.float64)
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return
    tensors = _tensors(evidence, expected.shape)
    right = _find(tensors, expected)
    if right is None:
        yield from _differences(evidence, tensors, expected, actual)
        return
    wrong = _find(tensors, actual)
    if wrong is not None:
        made = np.broadcast_to(wrong.value(tensors), actual.shape)
        yield Candidate(_compare(right, wrong, expected.shape), made, _fitted(right, wrong, expected.shape))
    yield from _one_term_moved(right, tensors, expected, actual)


def _tensors(evidence: Evidence, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Recorded tensors, parameters and products of the two, in words, that can stand in a sum of this shape."""
    named = {evidence.name(name): value for name, value in evidence.floats.items()} | dict(evidence.parameters)
    if len(shape) == 4:
        named |= _scores_of_biases(evidence, shape)
    found = {}
    for name, value in named.items():
        if value.size == np.prod(shape) and value.shape != shape:
            value = value.reshape(shape)
        fits = 0 < value.ndim <= len(shape) and _broadcasts(value, shape)
        if fits and value.any() and np.isfinite(value).all():
            found[name] = value
    return dict(list(found.items())[:_MOST_TENSORS])


def _scores_of_biases(evidence: Evidence, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What a bias (H, d) adds to attention scores (B, H, Q, K): its product with the states of keys or queries."""
    B, H, Q, K = shape
    found: dict[str, np.ndarray] = {}
    biases = {name: value for name, value in evidence.parameters.items() if value.ndim == 2 and len(value) == H}
    for (bias, weights), (name, states) in itertools.product(biases.items(), evidence.floats.items()):
        length = states.shape[1] if states.ndim > 2 and len(states) == B else 0
        if length in (Q, K) and states.size == B * length * weights.size:
            product = np.einsum("hd,bkhd->bhk", weights, states.reshape(B, length, *weights.shape))
            found[f"{bias} · {evidence.name(name)}"] = product[:, :, None] if length == K else product[..., None]
    return found


def _broadcasts(value: np.ndarray, shape: tuple[int, ...]) -> bool:
    return all(a in (1, b) for a, b in zip(value.shape[::-1], shape[::-1], strict=False))


def _find(tensors: Mapping[str, np.ndarray], value: np.ndarray) -> _Sum | None:
    """The shortest sum of at most three tensors that is `value`."""
    flat = value.reshape(-1)
    places = np.unique(np.random.default_rng(0).integers(value.size, size=_ROWS))
    columns = {name: np.broadcast_to(t, value.shape).reshape(-1)[places] for name, t in tensors.items()}
    sample, size = flat[places], float(np.abs(value).max())
    for count in range(1, _MOST_TERMS + 1):
        if len(sample) < 3 * count:
            return None
        for names in itertools.combinations(columns, count):
            matrix = np.stack([columns[name] for name in names], 1)
            if not _promising(matrix, sample, size):
                continue
            factors = np.linalg.lstsq(matrix, sample, rcond=None)[0]
            found = _Sum(dict(zip(names, map(_whole, factors), strict=True)))
            if np.abs(found.value(tensors) - value).max() <= _MATCH * size:
                return found
    return None


def _whole(factor: float) -> float:
    """The factor, or the integer that only rounding keeps it from."""
    return float(round(factor)) if abs(factor - round(factor)) < _SAME else float(factor)


def _promising(matrix: np.ndarray, sample: np.ndarray, size: float) -> bool:
    """Whether a few elements, solved for the factors, agree with a few others."""
    few = matrix[:: max(len(sample) // 32, 1)]
    wanted = sample[:: max(len(sample) // 32, 1)]
    factors, *_ = np.linalg.lstsq(few, wanted, rcond=None)
    return bool(np.abs(few @ factors - wanted).max() <= 1e-9 * size)


def _compare(right: _Sum, wrong: _Sum, sizes: Sequence[int]) -> str:
    """What the sum of the port has that the reference's has not."""
    ratios = [wrong.terms[name] / factor for name, factor in right.terms.items() if name in wrong.terms]
    if len(ratios) == len(right.terms) == len(wrong.terms) and np.ptp(ratios) < _SAME * abs(ratios[0]):
        return f"it is scaled by {show(ratios[0], sizes)}"
    missing = [name for name in right.terms if name not in wrong.terms]
    added = [name for name in wrong.terms if name not in right.terms]
    swapped = len(missing) == len(added) == 1
    if swapped and np.isclose(right.terms[missing[0]], wrong.terms[added[0]], rtol=_SAME, atol=0):
        return f"{added[0]} is added where {missing[0]} should be"
    texts = [f"{name} is not added" for name in missing]
    texts += [_added(name, wrong.terms[name], sizes) for name in added]
    for name in [name for name in right.terms if name in wrong.terms]:
        before, after = right.terms[name], wrong.terms[name]
        if not np.isclose(before, after, rtol=_SAME, atol=0):
            texts.append(f"{name} is taken {show(after, sizes)} instead of {show(before, sizes)} times")
    return " and ".join(texts)


def _added(name: str, factor: float, sizes: Sequence[int]) -> str:
    times = "" if abs(abs(factor) - 1) < _SAME else f"{show(abs(factor), sizes)} times "
    return f"{times}{name} is {'added' if factor > 0 else 'subtracted'}"


def _fitted(right: _Sum, wrong: _Sum, sizes: Sequence[int]) -> int:
    """The factors that are neither the reference's nor a number with a name."""
    return sum(
        not np.isclose(factor, right.terms.get(name, np.nan), rtol=_SAME, atol=0) and recognise(factor, sizes) is None
        for name, factor in wrong.terms.items()
    )


def _one_term_moved(
    right: _Sum, tensors: Mapping[str, np.ndarray], expected: np.ndarray, actual: np.ndarray
) -> Iterator[Candidate]:
    """One term with its elements in another order: heads split otherwise, positions shifted."""
    for name, factor in right.terms.items():
        term = tensors[name]
        rest = expected - factor * term
        wanted = ((actual - rest) / factor)[(0,) * (expected.ndim - term.ndim)]
        for text, other in moved(term, wanted) if wanted.shape == term.shape else ():
            yield Candidate(f"{name} enters in another order: {text}", rest + factor * other)


def _differences(
    evidence: Evidence, tensors: Mapping[str, np.ndarray], expected: np.ndarray, actual: np.ndarray
) -> Iterator[Candidate]:
    """A sum of recorded tensors on top of the expected value or in its place, everywhere or where a mask says so."""
    sizes, rounding = expected.shape, _SAME * float(np.abs(expected).max())
    masks = _masks(evidence, sizes)
    places = {"": np.ones(())} | {
        f", where {evidence.name(name)} is {side}": np.broadcast_to(mask == side, sizes)
        for name, mask in masks.items()
        for side in (0, 1)
    }
    for where, place in places.items():
        local = {name: np.broadcast_to(value, sizes) * place for name, value in tensors.items()}
        for alone in (False, True):
            start = np.zeros(()) if alone else expected
            rest = actual - start
            elsewhere = np.abs(rest[np.broadcast_to(place == 0, sizes)]).max(initial=0.0)
            found = _find(local, rest) if elsewhere <= rounding else None
            if found is not None:
                fitted = sum(recognise(factor, sizes) is None for factor in found.terms.values())
                text = f"{_all_there_is(found, sizes) if alone else _on_top(found, sizes)}{where}"
                yield Candidate(text, start + found.value(local), fitted)


def _on_top(found: _Sum, sizes: Sequence[int]) -> str:
    """In words; a term that only the expected value has cannot be told from one that the port takes off."""
    return " and ".join(
        f"{name} is not added, or is subtracted" if factor == -1 else _added(name, factor, sizes)
        for name, factor in found.terms.items()
    )


def _all_there_is(found: _Sum, sizes: Sequence[int]) -> str:
    terms = [name if factor == 1 else f"{show(factor, sizes)} times {name}" for name, factor in found.terms.items()]
    return f"it is nothing but {' + '.join(terms)}"


def _masks(evidence: Evidence, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Recorded tensors of zeros and ones that broadcast to `shape`."""
    return {
        name: value
        for name, value in evidence.at_hand.items()
        if value.ndim
        and value.ndim <= len(shape)
        and _broadcasts(value, shape)
        and ((value == 0) | (value == 1)).all()
        and value.any()
        and not value.all()
    }
