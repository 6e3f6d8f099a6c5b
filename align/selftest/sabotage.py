"""Putting a bug into one side at run time.

A `Mutation` changes the session of one side after it has built its model. What it may do is written here in terms of
both frameworks: give a module another forward or other attributes, change weights on their way in. Nothing outside of
the session may be touched: other sessions of the process stand beside it.
"""

import copy
import functools
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from align.selftest.memory import Memory, RememberingClient
from align.selftest.mutation import Mutation
from align.session import Session

Weights = dict[str, np.ndarray]


class PlaceError(Exception):
    """The model has no place for this bug."""


class SabotagedSession(Session):
    """A session whose model is never built without the bug in it."""

    def __init__(self, framework: str, mutation: Mutation) -> None:
        super().__init__(framework)
        self._mutation = mutation
        self.backend = copy.copy(self.backend)  # which others share

    def build(self, model: str, task_class: str, config: Mapping[str, Any]) -> dict[str, Any]:
        self._restore()
        description = super().build(model, task_class, config)
        self._mutation.apply(self)
        return description | self._describe()

    def _restore(self) -> None:
        for name in [name for name in vars(self) if callable(getattr(Session, name, None))]:
            delattr(self, name)


class SabotagedClient(RememberingClient):
    """One side of a case with one bug in it."""

    def __init__(self, framework: str, mutation: Mutation) -> None:
        super().__init__(framework, Memory())
        self.session = SabotagedSession(framework, mutation)


def module(session: Session, name: str) -> Any:
    """The live module of this name, the model itself for "<root>".

    Raises:
        PlaceError: there is none.
    """
    modules = dict(session.backend.modules(session.model))
    if name not in modules:
        raise PlaceError(name)
    return modules[name]


def override(session: Session, name: str, function: Callable[..., Any]) -> None:
    """Give a module another forward, `function(self, original, *arguments)`."""
    layer = module(session, name)
    original = layer.forward

    @functools.wraps(type(layer).forward)  # whose signature numbers the edges
    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        return function(self, original, *arguments, **named)

    bind(layer, "forward", forward)


def bind(layer: Any, method: str, function: Callable[..., Any]) -> None:
    """Make a function a method of one module, past what the frameworks do when an attribute is set."""
    layer.__dict__[method] = types.MethodType(function, layer)


def set_attributes(session: Session, name: str, **values: Any) -> None:
    """Give a module other values for attributes that it has."""
    layer = module(session, name)
    for key, value in values.items():
        assert hasattr(layer, key), f"{name} has no {key}"
        setattr(layer, key, value)


def change_weights(session: Session, alter: Callable[[Weights], None]) -> None:
    """Have `alter` change weights in place, each time that they are loaded.

    It sees them in the torch layout on either side, a tensor of several names under the first of them only.
    """
    load = session.load

    def changed(clean: Callable[[], Iterable[tuple[str, np.ndarray]]]) -> Iterable[tuple[str, np.ndarray]]:
        own, backend = session.owned(), session.backend
        turned = {f"{name}.weight" for name, m in backend.modules(session.model) if backend.is_transposed(m)}
        weights = {name: np.array(value.T if name in turned else value) for name, value in clean() if name in own}
        before = {name: value.shape for name, value in weights.items()}
        try:
            alter(weights)
        except KeyError as name:
            raise PlaceError(f"no weight {name} in this model") from None
        assert {name: value.shape for name, value in weights.items()} == before
        return [(name, np.ascontiguousarray(value.T if name in turned else value)) for name, value in weights.items()]

    def loaded(weights: str, model: str) -> list[str]:
        problems = load(weights, model)
        clean = session.weights
        session.weights = lambda: changed(clean)
        return problems

    session.load = loaded  # type: ignore[method-assign]
