"""What every kind of report says in the same words."""

from collections.abc import Mapping, Sequence
from typing import Any

from align.blame import Finding
from align.report import Report
from align.stage import NOT_APPLICABLE, NOT_COMPARED, NOT_RUN, Omission, StageReport
from align.stages import STAGES
from align.verdict import Verdict

LOOK_AT_THE_FIRST = "Look at the first: its inputs were the reference's own, so the fault is in its code or weights."

_STATUS = {NOT_APPLICABLE: "nothing to judge", NOT_RUN: "not run", NOT_COMPARED: "could not compare"}


def title(report: Report) -> str:
    """What was compared."""
    return " ".join(str(report.case[key]) for key in ("model", "task", "variant") if key in report.case)


def versions(report: Report) -> str:
    return " against ".join(str(report.environment[side]) for side in ("torch", "paddle") if side in report.environment)


def cause(finding: Finding) -> str | None:
    """The explanation of a finding, and what it leaves of the difference where that was measured."""
    explanation: Mapping[str, Any] | None = finding.evidence.get("explanation")
    if explanation is None:
        return None
    left = f"{explanation['residual']:.1e}" if explanation.get("residual") else "nothing"
    measured = f" (which leaves {left} of the difference)" if "residual" in explanation else ""
    return f"{explanation['text']}{measured}"


def is_replayed(stage: StageReport) -> bool:
    """Whether the pieces were judged on the reference's own inputs, so that a finding speaks of that piece alone."""
    return any(verdict.kind in ("input", "gradient") for verdict in stage.verdicts) and stage.stage != "training"


def result(stage: StageReport) -> str:
    """What a stage found, without its name."""
    if not stage.verdicts:
        return "nothing was compared"
    failing = sum(not verdict.passed for verdict in stage.verdicts)
    compared = f"{len(stage.verdicts)} comparisons"
    if not stage.passed:
        told = f"{failing} of {compared} differ" if failing else f"{compared} agree, but the structure does not"
        return f"{told}, in {stage.seconds:.1f} s"
    harmless = f", {failing} of them differ harmlessly," if failing else ""
    nearest = max(v.ratio for v in stage.verdicts if v.passed) if failing < len(stage.verdicts) else 0.0
    return f"{compared}{harmless} in {stage.seconds:.1f} s; the worst stands at {nearest:.2g} of its limit"


def proves_nothing(stage: StageReport) -> str | None:
    """A warning on a stage that stands on red ones."""
    if not stage.red_before:
        return None
    *others, last = stage.red_before
    under = f"{', '.join(others)} and {last}" if others else last
    return f"This proves nothing yet: it stands on {under}, to be mended first."


def omitted(omission: Omission) -> str:
    return f"{_STATUS[omission.status]}: {omission.reason}"


def in_order(report: Report) -> list[StageReport | Omission]:
    """The stages that were asked for, judged or not, in their order."""
    found = [*report.stages, *report.omitted]
    place = {name: n for n, name in enumerate(STAGES)}
    return sorted(found, key=lambda stage: place.get(stage.stage, len(place)))


def nearest(verdicts: Sequence[Verdict], count: int) -> list[Verdict]:
    """Those furthest beyond their limit, or nearest to it."""
    return sorted(verdicts, key=lambda v: (v.difference.status == "ok", -v.ratio))[:count]
