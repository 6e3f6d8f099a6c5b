"""Another recorded tensor where the expected one was due: as it stands, a part of it, or a summary."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from align.edges import is_input
from align.explain.arrange import gathered, moved
from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import show

_SUMMARIES: Mapping[str, Callable[..., np.ndarray]] = {
    "the mean": np.mean,
    "the largest": np.max,
    "the smallest": np.min,
    "the sum": np.sum,
}


def _passed(evidence: Evidence) -> str:
    return "passed on" if is_input(evidence.edge) else "returned"


def another(evidence: Evidence) -> Iterator[Candidate]:
    """Another recorded tensor as it stands: a skipped module, a residual from elsewhere, swapped outputs."""
    for name, value in evidence.at_hand.items():
        if value.shape == evidence.actual.shape and value.dtype.kind == evidence.actual.dtype.kind and value.size > 1:
            text = f"{evidence.name(name)} is {_passed(evidence)} as it is{_due(evidence, value)}"
            yield Candidate(text, value)


def _due(evidence: Evidence, value: np.ndarray) -> str:
    """What should have been done to this tensor: a module, or a factor."""
    for output, made in evidence.inside.items():
        given = evidence.inside.get(output.replace(":out", ":in0"), made)
        if ":out" in output and np.array_equal(made, evidence.expected) and np.array_equal(given, value):
            return f", not what {evidence.name(output).removeprefix('the output of ')} makes of it"
    expected = evidence.expected
    if expected.dtype.kind == "f" and expected.shape == value.shape:
        factor = float((expected * value).sum() / (value**2).sum())
        if np.isfinite(factor) and np.abs(factor * value - expected).max() <= 1e-10 * np.abs(expected).max():
            return f", not scaled by {show(factor)}"
    return ""


def parts(evidence: Evidence) -> Iterator[Candidate]:
    """One index, or the mean, largest, smallest or sum, along one axis of a recorded tensor."""
    actual = evidence.actual
    for name, recorded in evidence.at_hand.items():
        value = _unflattened(recorded, actual.shape)
        if value.ndim != actual.ndim + 1 or not actual.size:
            continue
        for axis in [a for a in range(value.ndim) if value.shape[:a] + value.shape[a + 1 :] == actual.shape]:
            what = "token" if axis == value.ndim - 2 else f"index of axis {axis}"
            due = [i for i in range(value.shape[axis]) if np.array_equal(value.take(i, axis), evidence.expected)]
            rest = f"of {evidence.name(name)} is {_passed(evidence)}" + (f" instead of {what} {due[0]}" if due else "")
            for index in _close(value, actual, axis):
                last = " (the last)" if index == value.shape[axis] - 1 else ""
                yield Candidate(f"{what} {index}{last} {rest}", value.take(index, axis))
            if value.dtype.kind == "f":
                over = "the tokens" if what == "token" else f"axis {axis}"
                for text, summary in _SUMMARIES.items():
                    yield Candidate(f"{text} over {over} {rest}", summary(value, axis=axis))
                yield from _mean_of_tokens(evidence, value, axis, rest)


def _unflattened(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """States (B·C, L, D) as (B, C, L, D), where one state for each of B × C texts is due."""
    if value.ndim == len(shape) == 3 and len(value) == shape[0] * shape[1]:
        return value.reshape(*shape[:2], *value.shape[1:])
    return value


def _close(value: np.ndarray, actual: np.ndarray, axis: int) -> list[int]:
    """The indices whose slices agree with `actual` in their first elements."""
    slices = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)[:, :16].astype(np.float64)
    wanted = actual.reshape(-1)[:16].astype(np.float64)
    near = (slices == wanted) | (np.abs(slices - wanted) <= 1e-9 * np.abs(wanted).max())
    return [int(i) for i in np.flatnonzero(near.all(1))]


def _mean_of_tokens(evidence: Evidence, value: np.ndarray, axis: int, rest: str) -> Iterator[Candidate]:
    mask = evidence.batch.get("attention_mask")
    if mask is not None and mask.shape == value.shape[: mask.ndim] and axis == mask.ndim - 1:
        weights = mask.reshape(mask.shape + (1,) * (value.ndim - mask.ndim)).astype(np.float64)
        counts = np.maximum(weights.sum(axis), 1.0)
        yield Candidate(f"the mean over the tokens that are not padding {rest}", (value * weights).sum(axis) / counts)


def reordered(evidence: Evidence) -> Iterator[Candidate]:
    """A recorded tensor with its elements or slices in another order: repeated, tiled, transposed, cut."""
    for name, value in evidence.at_hand.items():
        if value.dtype.kind == evidence.actual.dtype.kind:
            for text, predicted in [*moved(value, evidence.actual), *gathered(value, evidence.actual)]:
                right = [text for text, _ in [*moved(value, evidence.expected), *gathered(value, evidence.expected)]]
                instead = f"; right is {right[0]}" if right else ""
                yield Candidate(f"it is {evidence.name(name)}, {text}{instead}", predicted)


def times_known(evidence: Evidence) -> Iterator[Candidate]:
    """The expected value times a recorded tensor that has no business there."""
    expected = evidence.expected.astype(np.float64)
    if evidence.expected.dtype.kind != "f" or evidence.actual.shape != expected.shape:
        return
    for name, value in evidence.at_hand.items():
        factor = _broadcast(value, expected.shape)
        if factor is not None:
            yield Candidate(f"it is multiplied by {evidence.name(name)}", expected * factor)
            yield Candidate(f"it is multiplied by 1 − {evidence.name(name)}", expected * (1.0 - factor))


def _broadcast(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """`value` as it broadcasts to `shape`, by its last axes or, as a mask does, by its first."""
    forms = (value.shape, value.shape + (1,) * (len(shape) - value.ndim)) if value.ndim else ()
    for form in forms:
        padded = (1,) * (len(shape) - len(form)) + form
        if len(padded) == len(shape) and all(a in (1, b) for a, b in zip(padded, shape, strict=True)):
            return value.reshape(form).astype(np.float64)
    return None
