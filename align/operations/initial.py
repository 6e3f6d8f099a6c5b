"""What a framework's own generator makes of the parameters of an architecture."""

from collections.abc import Sequence
from typing import Any

from align.record import RecordWriter


def draw(session: Any, seeds: Sequence[int], out: Sequence[str]) -> dict[str, Any]:
    """Build the model once for each seed, in float32, and write its parameters to the record beside it in `out`.

    A tensor that stands under several names is written once, under the first. Returns what
    `Session.describe_parameters` says of the last build.
    """
    model = None
    for seed, path in zip(seeds, out, strict=True):
        session.backend.seed(seed)
        model = session.fresh()
        _write(session, model, path)
    return session.describe_parameters(model)


def held(session: Any, out: str) -> None:
    """Write the parameters that the session's model holds in float32, after its weights were loaded, to a record."""
    with session.in_dtype("float32") as model:
        _write(session, model, out)


def _write(session: Any, model: Any, path: str) -> None:
    tied = session.describe_parameters(model)["tied"]
    with RecordWriter(path) as writer:
        for name, tensor in session.backend.parameters(model):
            if name not in tied:
                writer.add(name, session.backend.to_numpy(tensor))
