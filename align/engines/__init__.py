"""The engines: what a training loop asks of a framework, the same on both.

One loop drives either framework:

    engine = session.make_engine(preset("adamw"))
    for step in range(steps):
        for batch in micro_batches:
            engine.accumulate(loss(batch), 1 / len(micro_batches))
        norm = engine.clip()
        engine.step(schedule(spec.lr, step))
        engine.clear()

Parameters, gradients and state go by the model's dotted names and stand in the framework's own layout. An engine takes
the framework's native optimizer where that computes what `engines.spec` says, and our own where it deviates.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from align.engines.spec import OptimizerSpec

Arrays = Mapping[str, np.ndarray]


class Engine(Protocol):
    """The training half of one framework, on the parameters of one live model."""

    spec: OptimizerSpec

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Name to the framework's tensor, a tied tensor once."""

    def accumulate(self, loss: Any, share: float = 1.0) -> None:
        """Add the gradients of `share` times the scalar tensor `loss` to what has gathered."""

    def gradients(self) -> dict[str, np.ndarray | None]:
        """Copies of what has gathered; None where nothing came."""

    def set_gradients(self, gradients: Mapping[str, np.ndarray | None]) -> None:
        """Put gradients in the place of those of the named parameters; None for none at all, which is not zero."""

    def clip(self) -> float:
        """Multiply all gradients by min(1, c / (n + 1e-6)), n their global norm and c the specification's `clip_norm`,
        unless that is None; return n. PyTorch's formula: Paddle's ClipGradByGlobalNorm has c / max(n, c).
        """

    def step(self, lr: float) -> None:
        """One update of every parameter that has a gradient, with the base learning rate `lr`."""

    def learning_rates(self) -> dict[str, float]:
        """The learning rate of every parameter in the last update, read back from the framework's optimizer."""

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """Copies of the optimizer's state: parameter to state name (`step`, `exp_avg`, …: PyTorch's) to array.

        `step`, the number of the parameter's updates, is an integer. A parameter that has not been updated has none.
        """

    def load_state(self, state: Mapping[str, Arrays]) -> None:
        """Go on from a state that `state` gave. Parameters are found by name, and those without an entry begin anew.

        Raises:
            ValueError: there is no parameter of some name; all are listed.
        """

    def clear(self) -> None:
        """Leave no gradient at any parameter: None, not zeros, which would go on feeding momentum and decay."""


def check_names(state: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Raise ValueError with the names in `state` that no parameter has."""
    unknown = [name for name in state if name not in parameters]
    if unknown:
        raise ValueError(f"state of unknown parameters: {', '.join(unknown)}")
