"""Whether a bug changes anything at all: the same framework with it and without it, on more inputs than a verdict has.

A change of code need not change the function, or not of the model as it is configured. Such a bug cannot be found by
anybody, so it is left out and said to be, without asking the verdict.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from align.case import Case, make_batch, resolve, without_labels, write_weights
from align.errors import CannotCompareError
from align.operations.predict import run
from align.selftest.mutation import Mutation
from align.selftest.sabotage import PlaceError, SabotagedSession
from align.selftest.site import survey
from align.session import Session

ROUNDING = 1e-11  # of the largest value, in float64: what may differ without being a change
LOST = 1e-2  # … and in float32
RUNS = (  # probe, batch, dtype
    ("default", "own", "float64"),
    ("saturated", "own", "float64"),
    ("default", "other", "float64"),
    ("default", "own", "float32"),
)
OTHER_BATCH = {"seed": 1, "batch_size": 5, "length": 18}
LENGTHS = (27, 28, 30)

Run = tuple[str, Mapping[str, np.ndarray]]  # its dtype, and what the model returned


def case_of(model: str, mutation: Mutation) -> Case:
    """The comparison that a mutation asks for."""
    case = resolve(model, mutation.task, **mutation.case)
    return replace(case, raw_config={**case.raw_config, **mutation.config})


def visible(model: str, side: str, mutation: Mutation) -> Mutation | None:
    """The mutation in circumstances in which it changes what the model returns; None if there are none.

    Where it changes nothing as it is, other lengths are tried, then every yes-or-no option of the configuration, then
    other tasks that have a place for it.
    """
    return next((m for m in _circumstances(model, side, mutation) if changes(model, side, m)), None)


def _circumstances(model: str, side: str, mutation: Mutation) -> Iterator[Mutation]:
    yield mutation
    yield from (replace(mutation, case={**mutation.case, "length": length}) for length in LENGTHS)
    site = survey(model, side, mutation.task)
    for option, value in site.config.items():
        if isinstance(value, bool):
            yield replace(mutation, config={**mutation.config, option: not value})
    for task in site.tasks:
        if task != site.task and _fits(model, side, other := replace(mutation, task=task)):
            yield other


def _fits(model: str, side: str, mutation: Mutation) -> bool:
    """Whether the model of this task has a place for it."""
    case = case_of(model, mutation)
    try:
        SabotagedSession(side, mutation).build(case.model, case.task_class, case.raw_config)
    except PlaceError:
        return False
    return True


def changes(model: str, side: str, mutation: Mutation, rounding: float = ROUNDING) -> bool:
    """Whether what the model returns differs beyond rounding, or it raises."""
    case = case_of(model, mutation)
    labels = mutation.stage != "forward"
    try:
        clean = _clean_outputs(_key(case), side, labels)
    except (CannotCompareError, ValueError):  # options that the architecture refuses, or weights that do not fit them
        return False
    session = SabotagedSession(side, mutation)
    try:
        return any(_differ(*pair, rounding) for pair in zip(clean, _outputs(case, session, labels), strict=True))
    except PlaceError:
        return False
    except Exception:  # whatever a bug raises is a change
        return True


def _key(case: Case) -> Case:
    return replace(case, raw_config=_Frozen(case.raw_config))


class _Frozen(dict):  # type: ignore[type-arg]
    """A configuration that can be the key of a cache."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(repr(sorted(self.items())))


@cache
def _clean_outputs(case: Case, side: str, labels: bool) -> list[Run]:
    return list(_outputs(case, Session(side), labels))


def _outputs(case: Case, session: Session, labels: bool) -> Iterator[Run]:
    """What the model returns, with the dtype of each run: two probes, another batch, and float32."""
    session.build(case.model, case.task_class, case.raw_config)
    site = survey(case.model, "torch", case.task, frozenset(_given(case)))
    sizes = {k: v for k in ("batch_size", "length") if (v := getattr(case, k)) is not None}
    batches = {"own": case, "other": replace(case, **{**OTHER_BATCH, **sizes})}
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        weights = write_weights(case, {"shapes": site.shapes, "tied": site.tied}, Path(folder))
        for probe, batch, dtype in RUNS:
            arrays = make_batch(batches[batch], site.config)
            arrays = arrays if labels else without_labels(case, arrays)
            session.load(str(weights[probe]), case.model)
            with session.in_dtype(dtype) as model:
                session.backend.set_training(model, False)
                exact = {name: a.astype(dtype) if a.dtype.kind == "f" else a for name, a in arrays.items()}
                yield dtype, {name: np.array(value) for name, value in run(session.backend, model, exact).items()}


def _given(case: Case) -> Iterator[tuple[str, object]]:
    tiny = resolve(case.model, case.task).raw_config
    return ((key, value) for key, value in case.raw_config.items() if tiny.get(key, _MISSING) != value)


_MISSING = object()


def _differ(clean: Run, other: Run, rounding: float) -> bool:
    (dtype, expected), (_, actual) = clean, other
    limit = rounding if dtype == "float64" else LOST
    return expected.keys() != actual.keys() or any(not _alike(expected[e], actual[e], limit) for e in expected)


def _alike(expected: np.ndarray, actual: np.ndarray, rounding: float) -> bool:
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return False
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0) if expected.dtype.kind == "f" else 0
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.allclose(actual, expected, rtol=0, atol=rounding * scale, equal_nan=True))
