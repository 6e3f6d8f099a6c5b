"""Names for distributions: the right one, or none."""

import numpy as np
import pytest

from align.initialisers import recognise

OUT, IN = 50, 80
SHAPE = (40, OUT, IN)


def cut_normal(random, shape, k):
    values = random.standard_normal(shape)
    while (beyond := np.abs(values) > k).any():
        values[beyond] = random.standard_normal(int(beyond.sum()))
    return values


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda r: r.normal(0, 0.02, SHAPE), "normal, σ 0.02"),
        (lambda r: r.normal(1, 0.02, SHAPE), "normal, mean 1, σ 0.02"),
        (lambda r: r.normal(0, (2 / (IN + OUT)) ** 0.5, SHAPE), "normal, σ 0.124 (Xavier)"),
        (lambda r: r.normal(0, (2 / IN) ** 0.5, SHAPE), "normal, σ 0.158 (Kaiming by fan_in)"),
        (lambda r: r.normal(0, (2 / OUT) ** 0.5, SHAPE), "normal, σ 0.2 (Kaiming by fan_out)"),
        (lambda r: r.uniform(-(IN**-0.5), IN**-0.5, SHAPE), "uniform ±0.112 (1/√fan_in)"),
        (lambda r: r.uniform(-(OUT**-0.5), OUT**-0.5, SHAPE), "uniform ±0.141 (1/√fan_out)"),
        (lambda r: r.uniform(0, 0.1, SHAPE), "uniform from 0 to 0.1"),
        (lambda r: 0.02 * cut_normal(r, SHAPE, 2), "normal, σ 0.02, cut at ±2σ"),
        (lambda r: 0.02 * cut_normal(r, SHAPE, 3), "normal, σ 0.02, cut at ±3σ"),
    ],
)
def test_what_is_recognised(draw, text):
    found = recognise(draw(np.random.default_rng(0)).astype(np.float32), SHAPE[1:])
    assert found is not None
    assert found.text == text


@pytest.mark.parametrize(
    "draw",
    [
        lambda r: r.standard_t(3, SHAPE),
        lambda r: r.standard_normal(SHAPE) * np.where(np.arange(OUT) < 10, 3, 1)[:, None],
        lambda r: r.standard_normal((10, 10)),  # too few to tell
        lambda r: np.ones(SHAPE),
    ],
)
def test_what_is_not(draw):
    assert recognise(draw(np.random.default_rng(0)), SHAPE[1:]) is None


@pytest.mark.parametrize("family", ["normal", "uniform", "normal cut at 2.0σ"])
def test_no_family_is_taken_for_another(family):
    random, shape = np.random.default_rng(1), (20_000,)
    draw = {"normal": random.standard_normal, "uniform": random.random}.get(family, lambda s: cut_normal(random, s, 2))
    families = {found.family if (found := recognise(draw(shape), shape)) else None for _ in range(100)}
    assert families <= {family, None}
