"""What a model returns on its own, from end to end."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from align.backends import Backend
from align.errors import CannotCompareError
from align.record import Record, RecordWriter
from align.session import Session


def outputs(
    session: Session,
    batch: str,
    dtype: str,
    out: str,
    training: bool = False,
    seed: int | None = None,
    perturb: int | None = None,
) -> None:
    """Run the model on the batch in file `batch` and write all that it returns to the record `out`, by name.

    With `training` dropout is on, from the framework's own generator, which `seed` starts anew. `perturb` seeds a
    change of every weight by one unit in the last place.

    Raises:
        CannotCompareError: the model's code raised.
    """
    backend = session.backend
    arrays = {name: v.astype(dtype) if v.dtype.kind == "f" else v for name, v in Record(batch).items()}
    with session.in_dtype(dtype, perturb) as model, RecordWriter(out) as writer:
        if seed is not None:
            backend.seed(seed)
        backend.set_training(model, training)
        try:
            returned = run(backend, model, arrays)
        finally:
            backend.set_training(model, False)
        for name, value in returned.items():
            writer.add(name, value)


def run(backend: Backend, model: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All that the model returns for a batch, by name.

    Raises:
        CannotCompareError: the model's code raised.
    """
    try:
        returned = backend.forward(model, arrays)
    except Exception as error:  # whatever the model's own code raises
        last = (str(error).strip().splitlines() or ["no message"])[-1].strip()
        raise CannotCompareError(
            f"the {backend.name} model raised {type(error).__name__}: {last} (the forward stage says where)"
        ) from error
    return {name: backend.to_numpy(tensor) for name, tensor in _tensors(backend, returned)}


def _tensors(backend: Backend, value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors inside mappings and sequences, under their dotted paths."""
    if backend.is_tensor(value):
        yield path or "output", value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(backend, item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from _tensors(backend, item, f"{path}.{index}" if path else str(index))
