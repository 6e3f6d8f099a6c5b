"""What every metric is: it collects the examples that count, batch by batch, and scores them all at once."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import numpy as np

from fake_data.fields import IGNORED

__all__ = ["IGNORED", "Arrays", "Metric", "first_largest", "lead"]

Arrays = Mapping[str, np.ndarray]


class Metric(ABC):
    """Scores of a model over any number of batches of any sizes.

    Only examples are kept between batches, never averages, so the scores do not depend on how the examples were dealt
    into batches.
    """

    def __init__(self) -> None:
        self._kept: list[dict[str, np.ndarray]] = []

    def update(self, outputs: Arrays, batch: Arrays) -> None:
        """Take what a model returned for one batch, and the batch with its labels."""
        self._kept.append(self.examples(outputs, batch))

    def compute(self) -> dict[str, float]:
        """The scores by name.

        Raises:
            ValueError: no batch had an example that counts.
        """
        examples = {name: np.concatenate([kept[name] for kept in self._kept]) for name in self._kept[0]}
        if not len(examples["prediction"]):
            raise ValueError(f"there is nothing to score: every label is {IGNORED}")
        return self.scores(examples)

    @abstractmethod
    def examples(self, outputs: Arrays, batch: Arrays) -> dict[str, np.ndarray]:
        """What counts in one batch: arrays with one row for each example, "prediction" among them."""

    @abstractmethod
    def scores(self, examples: Arrays) -> dict[str, float]:
        """The scores of examples from any number of batches."""

    @abstractmethod
    def margins(self, outputs: Arrays, batch: Arrays) -> np.ndarray:
        """How far the outputs of each example stand from another prediction, in their own unit."""

    def decisions(self, run: Iterable[tuple[Arrays, Arrays]]) -> tuple[np.ndarray, np.ndarray]:
        """What the scores of several batches rest on: each example's prediction, and its margin."""
        run = list(run)
        predictions = [self.examples(outputs, batch)["prediction"] for outputs, batch in run]
        return np.concatenate(predictions), np.concatenate([self.margins(*pair) for pair in run])


def first_largest(logits: np.ndarray) -> np.ndarray:
    """(…, C) → (…): the class with the largest logit, of equals the first."""
    return logits.argmax(-1)


def lead(logits: np.ndarray) -> np.ndarray:
    """(…, C) → (…): by how much the largest logit leads the second; infinity where there is only one."""
    if logits.shape[-1] == 1:
        return np.full(logits.shape[:-1], np.inf)
    two = np.partition(logits, -2, axis=-1)[..., -2:]
    return two[..., 1] - two[..., 0]
