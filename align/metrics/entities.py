"""Scores of named entities: whole spans of BIO tags, as the CoNLL shared tasks count them."""

from collections.abc import Sequence

import numpy as np
from seqeval.metrics import f1_score, precision_score, recall_score

from align.metrics.metric import IGNORED, Arrays, Metric, first_largest, lead


class EntityMetric(Metric):
    """Precision, recall and F1 of entities; one is right if its type, its first and its last token are.

    Logits (B, L, C), labels (B, L); tokens with label −100 (padding, the later pieces of a word) are taken out of the
    sentence before entities are read off. An I- tag that continues nothing begins an entity, as in CoNLL-2000.
    """

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        self._tags = np.array(tags)

    def examples(self, outputs: Arrays, batch: Arrays) -> dict[str, np.ndarray]:
        kept = batch["labels"] != IGNORED
        first = np.zeros_like(kept)
        first[np.arange(len(kept)), kept.argmax(1)] = True
        return {
            "prediction": first_largest(outputs["logits"])[kept],
            "label": batch["labels"][kept],
            "first": first[kept],  # of its sentence
        }

    def scores(self, examples: Arrays) -> dict[str, float]:
        starts = np.flatnonzero(examples["first"])[1:]
        labels, predictions = (
            [sentence.tolist() for sentence in np.split(self._tags[examples[name]], starts)]
            for name in ("label", "prediction")
        )
        found = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
        return {name: float(score(labels, predictions, zero_division=0)) for name, score in found.items()}

    def margins(self, outputs: Arrays, batch: Arrays) -> np.ndarray:
        return lead(outputs["logits"])[batch["labels"] != IGNORED]


def numbered_tags(classes: int) -> list[str]:
    """BIO tags for classes without names: O, B-1, I-1, B-2, I-2 …"""
    return ["O", *(f"{'BI'[(n - 1) % 2]}-{(n + 1) // 2}" for n in range(1, classes))]
