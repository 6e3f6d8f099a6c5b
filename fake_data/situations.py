"""Label situations in which losses are known to part: everything ignored, a single class."""

from collections.abc import Mapping

import numpy as np

from fake_data.fields import IGNORED
from fake_data.spec import find_spec


def label_situations(model: str, task: str, batch: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Variants of a batch with the same inputs: name → batch. None for a task whose labels cannot be ignored.

    "all ignored" has −100 everywhere; in "one class" every label that is not ignored has the same value.
    """
    fields = [field.name for field in find_spec(model).task(task).all_fields if field.ignorable]
    labels = {name: batch[name] for name in fields if name in batch and batch[name].dtype.kind == "i"}
    if not labels:
        return {}
    return {
        "all ignored": {**batch, **{name: np.full_like(value, IGNORED) for name, value in labels.items()}},
        "one class": {**batch, **{name: _one_class(value) for name, value in labels.items()}},
    }


def _one_class(labels: np.ndarray) -> np.ndarray:
    kept = labels != IGNORED
    return np.where(kept, labels[kept].min(), IGNORED) if kept.any() else labels
