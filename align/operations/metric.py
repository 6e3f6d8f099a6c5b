"""Scoring what a model has returned, on the side that returned it."""

from collections.abc import Mapping
from typing import Any

from align.errors import CannotCompareError
from align.record import Record
from align.session import Session


def score(
    session: Session, task: str, config: Mapping[str, Any], batches: list[str], outputs: list[str]
) -> dict[str, float]:
    """The scores ("classes.accuracy") of the outputs in some records, each beside the record of its batch."""
    try:
        metrics = session.metrics(task, config)
    except ImportError as error:
        raise CannotCompareError(
            f"the interpreter of the {session.backend.name} side lacks {error.name}: install what align needs there"
        ) from error
    for batch, returned in zip(batches, outputs, strict=True):
        for metric in metrics.values():
            metric.update(Record(returned), Record(batch))
    return {f"{name}.{key}": value for name, metric in metrics.items() for key, value in metric.compute().items()}
