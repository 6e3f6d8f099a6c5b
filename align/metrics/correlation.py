"""Scores of predicted numbers: Pearson's and Spearman's correlation, and GLUE STS-B's mean of both."""

import warnings
from collections.abc import Iterable

import numpy as np
from scipy.stats import NearConstantInputWarning, pearsonr, rankdata, spearmanr

from align.metrics.metric import Arrays, Metric


class CorrelationMetric(Metric):
    """Numbers against numbers. Where an example has several, each counts as an example.

    Logits (B, 1) or (B, C), labels (B,) or (B, C).
    """

    def examples(self, outputs: Arrays, batch: Arrays) -> dict[str, np.ndarray]:
        return {"prediction": outputs["logits"].reshape(-1), "label": batch["labels"].astype(np.float64).reshape(-1)}

    def scores(self, examples: Arrays) -> dict[str, float]:
        return correlations(examples["label"], examples["prediction"].astype(np.float64))

    def margins(self, outputs: Arrays, batch: Arrays) -> np.ndarray:
        return _gaps(outputs["logits"].reshape(-1))

    def decisions(self, run: Iterable[tuple[Arrays, Arrays]]) -> tuple[np.ndarray, np.ndarray]:
        """The rank of each number among all, and how far it stands from the next."""
        numbers = np.concatenate([outputs["logits"].reshape(-1) for outputs, _ in run])
        return rankdata(numbers), _gaps(numbers)


def _gaps(numbers: np.ndarray) -> np.ndarray:
    """(N,) the distance of each number from the nearest of the others."""
    order = np.argsort(numbers)
    steps = np.concatenate([[np.inf], np.diff(numbers[order]), [np.inf]])
    gaps = np.empty(len(numbers))
    gaps[order] = np.minimum(steps[:-1], steps[1:])
    return gaps


def correlations(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Pearson's r, Spearman's ρ (of mean ranks, so that ties share one) and the mean of both.

    0 where there are fewer than two numbers or all labels or all predictions are equal: undefined, and of no use.
    """
    if len(labels) < 2 or np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        pearson = spearman = 0.0
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NearConstantInputWarning)
            pearson = float(pearsonr(labels, predictions).statistic)
        spearman = float(spearmanr(labels, predictions).statistic)
    return {"pearson": pearson, "spearman": spearman, "pearson_spearman": (pearson + spearman) / 2}
