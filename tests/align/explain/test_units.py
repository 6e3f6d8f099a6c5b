"""What gated units do otherwise is named: gates, rotations by tables, scores of one head, the number of keys."""

import numpy as np
import pytest

from align.explain import explain
from align.explain.evidence import Evidence

RNG = np.random.default_rng(0)
B, L, E, S = 3, 5, 7, 6
A, Y, Q, K, X = (RNG.normal(size=shape) for shape in ((B, L, L), (B, L, 2 * E + S), *[(B, L, S)] * 3))
U, V = Y[..., :E], Y[..., E : 2 * E]
ANGLES = np.outer(np.arange(L), 10000.0 ** (-np.arange(S // 2) / (S // 2)))
SIN, COS = np.sin(ANGLES), np.cos(ANGLES)
TOKENS = np.array([[[1, 1, 1, 1, 1]], [[1, 1, 1, 0, 0]], [[0, 0, 0, 0, 0]]])
KEYS = TOKENS.sum(-1, keepdims=True).clip(1)
FACTOR = np.log(KEYS) / np.log(512)
MASK = (1.0 - TOKENS) * -1e30


def turned(p, q, sign=1):
    return np.stack([p * COS - sign * q * SIN, p * SIN + q * COS], -1).reshape(B, L, S)


GATED = {"a": A, "y": Y}
TURNED = {"x": X, "sin": SIN, "cos": COS}
SCORED = {"q": Q, "k": K, "f": FACTOR, "m": MASK}
PRODUCT = Q @ K.swapaxes(1, 2)
CASES = [
    (GATED, U * (A @ V), A @ V, "nothing is gated"),
    (GATED, U * (A @ V), A @ (U * V), "gated before they are mixed"),
    (GATED, U * (A @ V), V * (A @ U), "exchanged"),
    (TURNED, turned(X[..., ::2], X[..., 1::2]), turned(X[..., :3], X[..., 3:]), "the pairs that turn are halves"),
    (
        TURNED,
        turned(X[..., ::2], X[..., 1::2]),
        turned(X[..., ::2], X[..., 1::2], -1),
        "first of a turned pair has the",
    ),
    (SCORED, PRODUCT * FACTOR + MASK, PRODUCT + MASK, "not scaled"),
    (SCORED, PRODUCT * FACTOR + MASK, PRODUCT * FACTOR * FACTOR + MASK, "scaled twice"),
    (SCORED, PRODUCT * FACTOR + MASK, PRODUCT * FACTOR, "no mask is added"),
    ({"mask": TOKENS}, FACTOR / 8, np.log(np.full((B, 1, 1), L)) / np.log(512) / 8, "padding counts"),
]


@pytest.mark.parametrize(("tensors", "expected", "actual", "told"), CASES)
def test_what_is_done_otherwise_is_named(tensors, expected, actual, told):
    inputs = {f"unit:in{i}": tensor for i, tensor in enumerate(tensors.values())}
    evidence = Evidence("unit", "unit:out", expected, actual, inputs=inputs, masked=tensors is SCORED)
    found = explain(evidence)
    assert found is not None
    assert told in found.text
    assert (
        explain(Evidence("unit", "unit:out", expected, actual + RNG.normal(size=actual.shape), inputs=inputs)) is None
    )
