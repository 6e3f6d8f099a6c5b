"""A backend that shows a foreign model to the harness under canonical names: those of the torch side.

Everything else is the framework's own backend. Edges that the other side lacks are left untapped, so that both sides
are cut into the same pieces.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from align.backends import Backend

WIDE = "float64"


@dataclass(frozen=True)
class Wiring:
    """How one side is seen: `modules` are canonical names by its own, `edges` the same for edges (None: every edge
    under its own name), and `constants` what its forward is given besides the batch.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    edges: Mapping[str, str] | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)


class Adapter:
    """`backend` as a foreign model needs it; what is not said here is the backend's."""

    def __init__(self, backend: Backend, wiring: Wiring = Wiring()) -> None:
        self.plain = backend
        self.wiring = wiring
        self.rounded: list[tuple[Any, str, float]] = []  # settings of the model's modules as they were
        self.own: Callable[[], Iterable[tuple[str, np.ndarray]]] = tuple  # the weights that the model came with
        self._wide = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def modules(self, model: Any) -> Iterator[tuple[str, Any]]:
        for name, module in self.plain.modules(model):
            yield self.wiring.modules.get(name, name), module

    def edge(self, name: str) -> str | None:
        return name if self.wiring.edges is None else self.wiring.edges.get(name)

    def default_dtype(self, dtype: str) -> str:
        self._wide = dtype == WIDE
        return self.plain.default_dtype(dtype)

    def forward(self, model: Any, batch: Mapping[str, np.ndarray]) -> Any:
        """Call the model; in float64 without float32 inside."""
        with self.plain.widened() if self._wide else nullcontext():
            return self.plain.forward(_Called(model, self.wiring.constants), batch)


class _Called:
    """A model that is given some words with every call."""

    def __init__(self, model: Any, constants: Mapping[str, Any]) -> None:
        self._model, self._constants = model, dict(constants)

    def __call__(self, **arrays: Any) -> Any:
        return self._model(**arrays, **self._constants)
