"""Two samples of fresh parameters: were both drawn from one distribution?

All tests but two are linear rank statistics: the values of both sides are ranked together, and a score of the rank is
summed over each side. If both sides draw from one distribution, whatever it is, every way to deal the ranks out is
equally likely: the false-alarm rate rests on no assumption about that distribution. Both sides have equally many
values, so a statistic is symmetric, and as a mixture of sums of random signs its tails are bounded by a small multiple
of a normal's (Pinelis, 1994). The scores are Hermite polynomials of the normal quantile z of a rank: z for the mean
(van der Waerden), z² − 1 for σ (Klotz, 1962: as efficient as the F test where the values are normal),
z⁴ − 6z² + 3 for the kurtosis. Kolmogorov and Smirnov's test sees the shape; the run of outermost values that all come
from one side sees where a distribution ends; and sums along each axis see rows and columns that differ.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln, ndtri
from scipy.stats import chi2, ks_2samp, norm, rankdata

SAMPLE = 2**16  # values of one parameter and side that are ranked
POWER = 0.99
# Sums over builds scatter as those of independent values do; less likely than this, the values are not independent.
_DEPENDENT = 1e-5
_LEAST_P = 1e-300


@dataclass(frozen=True)
class Sample:
    """What one side drew: `values` (builds, n) of one parameter, and at `places` (axes, n) where they stand in it."""

    values: np.ndarray
    places: np.ndarray

    @cached_property
    def mean(self) -> float:
        return float(self.values.mean(dtype=np.float64))

    @cached_property
    def std(self) -> float:
        return float(self.values.std(dtype=np.float64))

    def at(self, axis: int, index: int) -> "Sample":
        """The values that stand at one index of an axis."""
        chosen = self.places[axis] == index
        return Sample(self.values[:, chosen], self.places[:, chosen])


def draw_sample(builds: Sequence[np.ndarray], left_out: np.ndarray) -> Sample:
    """The values of a parameter in several builds, thinned out evenly to `SAMPLE`; `left_out` is a mask of it."""
    shape = builds[0].shape
    flat = np.flatnonzero(~left_out)
    flat = flat[:: _step(flat.size * len(builds), shape)]
    places = np.unravel_index(flat, shape)
    return Sample(np.stack([build[places] for build in builds]), np.stack(places))


def _step(count: int, shape: tuple[int, ...]) -> int:
    """How far apart the values of a sample stand: prime to the last axis, so that it loses no index."""
    step = max(1, -(-count // SAMPLE))
    while math.gcd(step, shape[-1]) > 1:
        step += 1
    return step


def list_tests(axes: int) -> list[str]:
    """The tests that `two_sample` makes of a parameter with so many axes."""
    along = range(axes) if axes > 1 else ()
    return ["mean", "σ", "kurtosis", "shape", "tails", *(f"{what}, axis {a}" for a in along for what in ("mean", "σ"))]


def two_sample(expected: Sample, actual: Sample) -> dict[str, float]:
    """The p-value of every test of `list_tests`, two-sided.

    Where the values of one build depend on each other they are no independent draws: then means and deviations of
    whole builds are compared, and nothing else.
    """
    pooled = np.stack([expected.values, actual.values])  # (2, builds, n)
    z = _normal_scores(pooled)
    scores = {"mean": z, "σ": z * z - 1}
    if min(map(_scatter, scores.values())) < _DEPENDENT:
        return {"mean": _linear(_normal_scores(pooled.mean(-1))), "σ": _linear(_normal_scores(pooled.std(-1)))}
    p = {what: _linear(s) for what, s in scores.items()}
    p["kurtosis"] = _linear((z * z - 6) * z * z + 3)
    p["shape"] = float(ks_2samp(pooled[0].ravel(), pooled[1].ravel(), method="asymp").pvalue)
    p["tails"] = _run_of_extremes(pooled)
    if len(expected.places) > 1:
        p |= {f"{what}, axis {a}": _along(s, at) for a, at in enumerate(expected.places) for what, s in scores.items()}
    return p


def z_of(p: float) -> float:
    """The number of standard deviations that a normal exceeds, on either side, with probability `p`."""
    return float(norm.isf(max(p, _LEAST_P) / 2))


def smallest_ratio(count: int, limit: float) -> float:
    """The smallest ratio of two σ that is found in 99 of 100 runs, of `count` normal values a side; `limit` is in z.

    Klotz's statistic is normal with mean √count · log(ratio), as that of log σ itself.
    """
    return math.exp((limit + float(norm.ppf(POWER))) / math.sqrt(count))


def worst_index(expected: Sample, actual: Sample, what: str, axis: int) -> int:
    """The index of an axis where the "mean" or "σ" differ most."""
    z = _normal_scores(np.stack([expected.values, actual.values]))
    return int(np.argmax(np.abs(_index_z(z if what == "mean" else z * z - 1, expected.places[axis]))))


def _normal_scores(pooled: np.ndarray) -> np.ndarray:
    """The normal quantile of every value's rank; equal values share the mean of their ranks."""
    return ndtri((rankdata(pooled.ravel()) - 0.5) / pooled.size).reshape(pooled.shape)


def _linear(scores: np.ndarray) -> float:
    """p of the difference between both sides' sums of scores, were the scores dealt out at random."""
    variance = float(scores.var()) * scores.size**2 / (scores.size - 1)
    difference = float(scores[0].sum() - scores[1].sum())
    return 2 * float(norm.sf(abs(difference) / math.sqrt(variance))) if variance else 1.0


def _scatter(scores: np.ndarray) -> float:
    """p of the scatter of builds about the mean of their side, were all values independent."""
    sums = scores.sum(-1)
    squares = float(((sums - sums.mean(-1, keepdims=True)) ** 2).sum())
    variance = float(scores.var()) * scores.shape[-1]
    return float(chi2.sf(squares / variance, 2 * (scores.shape[1] - 1))) if variance else 1.0


def _run_of_extremes(pooled: np.ndarray) -> float:
    """p of so many values furthest from the middle that all come from one side."""
    distance = np.abs(pooled - np.median(pooled)).reshape(2, -1)
    run, n = int((distance > distance.max(-1).min()).sum()), distance.shape[-1]
    # The first `run` of 2n values, dealt to two sides, all go to one.
    return min(1.0, 2 * math.exp(gammaln(n + 1) - gammaln(n + 1 - run) - gammaln(2 * n + 1) + gammaln(2 * n + 1 - run)))


def _along(scores: np.ndarray, index: np.ndarray) -> float:
    """p of the differences at the indices of one axis: of their sum of squares, or of the largest alone."""
    z = _index_z(scores, index)
    used = len(np.unique(index))
    together = float(chi2.sf((z * z).sum(), used))
    largest = used * 2 * float(norm.sf(np.abs(z).max()))
    return min(1.0, 2 * min(together, largest))


def _index_z(scores: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The difference between both sides at every index, in standard deviations of dealing out the scores there."""
    one, other = (np.bincount(index, side.sum(0)) for side in scores)
    squares = np.bincount(index, (scores * scores).sum((0, 1)))
    count = np.maximum(np.bincount(index) * 2 * scores.shape[1], 2)
    variance = (squares - (one + other) ** 2 / count) * count / (count - 1)
    dealt = variance > 1e-12 * squares
    return np.where(dealt, (one - other) / np.sqrt(np.where(dealt, variance, 1.0)), 0.0)


def moments(sample: Sample) -> Mapping[str, float]:
    """Mean, standard deviation and kurtosis (3 for a normal) of a sample."""
    centred = (sample.values - sample.mean) / (sample.std or 1.0)
    return {"mean": sample.mean, "std": sample.std, "kurtosis": float((centred**4).mean(dtype=np.float64))}
