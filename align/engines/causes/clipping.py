"""Why clipped gradients are wrong although the raw ones are right."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from align.engines.causes import ROUNDING, allowed, listed, relative
from align.engines.trace import Gradients, Setting, Trace

Clip = Callable[[Gradients], Gradients]
_EPS = 1e-6


def cause_of(setting: Setting, side: Trace) -> str | None:
    """The way of clipping that gives what the side has, in words: "" if there is none, None if nothing is wrong."""
    limit = setting.spec.clip_norm
    assert limit is not None
    raw = [setting.gradients(update) for update in range(len(setting.rates))]
    seen = [{name: side.gradient(update, name) for name in setting.names} for update in range(len(raw))]
    whole = max(map(_error, seen, map(_by_norm(limit), raw)))
    if whole <= ROUNDING:
        return None
    left = allowed(whole)
    for text, clip in _hypotheses(limit, raw, seen):
        if all(_error(actual, clip(given)) <= left for actual, given in zip(seen, raw, strict=True)):
            return text
    return ""


def _hypotheses(limit: float, raw: list[Gradients], seen: list[Gradients]) -> Iterator[tuple[str, Clip]]:
    yield "gradients are not clipped at all", lambda given: given
    yield "each gradient is clipped by its own norm", lambda given: _each(given, lambda g: _factor(_norm([g]), limit))
    yield (
        "gradients are clipped by value",
        lambda given: {n: None if g is None else g.clip(-limit, limit) for n, g in given.items()},
    )
    yield "the norm is divided by without 1e-6: c / max(n, c)", _by_norm(limit, eps=0.0)
    yield "a missing gradient is taken for zeros", lambda given: _by_norm(limit)(_filled(given, seen[0]))
    yield "gradients are clipped twice", lambda given: _by_norm(limit)(_by_norm(limit)(given))
    yield "the largest element is taken for the norm", lambda given: _each(given, _largest(given, limit))
    # The update whose gradients are the largest is clipped for certain: what it leaves out is left out of every norm.
    worst = max(range(len(raw)), key=lambda update: _norm(raw[update].values()))
    untouched = {
        n for n, g in raw[worst].items() if g is not None and g.any() and _error({n: seen[worst][n]}, {n: g}) == 0
    }
    if untouched:
        yield f"clipping leaves out {listed(sorted(untouched))}", _by_norm(limit, left_out=frozenset(untouched))
    factor = _common_factor(raw[worst], seen[worst])
    if factor:
        yield f"gradients are {factor:.6g} times as large as they should be", _times(factor)
        for eps in (_EPS, 0.0):
            fitted = factor * (_norm(raw[worst].values()) + eps)
            yield f"gradients are clipped to {fitted:.6g} instead of {limit:g}", _by_norm(fitted, eps=eps)


def _filled(given: Gradients, like: Gradients) -> Gradients:
    """Zeros for what is missing."""
    return {n: np.zeros_like(like[n]) if g is None and like[n] is not None else g for n, g in given.items()}


def _times(factor: float) -> Clip:
    return lambda given: _each(given, lambda _: factor)


def _by_norm(limit: float, eps: float = _EPS, left_out: frozenset[str] = frozenset()) -> Clip:
    def clip(given: Gradients) -> Gradients:
        factor = _factor(_norm(g for name, g in given.items() if name not in left_out), limit, eps)
        return {n: g if g is None or n in left_out else factor * g for n, g in given.items()}

    return clip


def _each(given: Gradients, factor: Callable[[np.ndarray], float]) -> Gradients:
    return {name: None if g is None else factor(g) * g for name, g in given.items()}


def _largest(given: Gradients, limit: float) -> Callable[[np.ndarray], float]:
    largest = max((float(np.abs(g).max(initial=0.0)) for g in given.values() if g is not None), default=0.0)
    return lambda _: _factor(largest, limit)


def _factor(norm: float, limit: float, eps: float = _EPS) -> float:
    return min(1.0, limit / (norm + eps)) if norm + eps else 1.0


def _norm(gradients: Iterable[np.ndarray | None]) -> float:
    return float(np.sqrt(sum(float(np.vdot(g, g)) for g in gradients if g is not None)))


def _common_factor(raw: Gradients, seen: Gradients) -> float:
    pairs = [(g, seen[name]) for name, g in raw.items() if g is not None and g.any()]
    g, actual = max(pairs, key=lambda pair: float(np.abs(pair[0]).max()))
    at = int(np.argmax(np.abs(g)))
    return 0.0 if actual is None else float(actual.reshape(-1)[at] / g.reshape(-1)[at])


def _error(actual: Gradients, expected: Gradients) -> float:
    errors = [
        relative(a, e) if a is not None and e is not None else 0.0 if a is e else float("inf")
        for a, e in ((actual[name], expected[name]) for name in expected)
    ]
    return max(errors, default=0.0)
