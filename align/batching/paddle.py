"""Batches by Paddle's DataLoader."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # paddle's import warns about compilers it does not need here
    import paddle
    from paddle.io import DataLoader

Collate = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, np.ndarray]]


def load(
    examples: Sequence[Mapping[str, Any]], batches: Sequence[Sequence[int]], collate: Collate
) -> Iterator[dict[str, paddle.Tensor]]:
    """The examples of each list of indices as one batch of tensors."""
    yield from DataLoader(examples, batch_sampler=batches, collate_fn=collate)  # type: ignore[arg-type]


def native_order(count: int, seed: int) -> list[int]:
    """The order in which Paddle itself would shuffle; it follows NumPy's global generator, not `paddle.seed`."""
    before = np.random.get_state()
    try:
        paddle.seed(seed)
        np.random.seed(seed)
        return [int(batch[0]) for batch in DataLoader(list(range(count)), batch_size=1, shuffle=True)]  # type: ignore[arg-type]
    finally:
        np.random.set_state(before)


def native_dtype() -> str:
    """The dtype that Paddle's own collate function makes of Python's floats."""
    return str(next(iter(DataLoader([(0.5,)], batch_size=1)))[0].dtype).rpartition(".")[2]  # type: ignore[arg-type]
