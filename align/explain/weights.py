"""In words, how a parameter of the port differs from the reference's."""

from collections.abc import Iterator

import numpy as np

from align.explain.arrange import gathered, moved
from align.explain.evidence import Arrays
from align.explain.numbers import show
from align.explain.rounding import roundings

_UNRELATED = 0.5  # correlation below which two tensors have nothing to do with each other


def describe(name: str, own: np.ndarray, network: Arrays) -> str:
    """What the port has in place of the reference's parameter `name`; `network` are all of the reference's.

    The parameter is called by its last name: its module is blamed already.
    """
    leaf = name.rpartition(".")[2]
    due = network[name].astype(np.float64)
    own = own.astype(np.float64)
    if text := next(_relations(own, due), None):
        return f"{leaf} {text}"
    for other, value in network.items():
        if other != name and value.shape == own.shape and np.array_equal(value, own):
            return f"{leaf} is another's: the reference's {other}"
        if other != name and value.shape == own.T.shape and np.array_equal(value.T, own):
            return f"{leaf} is another's: the reference's {other}, transposed"
    return f"{leaf} {_rows_of_others(own, network) or _unlike(own, due)}"


def _relations(own: np.ndarray, due: np.ndarray) -> Iterator[str]:
    differs = own != due
    count = int(differs.sum())
    part = "" if count == own.size else f" at {count} of {own.size} elements" + _where(differs)
    if (own == own.flat[0]).all() and own.flat[0] in (0.0, 1.0):
        yield f"is {own.flat[0]:g} everywhere, as if it had not been loaded"
    if (due == due.flat[0]).all() and due.flat[0] in (0.0, 1.0):
        yield f"is not {due.flat[0]:g} everywhere, as the reference's is: that one may not have been loaded"
    if (own == due.flat[0]).all():
        yield "has its first value everywhere, as if it had been broadcast"
    for text, (cut,) in roundings(due[differs]):
        if np.array_equal(own[differs], cut):
            yield f"is {text}{part}"
    for text, (cut,) in roundings(own[differs]):
        if np.array_equal(due[differs], cut):
            yield f"is not {text}, as the reference's is{part}"
    if own.ndim == 2 and own.shape == own.T.shape and np.array_equal(own, due.T):
        yield "is transposed"
    for text, made in [*moved(due, own), *gathered(due, own)]:
        if np.array_equal(made, own):
            yield f"has the right numbers in another order: {text}"
    factor = float((own * due).sum() / (due**2).sum()) if due.any() else 0.0
    if factor and np.allclose(own, factor * due, rtol=1e-6, atol=0):
        yield f"is {show(float(np.float32(factor)), own.shape)} times as large"


def _where(differs: np.ndarray) -> str:
    first = tuple(map(int, np.argwhere(differs)[0]))
    return f", first at {first}" if differs.sum() > 1 else f", {first}"


def _rows_of_others(own: np.ndarray, network: Arrays) -> str | None:
    """Rows that are rows of several parameters: packed projections taken apart in the wrong order."""
    rows: dict[bytes, str] = {}
    for other, value in network.items() if own.ndim == 2 else ():
        if value.ndim == 2 and value.shape[1] == own.shape[1]:
            rows |= {row.tobytes(): other for row in value.astype(np.float64)}
    owners = [rows.get(row.tobytes()) for row in own]
    counts = ", ".join(f"{owners.count(owner)} of {owner}" for owner in dict.fromkeys(owners))
    return None if None in owners else f"is made of rows of several in another order: {counts}"


def _unlike(own: np.ndarray, due: np.ndarray) -> str:
    count = int((own != due).sum())
    if count < own.size:
        return f"differs at {count} of {own.size} elements" + _where(own != due)
    related = np.corrcoef(own.reshape(-1), due.reshape(-1))[0, 1] if own.size > 8 else 0.0
    if abs(related) < _UNRELATED:
        moments = f"mean {own.mean():.2g}, deviation {own.std():.2g}"
        return f"has nothing of the reference's, as if it had not been loaded: {moments}"
    return f"differs at all of its {own.size} elements by at most {np.abs(own - due).max():.2g}"
