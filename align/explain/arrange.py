"""The same numbers in another order: how one array has been made from another without computing anything."""

import itertools
from collections.abc import Iterator

import numpy as np

_SAMPLE = 256  # positions that a proposal must match before it is made
_LARGEST = 4_000_000  # elements; the search builds index arrays of that size
_PAIRS = 10_000_000  # slices compared with slices
_FEW = 3  # slices in the wrong place of which each is named

Arrangement = tuple[str, np.ndarray]  # what was done, and the result


def moved(source: np.ndarray, target: np.ndarray) -> Iterator[Arrangement]:
    """Ways to get `target` from `source` by giving every element another place, the simplest first."""
    if source.size != target.size or not 1 < source.size <= _LARGEST or not _same_numbers(source, target):
        return
    places = np.random.default_rng(0).integers(target.size, size=_SAMPLE)
    wanted, flat = target.reshape(-1)[places], source.reshape(-1)
    for text, index in _orders(np.arange(source.size).reshape(source.shape), target.shape):
        index = index.reshape(-1)
        if _near(flat[index[places]], wanted):
            yield text, flat[index].reshape(target.shape)


def _same_numbers(source: np.ndarray, target: np.ndarray) -> bool:
    for power in (1, 2):
        one, other = (float(np.sum(x.astype(np.float64) ** power)) for x in (source, target))
        if np.isfinite([one, other]).all() and not np.isclose(one, other, rtol=1e-9, atol=1e-9):
            return False
    return _near(np.sort(source, axis=None), np.sort(target, axis=None))


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    one, other = (x.astype(np.float64) for x in (one, other))
    scale = np.abs(other)
    ordinary = float(scale[scale < 1e6].max(initial=0.0))
    return bool(((one == other) | (np.abs(one - other) <= 1e-12 * np.maximum(ordinary, 1e-300))).all())


def _orders(order: np.ndarray, shape: tuple[int, ...]) -> Iterator[Arrangement]:
    """Candidate orders of the elements of `order` for a target of `shape`."""
    swaps = [axes for axes in itertools.permutations(range(order.ndim)) if axes != tuple(range(order.ndim))]
    for axes in swaps:
        if order.transpose(axes).shape == shape:
            yield f"its axes in the order {axes}", order.transpose(axes)
    if order.shape != shape:
        yield f"shape {order.shape} read as {shape}", order
    for axis, size in enumerate(order.shape):
        if size > 1 and order.shape == shape:
            yield f"reversed along axis {axis}", np.flip(order, axis)
            for shift in range(1, size):
                signed = shift if shift <= size // 2 else shift - size
                yield f"moved by {signed:+d} along axis {axis}, around the end", np.roll(order, shift, axis)
    yield from _split_orders(order)
    for axes in swaps:
        if order.transpose(axes).shape != shape:
            yield f"its axes in the order {axes}, read as {shape}", order.transpose(axes)


def _split_orders(order: np.ndarray) -> Iterator[Arrangement]:
    """One axis, or two or three adjacent ones taken as one, split in two and the two swapped."""
    for start, end in itertools.combinations(range(order.ndim + 1), 2):
        size = int(np.prod(order.shape[start:end]))
        for a in [n for n in range(2, size // 2 + 1) if size % n == 0] if end - start <= 3 else ():
            parts = order.reshape(*order.shape[:start], a, size // a, *order.shape[end:]).swapaxes(start, start + 1)
            axes = f"axis {start}" if end == start + 1 else f"axes {', '.join(map(str, range(start, end)))}"
            yield f"{axes} ({size} numbers) split as {a} × {size // a} and transposed", parts


def gathered(source: np.ndarray, target: np.ndarray, few: bool = False) -> Iterator[Arrangement]:
    """Ways to get `target` from slices of `source` along one axis, some of them twice or never, and zeros; with `few`,
    where all but a few slices are in their place.
    """
    for axis in range(source.ndim) if source.ndim == target.ndim else ():
        size, count = source.shape[axis], target.shape[axis]
        filled = np.concatenate([source, np.zeros_like(source.take([0], axis))], axis) if size else source
        index = _matching(filled, target, axis)
        if index is None or (index == size).all():
            continue
        home = _matching(source, source, axis)  # slices that are equal have one home
        wrong = np.flatnonzero(index != home[:count]) if home is not None and count <= size else np.arange(count)
        if few and not (0 < len(wrong) <= _FEW and count == size):
            continue
        if len(wrong) or count != size:
            yield _describe(index, wrong, size, axis), np.take(filled, index, axis)


def _matching(source: np.ndarray, target: np.ndarray, axis: int) -> np.ndarray | None:
    """For every slice of `target` along `axis` the first slice of `source` equal to it; None unless all have one."""
    one, other = (np.moveaxis(x, axis, 0) for x in (source, target))
    if one.shape[1:] != other.shape[1:] or len(one) * len(other) > _PAIRS or one[:1].size < 2 or len(other) < 2:
        return None
    weights = np.random.default_rng(0).standard_normal(one[0].size)
    keys, wanted = (np.nan_to_num(x.reshape(len(x), -1).astype(np.float64)) @ weights for x in (one, other))
    near = np.abs(wanted[:, None] - keys[None]) <= 1e-11 * (np.abs(keys).max() + 1e-300)
    return near.argmax(1) if near.any(1).all() else None


def _describe(index: np.ndarray, wrong: np.ndarray, size: int, axis: int) -> str:
    """What an index does along an axis of `size` slices, `wrong` of which are not in their place."""
    count, along = len(index), f"along axis {axis}" + (" (rows)" if axis == 0 else "")
    if not len(wrong):
        return f"the last {size - count} of {size} {along} are missing"
    if count < size and np.array_equal(index, np.arange(size - count, size)):
        return f"the first {size - count} of {size} {along} are missing"
    if len(wrong) <= _FEW and count == size:
        return f"{along} " + ", ".join(f"{_slice(index[i], size)} stands at {i}" for i in wrong)
    shown = " ".join("0s" if i == size else str(i) for i in index[:10]) + (" …" if count > 10 else "")
    return f"{along} in the order {shown} (of {size})"


def _slice(index: int, size: int) -> str:
    return "zero" if index == size else f"index {index}"
