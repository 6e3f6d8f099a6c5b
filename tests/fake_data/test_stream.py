"""The streams: the same everywhere, and distributed as they say."""

import numpy as np
import pytest

from fake_data import stream
from fake_data.stream import Stream


def draw(name="x", seed=0, purpose="test"):
    return Stream(seed, purpose, name)


def test_words_are_pinned():
    assert draw().words(3).tolist() == [13614435374114757532, 11532130247355576683, 14274059699233572715]


@pytest.mark.parametrize("other", [{"name": "y"}, {"seed": 1}, {"seed": -1}, {"purpose": "tes"}])
def test_each_key_part_gives_another_stream(other):
    assert draw().words(4).tolist() != draw(**other).words(4).tolist()


def test_key_parts_cannot_run_into_each_other():
    assert Stream(0, "ab", "c").words(2).tolist() != Stream(0, "a", "bc").words(2).tolist()


def test_integers_stay_inside_and_reach_both_ends():
    values = draw().integers(999, 7)
    assert set(values.tolist()) == set(range(7))


@pytest.mark.parametrize(("count", "bound"), [(1, 9), (5, 12), (12, 12), (31, 12), (0, 3)])
def test_strata_ascend_and_cover(count, bound):
    values = draw().strata(count, bound).tolist()
    assert values == sorted(values)
    assert len(set(values)) == min(count, bound)
    assert all(0 <= value < bound for value in values)


def test_order_is_a_permutation():
    assert sorted(draw().order(50).tolist()) == list(range(50)) != draw().order(50).tolist()


def test_uniforms_are_open_exact_and_spread():
    values = draw().uniforms((300, 700))
    assert values.dtype == np.float32
    assert 0 < values.min() < 1e-4
    assert 1 - 1e-4 < values.max() < 1
    assert np.array_equal(values, np.round(values.astype(np.float64) * 2**24) / 2**24)
    assert abs(values.mean(dtype=np.float64) - 0.5) < 0.002


def test_the_extreme_words_give_uniforms_inside(monkeypatch):
    words = np.array([0, 2**64 - 1], np.uint64)
    monkeypatch.setattr(Stream, "words", lambda self, count: words)
    assert draw().uniforms((2,)).tolist() == [2.0**-24, 1 - 2.0**-24]


def test_normals_have_the_moments_asked_for():
    values = draw().normals((400, 500), mean=1.5, std=0.2).astype(np.float64)
    assert abs(values.mean() - 1.5) < 0.002
    assert abs(values.std() - 0.2) < 0.001
    assert 0.2 * 3 < np.abs(values - 1.5).max() < 0.2 * 3.4642
    inside = np.abs(values - 1.5) < 0.2
    assert abs(inside.mean() - 0.674) < 0.005  # normal: 0.683; four uniform lanes: 0.674


def test_blocks_do_not_show(monkeypatch):
    whole = draw().normals((1001,))
    monkeypatch.setattr(stream, "BLOCK", 64)
    assert np.array_equal(draw().normals((1001,)), whole)
