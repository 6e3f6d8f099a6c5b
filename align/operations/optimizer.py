"""One optimizer on one side: updates from injected parameters, gradients and state, and learning rates over a schedule.

Records hold, in the torch layout, "parameter/NAME", and for update k "k/gradient/NAME", "k/parameter/NAME" and
"k/STATE/NAME". A parameter without a gradient in update k has no "k/gradient/NAME".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from align.engines import Engine
from align.engines.schedules import Schedule
from align.engines.spec import OptimizerSpec
from align.record import Record, RecordWriter
from align.session import Session


def follow(
    session: Session,
    optimizer: Mapping[str, Any],
    inputs: str,
    rates: Sequence[float],
    out: str,
    reference: str | None = None,
) -> dict[str, Any]:
    """Make one update for each of the base learning rates `rates` and write what each left into the record `out`.

    `inputs` holds the parameters to start from and each update's gradients. With `reference`, the record of another
    side, every update takes the gradients as the reference clipped them, and after the first starts from the
    parameters and the state that the reference had then; without, it goes on from its own, saved and loaded. Returns,
    for each update, the gradients' norm before clipping and the learning rate of every parameter.
    """
    given, forced = Record(inputs), Record(reference) if reference else None
    norms, used = [], []
    with session.in_dtype("float64"), RecordWriter(out) as writer:
        engine = session.make_engine(OptimizerSpec(**optimizer))
        values = _Values(session, engine, given)
        values.set_parameters(given, "")
        for k, lr in enumerate(rates):
            if forced is None:
                engine.load_state(engine.state())
            elif k:
                values.set_parameters(forced, f"{k - 1}/")
                values.load_state(forced, f"{k - 1}/")
            values.set_gradients(given, f"{k}/")
            norms.append(engine.clip())
            values.write_gradients(writer, f"{k}/")
            if forced is not None:
                values.set_gradients(forced, f"{k}/")
            engine.step(lr)
            used.append({values.torch_name(name): rate for name, rate in engine.learning_rates().items()})
            values.write(writer, f"{k}/")
            engine.clear()
    return {"norms": norms, "rates": used}


def rates(session: Session, schedules: Mapping[str, Mapping[str, Any]], lr: float) -> dict[str, dict[str, list[float]]]:
    """The learning rate of every update of each schedule and of one more: `used` as an optimizer has it, by the
    session's own schedule, and `native` by the framework's scheduler classes.
    """
    native = session.backend.native_rates
    with session.in_dtype("float64"):
        engine = session.make_engine(OptimizerSpec("sgd", lr))
        return {
            name: {"used": _used(session, engine, Schedule(**named), lr), "native": native(Schedule(**named), lr)}
            for name, named in schedules.items()
        }


def _used(session: Session, engine: Engine, schedule: Schedule, lr: float) -> list[float]:
    given = session.make_schedule(schedule, lr)
    used = []
    for update in range(schedule.total + 1):
        engine.step(given(update))
        used.append(max(engine.learning_rates().values(), default=0.0))
    return used


class _Values:
    """The parameters of a record, by torch's names and in its layout, at those of the engine that have their shape."""

    def __init__(self, session: Session, engine: Engine, given: Record) -> None:
        self._backend = session.backend
        self._engine = engine
        self._views = {name: session.to_torch(name) for name in engine.parameters}
        self._chosen = {
            torch_name: (name, view)
            for name, (torch_name, view) in self._views.items()
            if (key := _parameter(torch_name)) in given
            and view(given[key]).shape == tuple(engine.parameters[name].shape)
        }

    def torch_name(self, name: str) -> str:
        return self._views[name][0]

    def set_parameters(self, record: Record, prefix: str) -> None:
        for torch_name, (name, view) in self._chosen.items():
            value = view(record[prefix + _parameter(torch_name)])
            self._backend.set_value(self._engine.parameters[name], np.ascontiguousarray(value))

    def set_gradients(self, record: Record, prefix: str) -> None:
        gradients: dict[str, np.ndarray | None] = dict.fromkeys(self._engine.parameters)
        for torch_name, (name, view) in self._chosen.items():
            if (key := f"{prefix}gradient/{torch_name}") in record:
                gradients[name] = np.ascontiguousarray(view(record[key]))
        self._engine.set_gradients(gradients)

    def load_state(self, record: Record, prefix: str) -> None:
        state: dict[str, dict[str, np.ndarray]] = {}
        for entry in record:
            update, kind, torch_name = entry.split("/")
            if f"{update}/" == prefix and kind not in ("gradient", "parameter") and torch_name in self._chosen:
                name, view = self._chosen[torch_name]
                state.setdefault(name, {})[_turned(kind, view)] = np.array(view(record[entry]), order="C")
        self._engine.load_state(state)

    def write_gradients(self, writer: RecordWriter, prefix: str) -> None:
        for name, gradient in self._engine.gradients().items():
            if gradient is not None:
                torch_name, view = self._views[name]
                writer.add(f"{prefix}gradient/{torch_name}", view(gradient))

    def write(self, writer: RecordWriter, prefix: str) -> None:
        """Write the parameters and the state after an update."""
        state = self._engine.state()
        for torch_name, (name, view) in self._chosen.items():
            value = view(self._backend.to_numpy(self._engine.parameters[name]))
            writer.add(prefix + _parameter(torch_name), value)
            for key, entry in state.get(name, {}).items():
                writer.add(f"{prefix}{_turned(key, view)}/{torch_name}", view(entry))


def _parameter(torch_name: str) -> str:
    return f"parameter/{torch_name}"


def _turned(key: str, view: Callable[[np.ndarray], np.ndarray]) -> str:
    """The name of a state in the other layout: the rows of a matrix are the columns of its transpose."""
    transposed = view(np.empty((1, 2))).shape == (2, 1)
    return {"row_var": "col_var", "col_var": "row_var"}.get(key, key) if transposed else key
