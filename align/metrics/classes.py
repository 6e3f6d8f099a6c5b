"""Scores of predicted classes: accuracy, F1 in its several meanings, and the Matthews correlation."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_recall_fscore_support

from align.metrics.metric import IGNORED, Arrays, Metric, first_largest, lead


class ClassMetric(Metric):
    """One class for each label that is not −100: of an example, a choice or a token.

    Logits (…, C) and labels (…), under the names `logits` and `labels`. Of equal logits the first class is predicted.
    """

    def __init__(self, classes: int, logits: str = "logits", labels: str = "labels") -> None:
        super().__init__()
        self._classes, self._logits, self._labels = classes, logits, labels

    def examples(self, outputs: Arrays, batch: Arrays) -> dict[str, np.ndarray]:
        labels = batch[self._labels]
        kept = labels != IGNORED
        return {"prediction": first_largest(outputs[self._logits])[kept], "label": labels[kept]}

    def scores(self, examples: Arrays) -> dict[str, float]:
        return class_scores(examples["label"], examples["prediction"], binary=self._classes == 2)

    def margins(self, outputs: Arrays, batch: Arrays) -> np.ndarray:
        return lead(outputs[self._logits])[batch[self._labels] != IGNORED]


class ChoiceMetric(ClassMetric):
    """The share of questions whose right choice has the largest logit; choices are no classes, so nothing else."""

    def scores(self, examples: Arrays) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(examples["label"], examples["prediction"]))}


def class_scores(labels: np.ndarray, predictions: np.ndarray, binary: bool) -> dict[str, float]:
    """All scores of N labels and predictions, between 0 and 1 (Matthews: −1 and 1).

    There are two macro F1 in use, and they differ by up to half (Opitz & Burst, 2019: "Macro F1 and Macro F1"):
    "f1_macro" is the mean of each class's F1, "f1_of_means" the F1 of the mean precision and the mean recall. Both
    mean over the classes that occur among labels or predictions; a precision or recall without a case counts as 0.
    "f1_micro" counts over all classes together. With `binary`, "f1" is that of class 1.
    """
    precision, recall, _, _ = precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)
    scores = {
        "accuracy": float(accuracy_score(labels, predictions)),
        "f1_micro": float(f1_score(labels, predictions, average="micro", zero_division=0)),
        "f1_macro": float(f1_score(labels, predictions, average="macro", zero_division=0)),
        "f1_of_means": harmonic_mean(float(precision), float(recall)),
        "matthews": matthews(labels, predictions),
    }
    return scores | ({"f1": binary_scores(labels, predictions)["f1"]} if binary else {})


def binary_scores(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Accuracy, and precision, recall and F1 of class 1; a precision or recall without a case is 0."""
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels == 1, predictions == 1, average="binary", zero_division=0
    )
    accuracy = float(accuracy_score(labels, predictions))
    return {"accuracy": accuracy, "precision": float(precision), "recall": float(recall), "f1": float(f1)}


def matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    """The Matthews correlation of two classes, and its generalisation to several (Gorodkin, 2004).

    0 where labels or predictions are all of one class: the quotient is undefined then, and nothing is correlated.
    """
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return float(matthews_corrcoef(labels, predictions))


def harmonic_mean(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
