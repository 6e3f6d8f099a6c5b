"""Scores of pre-training: the words that a masked language model restores, the tokens that a discriminator doubts."""

import numpy as np
from scipy.special import log_softmax

from align.metrics.classes import binary_scores
from align.metrics.metric import IGNORED, Arrays, Metric, first_largest, lead


class WordMetric(Metric):
    """Accuracy and perplexity, exp of the mean −log p(label), over the labels that are not −100.

    Logits (B, L, V) under the name `logits`, labels (B, L).
    """

    def __init__(self, logits: str = "logits") -> None:
        super().__init__()
        self._logits = logits

    def examples(self, outputs: Arrays, batch: Arrays) -> dict[str, np.ndarray]:
        kept = batch["labels"] != IGNORED
        logits, labels = outputs[self._logits][kept].astype(np.float64), batch["labels"][kept]  # (N, V), (N,)
        loss = -np.take_along_axis(log_softmax(logits, axis=-1), labels[:, None], -1)[:, 0]
        return {"prediction": first_largest(logits), "label": labels, "loss": loss}

    def scores(self, examples: Arrays) -> dict[str, float]:
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(examples["loss"].mean()))
        return {"accuracy": float((examples["prediction"] == examples["label"]).mean()), "perplexity": perplexity}

    def margins(self, outputs: Arrays, batch: Arrays) -> np.ndarray:
        return lead(outputs[self._logits][batch["labels"] != IGNORED])


class ReplacedTokenMetric(Metric):
    """Accuracy, and precision, recall and F1 of "replaced" (1), over attended tokens whose label is not −100.

    Logits (B, L), labels (B, L). A logit above 0 says "replaced", 0 itself does not. With `sampled` the labels are
    what the model found out by sampling, under "replaced_labels" of its outputs.
    """

    def __init__(self, sampled: bool = False) -> None:
        super().__init__()
        self._sampled = sampled

    def examples(self, outputs: Arrays, batch: Arrays) -> dict[str, np.ndarray]:
        labels, kept = self._labels(outputs, batch)
        return {"prediction": (outputs["logits"] > 0)[kept].astype(np.int64), "label": labels[kept]}

    def scores(self, examples: Arrays) -> dict[str, float]:
        return binary_scores(examples["label"], examples["prediction"])

    def margins(self, outputs: Arrays, batch: Arrays) -> np.ndarray:
        return np.abs(outputs["logits"])[self._labels(outputs, batch)[1]]

    def _labels(self, outputs: Arrays, batch: Arrays) -> tuple[np.ndarray, np.ndarray]:
        """The labels, and where they count."""
        labels = outputs["replaced_labels"] if self._sampled else batch["labels"]
        return labels, (labels != IGNORED) & (batch["attention_mask"] == 1)
