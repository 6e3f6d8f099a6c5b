"""What one stage found: plain data whose verdict is derived from the recorded numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from align.blame import Finding
from align.difference import Difference, difference
from align.drawn import Curve, Histogram
from align.edges import ROOT, is_input, module_of
from align.verdict import Verdict


@dataclass(frozen=True)
class FreeRun:
    """Both models in float32 from end to end, nothing substituted: the differences that reproductions publish.

    `expected` and `actual` hold what each module of either side returned.
    """

    expected: Mapping[str, np.ndarray]
    actual: Mapping[str, np.ndarray]
    differences: Mapping[str, Difference]

    @classmethod
    def of(cls, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> Self:
        edges = [edge for edge, v in expected.items() if not is_input(edge) and edge in actual and v.dtype.kind == "f"]
        return cls(expected, actual, {edge: difference(expected[edge], actual[edge]) for edge in edges})

    @property
    def undefined(self) -> list[Finding]:
        """Whatever the pieces say: a model that ends in NaN where the other does not is not the same function."""
        outputs = {edge: d for edge, d in self.differences.items() if module_of(edge) == ROOT and d.status != "ok"}
        why, how = "in float32, from end to end,", {"end_to_end": True}
        return [Finding(ROOT, f"{why} {edge}: {d.detail}", edge, how, stands=True) for edge, d in outputs.items()][:1]

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "name": edge,
                "mean_abs": d.mean_abs,
                "max_abs": d.max_abs,
                "rms": d.rms,
                "scale": d.scale,
                "status": d.status,
            }
            for edge, d in self.differences.items()
        ]

    def sides(self, edges: Collection[str] | None = None) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What either side has at the edges that were compared, or at those of `edges` among them."""
        chosen = [edge for edge in self.differences if edges is None or edge in edges]
        expected, actual = ({edge: arrays[edge] for edge in chosen} for arrays in (self.expected, self.actual))
        return expected, actual


NOT_APPLICABLE, NOT_RUN, NOT_COMPARED = "not applicable", "not run", "not compared"


@dataclass(frozen=True)
class Omission:
    """A stage that was asked for and came to no verdict, and why.

    `status` is NOT_APPLICABLE (it has nothing to judge in this case), NOT_RUN (one before it was red) or NOT_COMPARED
    (it failed to come to a verdict: then there is no parity either).
    """

    stage: str
    status: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        return {"stage": self.stage, "status": self.status, "reason": self.reason}


@dataclass(frozen=True)
class StageReport:
    """The verdict on one stage. `blame` are the findings that stand; `notes` what was found harmless.

    `red_before` are earlier stages that this one stands on and that are red: while they are, it proves nothing.
    """

    stage: str
    seconds: float
    verdicts: Sequence[Verdict]
    blame: Sequence[Finding] = ()
    notes: Sequence[str] = ()
    blind: Sequence[str] = ()
    free_run: FreeRun | None = None
    curves: Sequence[Curve] = ()
    histograms: Sequence[Histogram] = ()
    red_before: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Nothing is blamed, and something was compared."""
        return bool(self.verdicts) and not self.blame

    @property
    def first_divergence(self) -> str | None:
        return self.blame[0].edge if self.blame else None

    @property
    def worst(self) -> Verdict | None:
        """The edge nearest to its limit, or furthest beyond it."""
        return max(self.verdicts, key=lambda v: (not v.passed, v.difference.status != "ok", v.ratio), default=None)

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "passed": self.passed,
            "seconds": self.seconds,
            "first_divergence": self.first_divergence,
            "blame": [f.as_json() for f in self.blame],
            "red_before": list(self.red_before),
            "notes": list(self.notes),
            "blind_to": list(self.blind),
            "diffs": [v.as_json() for v in self.verdicts],
            "float32_end_to_end": self.free_run.as_json() if self.free_run else [],
            "curves": [curve.as_json() for curve in self.curves],
            "histograms": [histogram.as_json() for histogram in self.histograms],
        }
