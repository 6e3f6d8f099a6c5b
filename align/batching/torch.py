"""Batches by torch's DataLoader."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

Collate = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, np.ndarray]]


def load(
    examples: Sequence[Mapping[str, Any]], batches: Sequence[Sequence[int]], collate: Collate
) -> Iterator[dict[str, torch.Tensor]]:
    """The examples of each list of indices as one batch of tensors."""

    def tensors(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in collate(rows).items()}

    yield from DataLoader(examples, batch_sampler=batches, collate_fn=tensors)  # type: ignore[arg-type]


def native_order(count: int, seed: int) -> list[int]:
    """The order in which torch itself would shuffle."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [int(batch[0]) for batch in DataLoader(range(count), batch_size=1, shuffle=True)]  # type: ignore[arg-type]


def native_dtype() -> str:
    """The dtype that torch's own collate function makes of Python's floats."""
    return str(next(iter(DataLoader([0.5], batch_size=1))).dtype).removeprefix("torch.")  # type: ignore[arg-type]
