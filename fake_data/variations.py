"""Other batches that hold the same examples: with more padding, other ids under it, fewer rows or another order.

What a model returns for an example depends on none of this, or else the batch decides what an answer is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fake_data.fields import IGNORED, Field
from fake_data.spec import Config, find_spec

Batch = Mapping[str, np.ndarray]
_NOISE = 0.5  # what a float between 0 and its bound has at a pad


@dataclass(frozen=True)
class Axes:
    """What an array of a batch is laid out along ("batch", "choices", "length", …), and what it has at a pad."""

    names: tuple[str, ...]
    padding: float = 0


def axes_of(model: str, task: str, config: Config) -> dict[str, Axes]:
    """The axes of every array in a batch, labels too."""
    pad = config.get("pad_token_id") or 0
    fields = find_spec(model).task(task, config).all_fields
    return {field.name: Axes(field.axes, pad if field.name == "input_ids" else _padding(field)) for field in fields}


def _padding(field: Field) -> float:
    if field.dtype is np.float32:
        return _NOISE
    return IGNORED if field.ignorable else 0


def classes_are_positions(model: str, task: str, config: Config) -> bool:
    """Whether the task's loss is a softmax over positions, of which every pad is one more."""
    return any(field.bound == "length" for field in find_spec(model).task(task, config).all_fields)


def variable_by_design(model: str, config: Config) -> Mapping[str, str]:
    """The variations that do change what the architecture returns, each with the reason."""
    declared = find_spec(model).not_invariant
    return declared(config) if callable(declared) else declared


def longest(model: str, config: Config) -> int | None:
    """The longest row that the architecture has positions for; None where it has no bound."""
    limit = find_spec(model).length_limit
    return config[limit] if limit else None


def take_rows(batch: Batch, axes: Mapping[str, Axes], rows: Sequence[int]) -> dict[str, np.ndarray]:
    """The examples of these numbers, in this order."""
    return {name: _along(array, axes[name], "batch", rows) for name, array in batch.items()}


def _along(array: np.ndarray, axes: Axes, axis: str, index: Sequence[int]) -> np.ndarray:
    return array.take(index, axes.names.index(axis)) if axis in axes.names else array


def append_padding(batch: Batch, axes: Mapping[str, Axes], count: int) -> dict[str, np.ndarray]:
    """The same rows with so many pads behind them."""
    return {name: _longer(array, axes[name], count) for name, array in batch.items()}


def _longer(array: np.ndarray, axes: Axes, count: int) -> np.ndarray:
    widths = [(0, count if name == "length" else 0) for name in axes.names]
    return np.pad(array, widths, constant_values=array.dtype.type(axes.padding))


def change_padding(batch: Batch, ids: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """The same rows with other tokens where nothing is attended: those of `ids`, over and over, and the other type."""
    hidden = batch["attention_mask"] == 0
    changed = dict(batch)
    changed["input_ids"] = np.where(hidden, np.resize(ids, hidden.shape), batch["input_ids"])
    if "token_type_ids" in batch:
        types = batch["token_type_ids"]
        changed["token_type_ids"] = np.where(hidden, types.max(initial=0) - types, types)
    return changed
