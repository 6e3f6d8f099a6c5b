"""The quantities of a training run over its updates, and how far two runs may part in each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from align.difference import Difference
from align.drawn import Curve
from align.edges import ROOT
from align.structure import owner
from align.verdict import Verdict, rounding

SCALARS = ("loss", "gradient norm", "learning rate")  # what is one number in every update; parameters may be called so


@dataclass(frozen=True)
class Leg:
    """How one dtype is judged: so many controls, κ, and the relative gap beyond which nothing is judged."""

    dtype: str
    controls: int
    kappa: float
    horizon: float


@dataclass(frozen=True)
class Run:
    """What one run left: "loss", "gradients" … by update (see `operations.training.run`)."""

    values: Mapping[str, np.ndarray]
    parameters: Sequence[str]


@dataclass(frozen=True)
class Track:
    """One quantity over all updates: the gap between the sides, and the largest that a control has shown so far.

    Both are relative: to the reference's loss, to the norm of all gradients, to the length of a parameter. No update
    from number `end` on is judged.
    """

    name: str
    kind: str
    module: str
    gap: np.ndarray
    floor: np.ndarray
    end: int | None = None

    @property
    def is_scalar(self) -> bool:
        return self.kind in SCALARS

    def limit(self, leg: Leg) -> np.ndarray:
        return leg.kappa * np.maximum(self.floor, rounding(leg.dtype, 8.0))

    def horizon(self, leg: Leg) -> int:
        """The number of updates that are judged."""
        beyond = np.flatnonzero(self.limit(leg)[: self.end] > leg.horizon)
        return int(beyond[0]) if beyond.size else len(self.gap[: self.end])

    def wrong(self, leg: Leg) -> np.ndarray:
        """Whether each update that is judged exceeds its limit. A NaN on one side does."""
        judged = self.horizon(leg)
        return ~(self.gap[:judged] <= self.limit(leg)[:judged])

    def is_wrong(self, leg: Leg, update: int) -> bool:
        return update < self.horizon(leg) and bool(self.wrong(leg)[update])

    def first_wrong(self, leg: Leg) -> int:
        return int(np.flatnonzero(self.wrong(leg))[0])

    def verdict(self, leg: Leg) -> Verdict:
        """The verdict on the first wrong update, or on the one nearest to its limit."""
        limit, judged = self.limit(leg), self.horizon(leg)
        if self.wrong(leg).any():
            at = self.first_wrong(leg)
        else:
            at = int(np.argmax(self.gap[:judged] / limit[:judged])) if judged else 0
        gap = float(self.gap[at]) if judged else 0.0
        status = "ok" if np.isfinite(gap) else "nonfinite"
        found = Difference(
            status,
            self.gap.shape,
            leg.dtype,
            float(np.mean(self.gap[:judged])) if judged else 0.0,
            gap,
            gap,
            1.0,
            (at,),
        )
        return Verdict(self.name, leg.dtype, self.kind, self.module, found, float(self.floor[at]), float(limit[at]))

    def curve(self, leg: Leg, expected: Run, actual: Run) -> Curve:
        """The track as reports draw it, with the values of both sides where each is one number."""
        torch, paddle = (run.values[self.name] if self.is_scalar else np.empty(0) for run in (expected, actual))
        return Curve(self.name, self.kind, leg.dtype, torch, paddle, self.gap, self.limit(leg), self.horizon(leg))


def tracks_of(expected: Run, actual: Run, controls: Sequence[Run]) -> Iterator[Track]:
    """The quantities of an update in the order in which they arise."""
    yield _scalar("loss", expected, actual, controls)
    yield from _per_parameter("gradients", "gradient", expected.values["gradient norm"], expected, actual, controls)
    yield _scalar("gradient norm", expected, actual, controls)
    yield _scalar("learning rate", expected, actual, controls)
    yield from _per_parameter("weights", "weight", None, expected, actual, controls)


def while_determined(tracks: Sequence[Track], leg: Leg) -> list[Track]:
    """The tracks up to the horizon of the first, the loss.

    Where rounding alone decides the loss, the runs train different networks. What a few controls show of another
    quantity is no limit for it then: it may stand still in all of them, and jump in the next run. Only the learning
    rate goes its way whatever the network.
    """
    end = tracks[0].horizon(leg)
    return [track if track.kind == "learning rate" else replace(track, end=end) for track in tracks]


def _scalar(name: str, expected: Run, actual: Run, controls: Sequence[Run]) -> Track:
    reference = expected.values[name]
    scale = np.maximum(np.abs(reference), np.finfo(np.float64).tiny)
    gaps = [np.abs(run.values[name] - reference) / scale for run in (actual, *controls)]
    return Track(name, name, ROOT, gaps[0], _running_maximum(gaps[1:]))


def _per_parameter(
    column: str, kind: str, scale: np.ndarray | None, expected: Run, actual: Run, controls: Sequence[Run]
) -> Iterator[Track]:
    sizes = expected.values["weight sizes"]
    for index, name in enumerate(expected.parameters):
        if name not in actual.parameters:
            continue
        reference = expected.values[column][:, index]
        length = np.maximum(sizes[:, index] if scale is None else scale, np.finfo(np.float64).tiny)
        gaps = [
            np.linalg.norm(run.values[column][:, run.parameters.index(name)] - reference, axis=-1) / (2 * length)
            for run in (actual, *controls)
        ]
        yield Track(name, kind, owner(name), gaps[0], _running_maximum(gaps[1:]))


def _running_maximum(gaps: Sequence[np.ndarray]) -> np.ndarray:
    return np.maximum.accumulate(np.max(gaps, axis=0))
