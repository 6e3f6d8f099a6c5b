"""Tables looked up by ids."""

from collections.abc import Iterator

import numpy as np

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence

_SHIFTS = (0, -1, 1, -2, 2)


def embeddings(evidence: Evidence) -> Iterator[Candidate]:
    """What becomes of rows of the module's own table."""
    expected, actual = evidence.expected, evidence.actual
    if expected.dtype.kind != "f" or expected.ndim < 2 or expected.shape != actual.shape:
        return
    for table in [value for value in evidence.parameters.values() if value.ndim == 2]:
        for ids in [value for value in evidence.at_hand.values() if value.dtype.kind in "iu"]:
            if ids.shape + table.shape[1:] == expected.shape and _inside(ids, table):
                for shift in _SHIFTS:
                    if np.array_equal(table[(ids + shift) % len(table)], expected):
                        yield from _variants(table, (ids + shift) % len(table), actual)


def _inside(ids: np.ndarray, table: np.ndarray) -> bool:
    return bool(ids.size) and int(ids.min()) >= -len(table) and int(ids.max()) < len(table)


def _variants(table: np.ndarray, ids: np.ndarray, actual: np.ndarray) -> Iterator[Candidate]:
    differs = (table[ids] != actual).any(-1)
    wrong = np.unique(ids[differs])
    named = ", ".join(map(str, wrong[:5])) + (" …" if len(wrong) > 5 else "")
    zeroed = table.copy()
    zeroed[wrong] = 0.0
    yield Candidate(f"the row of id {named} is zero in the forward pass (padding_idx)", zeroed[ids])
    for shift in [shift for shift in _SHIFTS if shift]:
        yield Candidate(f"every id is taken {shift:+d} off", table[(ids + shift) % len(table)])
    norms = np.sqrt((table**2).sum(-1, keepdims=True))
    for most in (1.0, 2.0):
        yield Candidate(
            f"rows are shortened to the norm {most:g} (max_norm)", (table * np.minimum(1.0, most / norms))[ids]
        )
