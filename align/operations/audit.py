"""What the live model is made of, and what it does once that is mended, or is given something else: so a wrong setting,
weight or input is told from wrong code.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from align.capture import ModelError, run
from align.edges import module_of
from align.record import Record, RecordWriter
from align.session import Session
from align.sinks import Passage

_WORDS = {"none": False, "tanh": True}  # torch's words for `approximate`: Paddle's


def own(session: Session, dtype: str, out: str) -> None:
    """Write the model's parameters as they stand, in the torch layout, to the record `out`."""
    with session.in_dtype(dtype), RecordWriter(out) as writer:
        arrays = {name: session.backend.to_numpy(tensor) for name, tensor in session.backend.parameters(session.model)}
        for name, value in session.in_torch_layout(arrays) if session.layout else _viewed(session, arrays):
            if value is not None:
                writer.add(name, value)


def attributes(session: Session) -> dict[str, dict[str, Any]]:
    """The plain attributes of every module: numbers, words and lists of them, in torch's words on both sides."""
    words = session.backend.words
    return {name: _attributes(module, words) for name, module in session.backend.modules(session.model)}


def replay(
    session: Session, attributes: Mapping[str, Mapping[str, Any]], weights: str, **arguments: Any
) -> dict[str, Any]:
    """`Session.replay` of the model with `attributes` of modules set and the parameters in the record `weights` loaded
    (torch layout); afterwards the model is as before.
    """
    with session.in_dtype(arguments["dtype"]), _set(session, attributes), _loaded(session, Record(weights)):
        return session.replay(**arguments)


def what_if(session: Session, batch: str, dtype: str, edge: str, given: str, out: str) -> None:
    """Run the model once for each set of substitutes in the record `given`, where "NUMBER EDGE" names one, and write
    what then passes `edge` to the record `out`, as "NUMBER". A set that makes the model raise leaves nothing.
    """
    sets: dict[str, dict[str, np.ndarray]] = {}
    for name, value in Record(given).items():
        number, _, place = name.partition(" ")
        sets.setdefault(number, {})[place] = value
    inputs = {name: v.astype(dtype) if v.dtype.kind == "f" else v for name, v in Record(batch).items()}
    with session.in_dtype(dtype) as model, RecordWriter(out) as writer:
        session.backend.set_training(model, False)
        others = frozenset(name for name, _ in session.backend.modules(model) if name != module_of(edge))
        for number, substitutes in sets.items():
            sink = _Substituting(substitutes, edge)
            with suppress(ModelError):
                run(session.backend, model, inputs, sink, native=others)
            if sink.seen is not None:
                writer.add(number, sink.seen)


class _Reached(Exception):  # noqa: N818 — no error
    """The edge that was asked for has been seen."""


class _Substituting:
    """Puts given values in the place of others until one edge is reached, and keeps what passes there."""

    def __init__(self, substitutes: Mapping[str, np.ndarray], last: str) -> None:
        self._substitutes, self._last = substitutes, last
        self.seen: np.ndarray | None = None

    def pass_edge(self, passage: Passage) -> np.ndarray | None:
        if passage.edge == self._last:
            self.seen = passage.array.copy()
            raise _Reached
        return self._substitutes.get(passage.edge)


def _attributes(module: Any, words: Mapping[str, str]) -> dict[str, Any]:
    known = {_common(name, words): _plain(value) for name, value in vars(module).items()}
    return {name: value for name, value in known.items() if value is not None and name != "training"}


def _common(name: str, words: Mapping[str, str]) -> str:
    name = name.lstrip("_")
    return words.get(name, name)


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        items = [_plain(item) for item in value]
        return items if items and None not in items else None
    if isinstance(value, str):
        return _WORDS.get(value, value)
    return value if isinstance(value, (bool, int, float)) else None


@contextmanager
def _set(session: Session, changes: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    modules, words = dict(session.backend.modules(session.model)), session.backend.words
    before = [
        (module, name, value)
        for module, values in ((modules[path], values) for path, values in changes.items())
        for name, value in vars(module).items()
        if _common(name, words) in values
    ]
    for path, values in changes.items():
        for module, name, old in before:
            if module is modules[path]:
                setattr(module, name, _spelled_like(old, values[_common(name, words)]))
    try:
        yield
    finally:
        for module, name, old in before:
            setattr(module, name, old)


def _spelled_like(old: Any, value: Any) -> Any:
    """The other side's value as this side writes it."""
    if isinstance(old, str) and isinstance(value, bool):
        return next(word for word, meaning in _WORDS.items() if meaning == value)
    return tuple(value) if isinstance(old, tuple) else value


def _viewed(session: Session, arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays under their own names, in the other layout: for models whose names are the same on both sides."""
    return ((name, session.to_torch(name)[1](value)) for name, value in arrays.items())


@contextmanager
def _loaded(session: Session, weights: Record) -> Iterator[None]:
    backend, before = session.backend, []
    own = dict(session.layout.to_paddle(weights)) if session.layout else dict(_viewed(session, weights))
    for name, tensor in backend.parameters(session.model):
        if name in own:
            before.append((tensor, backend.to_numpy(tensor).copy()))
            backend.set_value(tensor, own[name].astype(before[-1][1].dtype))
    try:
        yield
    finally:
        for tensor, old in reversed(before):  # a tied tensor stands here twice
            backend.set_value(tensor, old)
