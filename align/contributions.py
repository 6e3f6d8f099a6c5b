"""What each module adds to the gradient of a parameter that several share: a table and the decoder tied to it, say."""

from collections.abc import Iterator, Mapping

import numpy as np

from align.edges import edge_name
from align.gradients import GradientRecord
from align.record import Record

_EXACT = 1e-9


def contributions(
    parameter: str, tied: Mapping[str, str], values: Record, gradients: GradientRecord
) -> dict[str, np.ndarray]:
    """Module → its part in the gradient of a shared matrix (rows, width), for tables and for x·Wᵀ."""
    total = gradients.get(parameter)
    users = [name.rpartition(".")[0] for name in (parameter, *(n for n, owner in tied.items() if owner == parameter))]
    if total is None or total.ndim != 2 or len(users) < 2:
        return {}
    parts: dict[str, np.ndarray] = {}
    for module in users:
        for x, sent in _calls(module, values, gradients):
            part = _table(total.shape, x, sent) if x.dtype.kind == "i" else _product(total.shape, x, sent)
            if part is not None:
                parts[module] = parts.get(module, 0.0) + part
    return parts


def lacking(expected: np.ndarray, actual: np.ndarray, parts: Mapping[str, np.ndarray]) -> tuple[str, str] | None:
    """The side, and the module whose part alone is missing there; None if the parts do not account for both sides."""
    whole = sum(parts.values(), np.zeros_like(expected))
    allowed = _EXACT * np.abs(whole).max()
    for side, complete, other in (("paddle", expected, actual), ("torch", actual, expected)):
        if np.abs(whole - complete).max() <= allowed:
            lost = (module for module, part in parts.items() if np.abs(whole - part - other).max() <= allowed)
            return next(((side, module) for module in lost), None)
    return None


def _calls(module: str, values: Record, gradients: GradientRecord) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The input of each call, and the gradient that reached its output."""
    call = 1
    while (entrance := edge_name(module, call, "in0")) in values:
        sent = gradients.get(edge_name(module, call, "out"))
        if sent is not None:
            yield values[entrance], sent
        call += 1


def _table(shape: tuple[int, ...], ids: np.ndarray, sent: np.ndarray) -> np.ndarray | None:
    if sent.shape != (*ids.shape, shape[1]):
        return None
    part = np.zeros(shape)
    np.add.at(part, ids, sent)
    return part


def _product(shape: tuple[int, ...], x: np.ndarray, sent: np.ndarray) -> np.ndarray | None:
    if (sent.shape[-1], x.shape[-1]) != shape or sent.shape[:-1] != x.shape[:-1]:
        return None
    return sent.reshape(-1, shape[0]).T @ x.reshape(-1, shape[1])
