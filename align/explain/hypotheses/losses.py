"""Losses: cross-entropy, binary cross-entropy and squared error, and how they are averaged."""

from collections.abc import Iterator, Mapping

import numpy as np
from scipy.special import expit, log_softmax, logsumexp

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.numbers import recognise, show

_IGNORED = -100
_MATCH = 1e-10
_CLAMP = 64.0  # Paddle's kernels cut a loss off there


def losses(evidence: Evidence) -> Iterator[Candidate]:
    """Another loss, or another mean of the same one. A single number is explained by numbers with names only."""
    if evidence.expected.ndim or evidence.actual.ndim or evidence.expected.dtype.kind != "f":
        return
    expected, actual = float(evidence.expected), float(evidence.actual)
    if not (np.isfinite(expected) and np.isfinite(actual)):
        return
    for logits in evidence.floats.values():
        for labels in [v for v in evidence.at_hand.values() if v is not logits]:
            for kind, each, kept in _kinds(logits, labels):
                if each.size and abs(_mean(each, kept) - expected) <= _MATCH * abs(expected):
                    for text, value in _averages(each, kept, evidence):
                        yield Candidate(text, np.asarray(value))
                    for text, value in _others(kind, logits, labels, kept, actual):
                        yield Candidate(text, np.asarray(value))
            for text, value in _of_the_next(logits, labels, expected, evidence):
                yield Candidate(text, np.asarray(value))
    yield from _weights(evidence, expected, actual)


def _mean(each: np.ndarray, kept: np.ndarray) -> float:
    return float(np.where(kept, each, 0.0).sum() / max(int(kept.sum()), 1))


def _kinds(logits: np.ndarray, labels: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The losses of single positions that these tensors can be given to, and which positions count."""
    if labels.dtype.kind in "iu" and labels.shape == logits.shape[:-1] and logits.ndim:
        kept = labels != _IGNORED
        inside = np.where(kept, labels, 0)
        if inside.size and inside.min() >= 0 and inside.max() < logits.shape[-1]:
            yield "cross-entropy", _cross_entropy(logits, inside), kept
    if labels.shape == logits.shape and logits.ndim:
        kept = labels != _IGNORED
        yield "binary", np.logaddexp(0.0, logits) - logits * labels, kept
        yield "squared", (logits - labels) ** 2, np.ones(labels.shape, bool)


def _cross_entropy(logits: np.ndarray, labels: np.ndarray, axis: int = -1) -> np.ndarray:
    chosen = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return logsumexp(logits, axis=-1) - chosen


def _of_the_next(
    logits: np.ndarray, labels: np.ndarray, expected: float, evidence: Evidence
) -> Iterator[tuple[str, float]]:
    """What is made of a loss that compares the logits of each position with the label of the next."""
    plain = [(each, kept) for kind, each, kept in _kinds(logits, labels) if kind == "cross-entropy" and each.ndim > 1]
    for own, own_kept in plain:
        for _, each, kept in _kinds(logits[:, :-1], labels[:, 1:]):
            if each.size and abs(_mean(each, kept) - expected) <= _MATCH * abs(expected):
                text = "labels are not moved: the logits of each position are compared with its own label, not the next"
                yield text, _mean(own, own_kept)
                yield f"{text}, and the mean is over all {own.size}", float(np.where(own_kept, own, 0.0).mean())
                yield from _averages(each, kept, evidence)


def _averages(each: np.ndarray, kept: np.ndarray, evidence: Evidence) -> Iterator[tuple[str, float]]:
    """The same losses, summed or divided by another number."""
    total = float(np.where(kept, each, 0.0).sum())
    counts = _counts(each, kept, evidence)
    right = f"{int(kept.sum())} that count"
    for text, count in counts.items():
        if count and count != kept.sum():
            yield f"the mean is taken over {text} ({count}) instead of the {right}", total / count
    yield "the losses are summed, not averaged", total
    yield "ignored positions are counted too, with label 0", float(each.mean())
    if each.ndim > 1:
        rows = [_mean(e, k) for e, k in zip(each, kept, strict=True)]
        yield "it is the mean of the means of all rows", float(np.mean(rows))
        filled = [row for row, k in zip(rows, kept, strict=True) if k.any()]
        yield "it is the mean of the means of the rows that have labels", float(np.mean(filled)) if filled else 0.0
    mask = evidence.batch.get("attention_mask")
    if mask is not None and mask.shape == each.shape:
        yield "only tokens that are not padding count", _mean(each, kept & (mask == 1))
    yield f"each loss is cut off at {_CLAMP:g}", _mean(np.minimum(each, _CLAMP), kept)
    yield (
        f"each loss is cut off at {_CLAMP:g}, and the mean is over all {each.size} positions",
        float(np.where(kept, np.minimum(each, _CLAMP), 0.0).sum() / each.size),
    )
    yield "it is half as large", _mean(each, kept) / 2
    yield "its root is taken", float(np.sqrt(max(_mean(each, kept), 0.0)))


def _counts(each: np.ndarray, kept: np.ndarray, evidence: Evidence) -> Mapping[str, int]:
    counts = {"all positions": each.size, "the batch": len(each) if each.ndim else 1}
    mask = evidence.batch.get("attention_mask")
    return counts | ({"the tokens that are not padding": int(mask.sum())} if mask is not None else {})


def _others(
    kind: str, logits: np.ndarray, labels: np.ndarray, kept: np.ndarray, actual: float
) -> Iterator[tuple[str, float]]:
    """Another loss of single positions."""
    if kind == "squared":
        yield "the absolute error instead of the square", float(np.abs(logits - labels).mean())
        return
    nonzero = kept & (labels != 0)
    safe = np.where(kept, labels, 0)
    if kind == "binary":
        yield "the labels are inverted", _mean(np.logaddexp(0.0, logits) - logits * (1 - safe), kept)
        p = expit(logits)
        yield "the sigmoid is applied twice", _mean(np.logaddexp(0.0, p) - p * safe, kept)
        return
    right = _cross_entropy(logits, safe)
    yield "label 0 is ignored too", _mean(right, nonzero)
    probabilities = log_softmax(logits, axis=-1)
    yield "softmax is applied twice", _mean(_cross_entropy(np.exp(probabilities), safe), kept)
    for step, side in ((1, "before"), (-1, "after")) if labels.ndim > 1 else ():
        moved = np.roll(logits, step, 1)
        there = np.ones(labels.shape, bool)
        there[:, 0 if step == 1 else -1] = False
        text = f"labels are compared with the logits one position {side}"
        yield text, _mean(_cross_entropy(moved, safe), kept & there)
        yield f"{text}, around the end", _mean(_cross_entropy(moved, safe), kept)
        yield (
            f"labels are compared with the logits one position {side}, across rows",
            _mean(
                _cross_entropy(np.roll(logits.reshape(-1, logits.shape[-1]), step, 0), safe.reshape(-1)),
                kept.reshape(-1),
            ),
        )
    plain = _mean(right, kept)
    spread = np.where(kept, -probabilities.mean(-1), 0.0)
    for where, uniform in (
        ("", _mean(spread, kept)),
        (", spread over the ignored positions too", float(spread.mean())),
    ):
        smoothing = (actual - plain) / (uniform - plain) if uniform != plain else 0.0
        if 0 < smoothing < 1 and recognise(smoothing):
            meant = float(f"{smoothing:.4g}")
            yield f"label smoothing {meant:g}{where}", (1 - meant) * plain + meant * uniform


def _weights(evidence: Evidence, expected: float, actual: float) -> Iterator[Candidate]:
    """A sum of losses with another weight for one of them, or the same loss times a known number."""
    for name, value in evidence.floats.items():
        if value.ndim == 0 and float(value):
            more = (actual - expected) / float(value)
            if recognise(more):
                meant = float(f"{more:.6g}")
                word = "more" if meant > 0 else "less"
                text = f"{evidence.name(name)} is taken {show(abs(meant))} times {word} than it should be"
                yield Candidate(text, np.asarray(expected + meant * float(value)))
    if expected and recognise(actual / expected):
        meant = float(f"{actual / expected:.12g}")
        yield Candidate(f"it is scaled by {show(meant)}", np.asarray(meant * expected))
