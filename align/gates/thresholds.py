"""The classical fixed thresholds, on top of the verdict: how far apart the models' float32 outputs may be, from end to
end. They can only tighten: a stage that is red stays red.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from align.blame import Finding
from align.difference import Difference
from align.edges import ROOT, module_of
from align.stage import StageReport
from align.verdict import Verdict

APPLY_TO = ("forward", "loss")  # the stages that run both models from end to end
END_TO_END = "float32 end to end"


@dataclass(frozen=True)
class Thresholds:
    """The largest and the mean absolute difference of each output that pass; None asks nothing."""

    max_diff: float | None = None
    mean_diff: float | None = None

    def __bool__(self) -> bool:
        return self.max_diff is not None or self.mean_diff is not None


def tighten(report: StageReport, thresholds: Thresholds) -> StageReport:
    """The report with a verdict on each output and threshold, and a finding where one is exceeded.

    Where no end was reached, because the port raised, the stage is red already.
    """
    if not thresholds or report.free_run is None:
        return report
    verdicts = [
        verdict
        for edge, found in report.free_run.differences.items()
        if module_of(edge) == ROOT
        for verdict in _verdicts(edge, found, thresholds)
    ]
    found = [_finding(verdict) for verdict in verdicts if not verdict.passed]
    return replace(report, verdicts=[*report.verdicts, *verdicts], blame=[*report.blame, *found])


def _verdicts(edge: str, found: Difference, thresholds: Thresholds) -> Iterator[Verdict]:
    if thresholds.max_diff is not None:
        yield Verdict(edge, END_TO_END, "max-diff", ROOT, found, 0.0, thresholds.max_diff)
    if thresholds.mean_diff is not None:
        mean = replace(found, max_abs=found.mean_abs, worst_at=None)
        yield Verdict(edge, END_TO_END, "mean-diff", ROOT, mean, 0.0, thresholds.mean_diff)


def _finding(verdict: Verdict) -> Finding:
    d, kind = verdict.difference, "largest" if verdict.kind == "max-diff" else "mean"
    text = d.detail or f"the {kind} difference is {d.max_abs:.2e}, and --{verdict.kind} allows {verdict.limit:.2e}"
    evidence = {"probe": verdict.probe, "ratio": verdict.ratio, "max_abs": d.max_abs, "limit": verdict.limit}
    evidence["end_to_end"] = True
    return Finding(ROOT, f"in float32, from end to end, {verdict.name}: {text}", verdict.name, evidence)
