"""How far rounding alone takes a model that runs on its own values from end to end."""

from collections.abc import Callable

import numpy as np

from align.capture import run
from align.difference import difference
from align.record import Record
from align.session import Session, ulp_noise
from align.sinks import Passage


def noise(session: Session, batch: str, dtype: str, reference: str, perturb: int) -> dict[str, float]:
    """The largest change at every edge of the record `reference`, a pass of this model, once every weight and every
    value that passes an edge is changed by one unit in the last place; `perturb` seeds the changes.
    """
    record = Record(reference)
    sink = _Disturbing(record, ulp_noise(perturb, dtype))
    inputs = {name: v.astype(dtype) if v.dtype.kind == "f" else v for name, v in Record(batch).items()}
    with session.in_dtype(dtype, perturb) as model:
        session.backend.set_training(model, False)
        run(session.backend, model, inputs, sink)
    return sink.changes


class _Disturbing:
    """Lets every value go on, changed; constants and masks as they are."""

    def __init__(self, reference: Record, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self._reference, self._change = reference, change
        self.changes: dict[str, float] = {}

    def pass_edge(self, passage: Passage) -> np.ndarray | None:
        if passage.edge not in self._reference:
            return None
        role = self._reference.entry(passage.edge).facts["role"]
        if role == "constant":
            return None
        found = difference(self._reference[passage.edge], passage.array, masked=role == "masked")
        self.changes[passage.edge] = found.max_abs
        if role == "masked" or passage.array.dtype.kind != "f":
            return None
        return self._change(passage.array)
