"""The training loop. It knows no framework: an `Engine` does what needs one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align.engines import Engine


@dataclass(frozen=True)
class Micro:
    """What one forward and backward pass takes: a batch, and its share of the update's loss.

    The shares of an update sum to 1. They weigh the batches' mean losses, so that unequal batches count by their rows
    (or tokens) as they would in one pass.
    """

    batch: Mapping[str, np.ndarray]
    share: float = 1.0


@dataclass(frozen=True)
class Iteration:
    """One update: its number from 0 on, the loss before it, the norm of all gradients before clipping, and the base
    learning rate.
    """

    number: int
    loss: float
    gradient_norm: float
    learning_rate: float


def train(
    engine: Engine,
    loss: Callable[[Mapping[str, np.ndarray]], Any],
    updates: Iterable[Sequence[Micro]],
    schedule: Callable[[int], float],
    *,
    first: int = 0,
    gathered: Callable[[int], None] = lambda _: None,
) -> Iterator[Iteration]:
    """Train until `updates` ends, and yield each iteration after its update.

    `loss` runs the model on a batch and returns the scalar loss tensor; `schedule` gives the learning rate of an
    update by its number, which starts from `first` when training is resumed. `gathered` is told the number of each
    update whose gradients are complete, before they are clipped.
    """
    for number, micros in enumerate(updates, first):
        total = 0.0
        for micro in micros:
            value = loss(micro.batch)
            engine.accumulate(value, micro.share)
            total += micro.share * float(value.detach())
        gathered(number)
        norm = engine.clip()
        rate = schedule(number)
        engine.step(rate)
        engine.clear()
        yield Iteration(number, total, norm, rate)
