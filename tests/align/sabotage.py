"""Bugs for the benchmark of the verdict: put into the Paddle side at run time, judged by the whole method, both
probes.

A `Bug` alters the live model after it is built, or its weights (Paddle layout) after they are loaded. It says which
module must be blamed first.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass

from align.case import resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.progress import Steps


@dataclass(frozen=True)
class Bug:
    """One kind of bug. `kind` names its row in the catalogue of real porting bugs; `blamed` the module that must be
    named.
    """

    kind: str
    name: str
    task: str
    blamed: str
    model: Callable | None = None  # model -> None
    weights: Callable | None = None  # {name: array in Paddle layout} -> None, in place

    def __str__(self):
        return f"{self.kind}-{self.name}-{self.task}"


class SabotagedPaddle(InProcessClient):
    """The Paddle side of a case with one bug in it."""

    def __init__(self, bug):
        super().__init__("paddle")
        self._bug = bug

    def submit(self, method, **arguments):
        answer = super().submit(method, **arguments)
        if method == "build" and self._bug.model:
            self._bug.model(self.session.model)
        if method == "load" and self._bug.weights:
            clean = self.session.weights
            self.session.weights = lambda: self._altered(clean)
        return answer

    def _altered(self, clean):
        weights = {name: value.copy() for name, value in clean()}
        self._bug.weights(weights)
        return weights.items()


def judge(architecture, bug, **case):
    """The report on the tiny variant of `architecture` with `bug` in its Paddle side."""
    return judge_case(resolve(architecture, bug.task, **case), InProcessClient("torch"), SabotagedPaddle(bug), Steps())


def sublayer(model, path):
    """The sublayer at a dotted path."""
    for part in path.split("."):
        model = model[int(part)] if part.isdigit() else getattr(model, part)
    return model


def override(path, function):
    """A bug that gives the sublayer at `path` ("" for the model) another forward; `function(self, original, *args)`."""

    def alter(model):
        layer = sublayer(model, path) if path else model
        original = layer.forward
        layer.forward = types.MethodType(lambda self, *args, **kwargs: function(self, original, *args, **kwargs), layer)

    return alter


def set_attribute(path, **values):
    """A bug that gives the sublayer at `path` other attributes."""

    def alter(model):
        layer = sublayer(model, path) if path else model
        for key, value in values.items():
            assert hasattr(layer, key), f"{path} has no {key}"
            setattr(layer, key, value)

    return alter
