"""Why a module is wrong. After the verdict has blamed one, cheap hypotheses are tried on it, and the one that restores
parity is reported.

    found = explain(evidence)        # or None: nothing that was tried explains the fault
    found.text                       # "eps 1e-05 instead of 1e-12"
    found.residual                   # what is left of the difference, at most 1e-9 of it unless it is near rounding
    found.parameters                 # how many numbers were fitted
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align.explain.candidate import Candidate
from align.explain.evidence import Evidence
from align.explain.hypotheses.activations import activations
from align.explain.hypotheses.attention import context, scores
from align.explain.hypotheses.dropout import dropout
from align.explain.hypotheses.embeddings import embeddings
from align.explain.hypotheses.indices import changed_values, indices
from align.explain.hypotheses.linear import linear
from align.explain.hypotheses.losses import losses
from align.explain.hypotheses.masks import masks, numbers
from align.explain.hypotheses.norms import norms
from align.explain.hypotheses.pooling import pooling
from align.explain.hypotheses.positions import rotations, sinusoids
from align.explain.hypotheses.softmaxes import softmaxes
from align.explain.hypotheses.sums import sums
from align.explain.hypotheses.tensors import another, parts, reordered, times_known
from align.explain.hypotheses.units import gates, scales_by_keys, scores_of_one_head, turned_by_tables
from align.explain.hypotheses.values import constant, rearranged, regathered, scaled, shifted
from align.explain.target import Target

Hypothesis = Callable[[Evidence], Iterator[Candidate]]

_LARGEST = 1 << 18  # elements that are searched as a whole

# Of two that explain the fault with as few fitted numbers, the first is reported.
HYPOTHESES: tuple[Hypothesis, ...] = (
    numbers,
    scores,
    masks,
    constant,
    norms,
    activations,
    linear,
    embeddings,
    another,
    context,
    softmaxes,
    losses,
    pooling,
    rotations,
    turned_by_tables,
    gates,
    scores_of_one_head,
    scales_by_keys,
    sinusoids,
    changed_values,
    indices,
    parts,
    dropout,
    rearranged,
    sums,
    times_known,
    scaled,
    shifted,
    reordered,
    regathered,
)


@dataclass(frozen=True)
class Explanation:
    """What the port does instead, in words; `residual` is what that leaves of the difference."""

    text: str
    residual: float
    parameters: int

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text, "residual": self.residual, "parameters": self.parameters}


def explain(evidence: Evidence) -> Explanation | None:
    """The simplest hypothesis that accounts for the fault, or None.

    For large tensors it is looked for on some samples of the batch, and then has to hold for all.
    """
    if not _shows(evidence):
        return None
    with np.errstate(all="ignore"):  # a wrong guess may well divide by zero
        return _repaired(evidence) or _found(evidence, HYPOTHESES)


def _shows(evidence: Evidence) -> bool:
    """Whether these values show the fault: one of float32 may not be there in float64."""
    if not (evidence.expected.size and evidence.actual.size):
        return False
    target = Target(evidence.expected, evidence.actual, evidence.limit, evidence.masked)
    return target.differing > 0 and target.difference > evidence.limit


def _found(evidence: Evidence, hypotheses: Sequence[Hypothesis]) -> Explanation | None:
    samples = _samples(evidence)
    if samples is None:
        target = Target(evidence.expected, evidence.actual, evidence.limit, evidence.masked)
        return simplest(target, (candidate for hypothesis in hypotheses for candidate in hypothesis(evidence)))
    part = evidence.part(samples)
    for hypothesis in hypotheses if _shows(part) else ():
        if _found(part, [hypothesis]):
            target = Target(evidence.expected, evidence.actual, evidence.limit, evidence.masked)
            whole = simplest(target, hypothesis(evidence))
            if whole:
                return whole
    return None


def _samples(evidence: Evidence) -> np.ndarray | None:
    """Samples of the batch to look at first, that which differs most among them; None if the whole is small enough."""
    expected, actual = evidence.expected, evidence.actual
    count = max(_LARGEST * len(actual) // actual.size, 1) if actual.ndim and actual.size else 0
    if not 0 < count < (len(actual) if actual.ndim else 0):
        return None
    worst = 0
    if expected.shape == actual.shape:
        worst = int(np.nanargmax(np.abs(actual - expected).reshape(len(actual), -1).max(1)))
    return np.unique([worst, *range(count - 1)])


def _repaired(evidence: Evidence) -> Explanation | None:
    """What had to be mended for the port to give the expected value."""
    healthy = Target(evidence.actual, evidence.expected, evidence.limit, evidence.masked)
    for repair in evidence.repairs:
        residual = healthy.residual(repair.value)
        if healthy.accepts(residual):
            return Explanation(repair.text, residual, 0)
    return None


def simplest(target: Target, candidates: Iterable[Candidate]) -> Explanation | None:
    """Of the candidates that account for the target the first among those with the fewest fitted numbers."""
    best: Explanation | None = None
    for candidate in candidates:
        if best is None or candidate.parameters < best.parameters:
            residual = target.residual(candidate.predicted)
            if target.accepts(residual) and target.can_fit(candidate.parameters):
                best = Explanation(candidate.text, residual, candidate.parameters)
                if best.parameters == 0:
                    break
    return best
