"""What one optimizer did on one side, as `operations.optimizer.follow` recorded it, in the torch layout."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from align.engines.spec import OptimizerSpec, groups
from align.record import Record

Gradients = dict[str, np.ndarray | None]


@dataclass(frozen=True)
class Setting:
    """One optimizer's task: parameters, raw gradients of each update (record `inputs`), base learning rates.

    `names` are those that are compared, `trained` all that the optimizer has, both in order of definition.
    """

    spec: OptimizerSpec
    inputs: Record
    rates: Sequence[float]
    names: Sequence[str]
    trained: Sequence[str]

    def gradients(self, update: int) -> Gradients:
        return {name: self.inputs.get(f"{update}/gradient/{name}") for name in self.names}

    @cached_property
    def factors(self) -> dict[str, float]:
        """What multiplies the base learning rate of each parameter."""
        return {name: group.factor for group in groups(self.spec, self.trained) for name in group.names}

    @cached_property
    def decay(self) -> dict[str, float]:
        """The weight decay of each parameter."""
        return {name: group.weight_decay for group in groups(self.spec, self.trained) for name in group.names}


@dataclass(frozen=True)
class Trace:
    """What one side made of it."""

    record: Record
    norms: Sequence[float]
    rates: Sequence[Mapping[str, float]]

    def gradient(self, update: int, name: str) -> np.ndarray | None:
        """The clipped gradient."""
        return self.record.get(f"{update}/gradient/{name}")

    def parameter(self, update: int, name: str) -> np.ndarray | None:
        """The parameter after the update; None if this side has none of its shape."""
        return self.record.get(f"{update}/parameter/{name}")

    @cached_property
    def _states(self) -> dict[tuple[int, str], dict[str, Any]]:
        found: dict[tuple[int, str], dict[str, Any]] = {}
        for entry in self.record:
            update, kind, name = entry.split("/")
            state = found.setdefault((int(update), name), {})
            if kind not in ("gradient", "parameter"):
                state[kind] = self.record[entry]
        return found

    def state(self, update: int, name: str) -> dict[str, np.ndarray]:
        """The optimizer's state after the update, by common names; empty if there is none."""
        return self._states.get((update, name), {})


@dataclass(frozen=True, eq=False)
class Case:
    """One update of one parameter on one side: what it started from and what it left."""

    name: str
    before: np.ndarray
    state_before: Mapping[str, np.ndarray]
    gradient: np.ndarray | None
    lr: float
    decay: float
    after: np.ndarray
    state_after: Mapping[str, np.ndarray]


def cases(setting: Setting, reference: Trace, side: Trace) -> Iterator[Case]:
    """Every update of every parameter on one side, from the reference's parameters, state and clipped gradients."""
    for update in range(len(setting.rates)):
        for name in setting.names:
            before = reference.parameter(update - 1, name) if update else setting.inputs[f"parameter/{name}"]
            after = side.parameter(update, name)
            if before is not None and after is not None:
                yield Case(
                    name,
                    before,
                    reference.state(update - 1, name) if update else {},
                    reference.gradient(update, name),
                    side.rates[update][name],
                    setting.decay[name],
                    after,
                    side.state(update, name),
                )
