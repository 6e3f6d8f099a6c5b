"""A module whose formula nobody knows: does the reference give the port's values if its inputs are altered?"""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from align.edges import ROOT, is_input
from align.explain import Explanation, simplest
from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.target import Target
from align.record import Record, write_record
from align.trial import Trial

_MOST_INPUTS = 6
_AS_IT_IS = "0"  # the number of the set that alters nothing


def ask_the_reference(trial: Trial, evidence: Evidence) -> Explanation | None:
    """The alteration of one input, or the exchange of two, with which the reference's module does what the port's does.

    Only modules without children are asked: each alteration costs a forward pass up to there.
    """
    inputs = evidence.inputs
    if evidence.inside or evidence.module == ROOT or is_input(evidence.edge) or not 0 < len(inputs) <= _MOST_INPUTS:
        return None
    altered = dict(enumerate(alterations(evidence), start=1))
    sets = {f"{number} {edge}": v for number, (_, given) in altered.items() for edge, v in given.items()}
    untouched = {f"{_AS_IT_IS} {edge}": value for edge, value in inputs.items()}
    answers = _answers(trial, evidence.edge, {**untouched, **sets})
    right = answers.get(_AS_IT_IS)
    if right is None or not np.array_equal(right, evidence.expected):
        return None
    target = Target(evidence.expected, evidence.actual, evidence.limit, evidence.masked)
    named = ((text, answers.get(str(number))) for number, (text, _) in altered.items())
    return simplest(target, (Candidate(text, value) for text, value in named if value is not None))


def _answers(trial: Trial, edge: str, given: Mapping[str, np.ndarray]) -> Record:
    folder = trial.pair.folder
    ask = {
        "batch": str(trial.pair.batch),
        "dtype": trial.dtype,
        "edge": edge,
        "given": str(write_record(folder / f"{trial.probe}-altered.rec", given)),
    }
    out = folder / f"{trial.probe}-answers.rec"
    with trial.pair.steps.step(f"{trial.probe}: torch, asked what if") as moved:
        trial.pair.torch.submit("audit.what_if", out=str(out), **ask).result(moved)
    return Record(out)


def alterations(evidence: Evidence) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """What may have been done to the inputs of a module: in words, and the inputs that are then others."""
    arrays = {edge: value for edge, value in evidence.inputs.items() if value.size > 1}
    for (one, a), (other, b) in itertools.combinations(arrays.items(), 2):
        if a.shape == b.shape and a.dtype == b.dtype:
            yield f"{evidence.name(one)} and {evidence.name(other)} are exchanged", {one: b, other: a}
    for edge, value in arrays.items():
        for text, changed in _altered(value):
            if not np.array_equal(changed, value):
                yield f"it computes what the reference would if {evidence.name(edge)} were {text}", {edge: changed}


def _altered(value: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if np.isin(value, (0, 1)).all():
        yield "inverted", (1 - value.astype(np.int8)).astype(value.dtype)
        yield "1 everywhere", np.ones_like(value)
    yield "0 everywhere", np.zeros_like(value)
    if value.dtype.kind in "fi":
        yield "negative", -value
    for axis, size in enumerate(value.shape):
        for shift in (1, -1) if size > 1 else ():
            yield f"moved by {shift:+d} along axis {axis}, around the end", np.roll(value, shift, axis)
        if size > 1:
            yield f"reversed along axis {axis}", np.flip(value, axis)
    if value.ndim > 1 and value.shape[-1] == value.shape[-2]:
        yield "transposed", value.swapaxes(-1, -2)
