"""The numbers of one comparison: what is never repaired, what NaN does, what counts as float32."""

import math

import numpy as np
import pytest

from align.difference import MASKED, Difference, difference, masked_below
from align.verdict import edge_verdict, limit_of

RAMP = np.linspace(-1.0, 2.0, 6).reshape(2, 3)


def verdict(expected, actual, noise=0.0):
    found = difference(expected, actual)
    return edge_verdict("a:out", "default", found, noise, limit_of(noise, found.scale), "<root>")


def test_the_numbers():
    actual = RAMP.copy()
    actual[1, 2] += 0.5
    actual[0, 0] -= 0.25
    found = difference(RAMP, actual)
    assert (found.max_abs, found.worst_at, found.scale) == (0.5, (1, 2), 2.0)
    assert found.mean_abs == pytest.approx(0.75 / 6)
    assert found.rms == pytest.approx(math.sqrt((0.25 + 0.0625) / 6))
    assert found.max_ulp == 0.5 / np.spacing(2.0)


def test_differences_of_opposite_sign_do_not_cancel():
    assert difference(np.zeros(2), np.array([1e-3, -1e-3])).mean_abs == pytest.approx(1e-3)


@pytest.mark.parametrize("other", [RAMP.T, RAMP[:1], RAMP[None], RAMP.reshape(-1)], ids=["T", "row", "axis", "flat"])
def test_shapes_are_never_broadcast_or_transposed(other):
    found = difference(RAMP, other)
    assert found.status == "shape"
    assert str(RAMP.shape) in found.detail
    assert not verdict(RAMP, other).passed


@pytest.mark.parametrize("actual", [RAMP > 0, RAMP.astype(np.int64)], ids=["bool", "int"])
def test_kinds_of_dtype_are_never_cast(actual):
    assert difference(RAMP, actual).status == "dtype"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["expected", "actual", "opposite"])
def test_a_value_finite_on_one_side_only_fails(bad, side):
    expected, actual = RAMP.copy(), RAMP.copy()
    if side != "actual":
        expected[1, 0] = bad
    if side != "expected":
        actual[1, 0] = -bad if side == "opposite" and not math.isnan(bad) else bad
    if side == "opposite" and math.isnan(bad):
        actual[1, 0] = math.inf
    found = difference(expected, actual)
    assert found.status == "nonfinite"
    assert found.worst_at == (1, 0)
    assert not verdict(expected, actual).passed


def test_the_same_infinity_in_the_same_place_agrees():
    expected = RAMP.copy()
    expected[0, 1] = -math.inf
    assert verdict(expected, expected.copy()).passed
    assert difference(expected, expected.copy()).scale == 2.0


def test_a_nan_ratio_never_passes():
    found = Difference("ok", (1,), "float64", max_abs=math.nan, scale=1.0)
    assert not edge_verdict("a:out", "default", found, 0.0, 1e-12, "<root>").passed


def test_an_infinite_or_undefined_noise_floor_does_not_excuse_a_nan():
    expected, actual = RAMP, RAMP * math.nan
    assert not verdict(expected, actual, noise=math.inf).passed


def test_where_there_is_no_limit_nothing_passes():
    assert not verdict(RAMP, RAMP, noise=math.inf).passed
    assert not verdict(RAMP, RAMP, noise=math.nan).passed


def test_integers_must_be_equal():
    ids = np.arange(6).reshape(2, 3)
    wrong = ids.copy()
    wrong[1, 1] = 0
    assert difference(ids, ids.astype(np.int32)).max_abs == 0
    assert difference(ids, wrong).worst_at == (1, 1)


def test_large_integers_are_compared_exactly():
    ids = np.array([2**53, 2**60])
    assert difference(ids, ids + 1).max_abs == 1


def test_empty_arrays_agree_and_scalars_work():
    assert difference(np.empty((0, 3)), np.empty((0, 3))).max_abs == 0
    assert difference(np.array(1.0), np.array(1.5)).worst_at == ()


def test_narrow_means_float32_values_where_the_expected_are_not():
    exact = np.array([0.1, 0.2, 0.3])
    assert difference(exact, exact.astype(np.float32).astype(np.float64)).narrow
    assert not difference(exact.astype(np.float32).astype(np.float64), exact).narrow
    assert not difference(exact, exact).narrow


@pytest.mark.parametrize("mask", [-1e9, np.finfo(np.float32).min, -math.inf])
@pytest.mark.parametrize("size", [1.0, 3e3, 2e4])
def test_masked_scores_are_told_from_scores_of_any_size(size, mask):
    scores = RAMP * size
    scores[:, 1] = mask
    assert masked_below(scores) is not None
    other, wrong = np.where(scores == mask, -1e30, scores), scores.copy()
    wrong[1, 2] += 1e-6 * size
    found = difference(scores, wrong, masked=True)
    assert (found.max_abs, found.scale) == (pytest.approx(1e-6 * size), 2 * size)
    assert difference(scores, other, masked=True).max_abs == 0.0
    assert difference(scores, scores + 2 * size, masked=True).max_abs == pytest.approx(2 * size)
    other[0, 1] = -size  # no further than the lowest score: a lost mask
    assert not difference(scores, other, masked=True).max_abs <= 1e8


@pytest.mark.parametrize(
    "values",
    [[-9e3, 2e3], [-1e6, 3e3], [-1e9, 1e7, 5.0], [-math.inf, math.inf], [-1e3, 5.0], [math.nan], [-8e6, -8.1e6]],
)
def test_large_values_are_no_masked_ones(values):
    assert masked_below(np.array(values)) is None


def test_a_score_beside_masked_ones_need_not_be_there():
    assert masked_below(np.full(3, -1e30)) == masked_below(np.array([-1e4, 1125.0])) == MASKED


def test_the_limit_is_the_larger_of_noise_and_relative():
    assert limit_of(0.0, 1.0) == 1e-12
    assert limit_of(1e-10, 1.0) == pytest.approx(64e-10, rel=1e-5)
    assert limit_of(0.0, 1.0, "float32") == 32 * 2.0**-24


def test_a_difference_survives_the_pipe():
    found = difference(RAMP, RAMP + 1e-9)
    assert Difference.from_json(found.as_json()) == found


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (np.array([0]), np.array([np.iinfo(np.int64).min])),
        (np.array([2**53]), np.array([2**53 + 1])),
        (np.array([0], np.uint64), np.array([2**63], np.uint64)),
        (np.array([-1]), np.array([2**64 - 1], np.uint64)),
    ],
)
def test_integers_too_large_to_subtract_differ(expected, actual):
    assert difference(expected, actual).max_abs >= 1
    assert difference(actual, expected).max_abs >= 1
    assert difference(actual, actual).max_abs == 0
