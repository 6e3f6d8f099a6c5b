"""Taps on every module of a live model, of any framework: what enters and leaves passes through a sink.

What a call of a module runs is wrapped for the duration of one pass. Tensors are found inside tuples, lists and
mappings; the inputs of a call are numbered in the order of the signature of `forward`, so positional and keyword calls
name the same edges.
"""

import copy
import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from align.backends import Backend
from align.edges import ROOT, edge_name, module_of
from align.errors import CannotCompareError
from align.gradients import GradientSink, Tape
from align.sinks import Passage, Sink


class ModelError(Exception):
    """The model's own code raised; `module` is the innermost module that was running."""

    def __init__(self, module: str, cause: Exception) -> None:
        lines = [line.strip() for line in str(cause).splitlines()]
        told = [line for line in lines if line and not line.startswith(("[Hint", "[operator <"))]  # Paddle's own asides
        super().__init__(f"{type(cause).__name__}: {told[-1] if told else 'no message'}")
        self.module = module


class Capture:
    """The state of one pass: which modules are running, how often each has run, and the sink."""

    def __init__(self, backend: Backend, sink: Sink, tape: Tape | None, progress: Callable[[], None]) -> None:
        self._backend = backend
        self._sink = sink
        self._tape = tape
        self._progress = progress
        self._running: list[str] = []
        self._calls: Counter[str] = Counter()
        self.failed_in: str | None = None

    def around(self, module: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """What makes of a module's own function one that is tapped."""

        def tapped(function: Callable[..., Any]) -> Callable[..., Any]:
            own = _Forward(function)
            return lambda *args, **kwargs: self.call(module, own, args, kwargs)

        return tapped

    def call(self, module: str, forward: "_Forward", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one module with its inputs and outputs tapped."""
        self._calls[module] += 1
        call = self._calls[module]
        caller = self._running[-1] if self._running else ROOT
        bound = forward.signature.bind(*args, **kwargs)
        inputs = _Inputs(module, call)
        for key, value in bound.arguments.items():
            bound.arguments[key] = self._tap(value, inputs, caller)
        self._running.append(module)
        try:
            output = forward.call(bound, len(args))
        except Exception:
            self.failed_in = self.failed_in or module
            raise
        self._running.pop()
        self._progress()
        self._pass_changes(inputs, caller)
        return self._tap(output, _Outputs(module, call), caller)

    def _tap(self, value: Any, edges: "_Edges", caller: str, path: str = "") -> Any:
        if self._backend.is_tensor(value):
            return self._tap_tensor(value, edges, caller, path)
        if isinstance(value, (bool, int, float)):
            name = self._backend.edge(edges.literal(path))
            if name is None:
                return value
            substitute = self._sink.pass_edge(Passage(name, np.asarray(value), False, caller, literal=True))
            return value if substitute is None else type(value)(substitute.item())
        if isinstance(value, Mapping):
            tapped = _copied(value)
            for key, item in value.items():
                tapped[key] = self._tap(item, edges, caller, f"{path}.{key}")  # type: ignore[index]
            return tapped
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            tapped = copy.copy(value)
            for field in dataclasses.fields(value):
                item = self._tap(getattr(value, field.name), edges, caller, f"{path}.{field.name}")
                object.__setattr__(tapped, field.name, item)
            return tapped
        if isinstance(value, (tuple, list)):
            items = [self._tap(item, edges, caller, f"{path}.{i}") for i, item in enumerate(value)]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value

    def _tap_tensor(self, tensor: Any, edges: "_Edges", caller: str, path: str) -> Any:
        edge, differentiable = self._backend.edge(edges.tensor(path)), self._backend.is_differentiable(tensor)
        if edge is None:
            edges.given(tensor, tensor, self._backend.version_of(tensor))
            return tensor
        passage = Passage(edge, self._backend.to_numpy(tensor), differentiable, caller)
        substitute = self._sink.pass_edge(passage)
        if self._tape and self._tape.sink.expects(edge, differentiable):
            leaf, tapped = self._backend.tap(tensor, substitute, True)
            self._tape.cut(edge, tensor, leaf)
        else:
            _, tapped = self._backend.tap(tensor, substitute, differentiable)
        edges.given(tensor, tapped, self._backend.version_of(tapped))
        return tapped

    def _pass_changes(self, inputs: "_Inputs", caller: str) -> None:
        """Pass what the module has changed in place, and hand the change on to the caller's own tensor."""
        for number, (tensor, tapped, version) in enumerate(inputs.tensors):
            if tapped is tensor or self._backend.version_of(tapped) == version:
                continue
            edge, array = self._backend.edge(inputs.after(number)), self._backend.to_numpy(tapped)
            differentiable = self._backend.is_differentiable(tapped)
            passage = edge and Passage(edge, array, differentiable, caller)
            substitute = self._sink.pass_edge(passage) if passage else None
            self._backend.set_value(tensor, array if substitute is None else substitute)


def _copied(value: Mapping[Any, Any]) -> Any:
    """A mapping of the same class to be filled anew; one whose class requires arguments is made without them."""
    try:
        return copy.copy(value)
    except TypeError:
        made = type(value).__new__(type(value))
        vars(made).update(vars(value))
        return made


class _Forward:
    """A module's own forward, with its signature read once."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.signature = inspect.signature(function)

    def call(self, bound: inspect.BoundArguments, positional: int) -> Any:
        """Call it as it was called: what a keyword named still does, since wrappers look for their own keywords."""
        named = {}
        for parameter in list(self.signature.parameters.values())[positional:]:
            if parameter.name in bound.arguments and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                named[parameter.name] = bound.arguments.pop(parameter.name)
        return self._function(*bound.args, **named, **bound.kwargs)


class _Edges(ABC):
    """The names of the edges of one call."""

    def __init__(self, module: str, call: int) -> None:
        self._module = module
        self._call = call

    def _name(self, leaf: str) -> str:
        return edge_name(self._module, self._call, leaf)

    @abstractmethod
    def tensor(self, path: str) -> str: ...

    @abstractmethod
    def literal(self, path: str) -> str: ...

    def given(self, tensor: Any, tapped: Any, version: int) -> None:  # noqa: B027 — outputs need not know
        """Told of each tensor, what went on in its place, and how often that had been changed in place."""


class _Inputs(_Edges):
    """Inputs are numbered, tensors and plain numbers each for themselves."""

    def __init__(self, module: str, call: int) -> None:
        super().__init__(module, call)
        self.tensors: list[tuple[Any, Any, int]] = []
        self._literals = 0

    def tensor(self, path: str) -> str:
        return self._name(f"in{len(self.tensors)}")

    def literal(self, path: str) -> str:
        self._literals += 1
        return self._name(f"arg{self._literals - 1}")

    def after(self, number: int) -> str:
        return self._name(f"after{number}")

    def given(self, tensor: Any, tapped: Any, version: int) -> None:
        self.tensors.append((tensor, tapped, version))


class _Outputs(_Edges):
    """Outputs are named by their place in what the module returns."""

    def tensor(self, path: str) -> str:
        return self._name(f"out{path}")

    def literal(self, path: str) -> str:
        return self.tensor(path)


def run(
    backend: Backend,
    model: Any,
    batch: Mapping[str, Any],
    sink: Sink,
    *,
    gradients: GradientSink | None = None,
    native: frozenset[str] = frozenset(),
    progress: Callable[[], None] = lambda: None,
) -> None:
    """One forward pass of `model` on `batch` through `sink`, and with `gradients` one backward pass through that.

    The modules named in `native` are left untapped. Parameters keep the gradients that reached them.

    Raises:
        ModelError: the model's code raised.
    """
    tape = Tape(backend, gradients) if gradients else None
    capture = Capture(backend, sink, tape, progress)
    with ExitStack() as stack:
        for name, module in backend.modules(model):
            if name not in native:
                stack.enter_context(backend.intercepted(module, capture.around(name)))
        try:
            backend.forward(model, batch)
        except CannotCompareError:
            raise
        except Exception as error:
            raise ModelError(capture.failed_in or ROOT, error) from error
        if tape:
            try:
                tape.unwind()
            except CannotCompareError:  # the backend cannot do it, which is no fault of the model
                raise
            except Exception as error:
                raise ModelError(module_of(tape.at or ROOT), error) from error
