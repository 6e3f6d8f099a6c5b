"""Why a gradient is wrong."""

import re

import numpy as np
import pytest

from align.explain.gradients import explain_gradient

RNG = np.random.default_rng(0)
OWN, SHARED, OTHER = (RNG.standard_normal((9, 6)) for _ in range(3))
GRADIENT = OWN + SHARED
PARTS = {"the decoder": SHARED, "the embedding": OWN, "key.weight": OTHER}


def without_row(gradient, row):
    return np.where(np.arange(len(gradient))[:, None] == row, 0.0, gradient)


@pytest.mark.parametrize(
    ("actual", "pattern"),
    [
        (None, "^no gradient arrives: the path is detached$"),
        (0 * GRADIENT, "^no gradient arrives: the path is detached$"),
        (OWN, "^it lacks the part of the decoder$"),
        (GRADIENT + SHARED, "^it has the part of the decoder twice$"),
        (OTHER, "^it is the gradient of key.weight$"),
        (GRADIENT - OTHER, "^it lacks the part of key.weight$"),
        (-GRADIENT, "^it has the opposite sign$"),
        (GRADIENT / 9, "^it is scaled by 0.1111 = 1/9$"),
        (GRADIENT * 50, "^it is scaled by 50$"),
        (GRADIENT * 1.2345678, "^it is scaled by 1.235$"),
        (without_row(GRADIENT, 3), "^nothing arrives at row 3 .padding_idx.$"),
        (GRADIENT + SHARED - without_row(SHARED, 3), "^the part of the decoder arrives at row 3, where torch stops it"),
        (GRADIENT - OWN + without_row(OWN, 3), "^the part of the embedding does not arrive at row 3 .padding_idx.$"),
        (GRADIENT[::-1], "in another order: reversed along axis 0$"),
        (np.clip(GRADIENT, -0.5, 0.5), "^each element is cut off at 0.5$"),
        (GRADIENT + 0.25 * SHARED, "^it has the part of the decoder 1.25 times instead of once$"),
    ],
)
def test_the_cause_is_named(actual, pattern):
    found = explain_gradient(GRADIENT, actual, PARTS)
    assert found is not None
    assert re.search(pattern, found.text), found.text


def test_a_gradient_where_none_should_be():
    assert "none should" in explain_gradient(0 * GRADIENT, GRADIENT, {}).text


def test_noise_and_two_causes_at_once_are_unexplained():
    assert explain_gradient(GRADIENT, GRADIENT + 1e-6 * OTHER, {"the decoder": SHARED}) is None
    assert explain_gradient(GRADIENT, without_row(2 * GRADIENT, 3), PARTS) is None
    assert explain_gradient(GRADIENT, without_row(OWN + 1e-3 * OTHER, 3), PARTS) is None


def test_nothing_to_explain():
    assert explain_gradient(GRADIENT, GRADIENT, PARTS) is None
    assert explain_gradient(GRADIENT, GRADIENT * (1 + 1e-15), PARTS, limit=1e-12) is None


def test_a_gradient_that_torch_stops_at_the_padding_row():
    expected = np.random.default_rng(0).standard_normal((7, 5))
    expected[2] = 0
    actual = expected.copy()
    actual[2] = 0.3
    found = explain_gradient(expected, actual, {})
    assert found.text == "a gradient arrives at row 2, where torch stops it (padding_idx)"
