"""What every kind of report says in the same words."""

from collections.abc import Mapping, Sequence
from typing import Any

from align.blame import Finding
from align.report import Report
from align.sides import SIDES, TITLES
from align.stage import NOT_APPLICABLE, NOT_COMPARED, NOT_RUN, Omission, StageReport
from align.stages import STAGES
from align.verdict import Verdict

LOOK_AT_THE_FIRST = "Look at the first: its inputs were the reference's own, so the fault is in its code or weights."

ERRORS_ADD_UP = "Each side ran on its own values, from end to end, so errors add up: the fault may lie anywhere before."

# What makes a finding of each stage point at the module and at nothing before it.
WHY_THERE = {
    "forward": "Its inputs were {reference}'s own values, so the fault lies in the code or the weights of this module, "
    "not in anything before it.",
    "loss": "Its inputs were {reference}'s own values, so the fault lies in the code or the weights of this module, "
    "not in anything before it.",
    "backward": "Its inputs and the gradients that reached it were {reference}'s own, so the fault lies in how this "
    "module sends gradients back, not in anything around it.",
    "init": "Both sides built the model anew many times; the fault lies in how this module initialises itself.",
    "metric": "Both sides scored the same outputs, so the fault lies in the metric itself.",
    "optimizer": "Both sides got the same parameters and the same gradients, so the fault lies in the optimizer or its "
    "schedule.",
    "training": "Both sides trained from the same weights on the same batches; the quantities before this one still "
    "agreed.",
    "data": "Both sides read the same text, so the fault lies in how the batch is made.",
    "invariance": "One side was compared with itself: what a model returns must not depend on this.",
}

_STATUS = {NOT_APPLICABLE: "nothing to judge", NOT_RUN: "not run", NOT_COMPARED: "could not compare"}


def title(report: Report) -> str:
    """What was compared."""
    return " ".join(str(report.case[key]) for key in ("model", "task", "variant") if key in report.case)


def versions(report: Report) -> str:
    return " against ".join(str(report.environment[side]) for side in SIDES if side in report.environment)


def frameworks(report: Report) -> tuple[str, str]:
    """What the reference and the port are written in."""
    found = [str(report.environment.get(side, side)).partition(" ")[0] for side in SIDES]
    return TITLES.get(found[0], found[0]), TITLES.get(found[1], found[1])


def cause(finding: Finding) -> str | None:
    """The explanation of a finding, and what it leaves of the difference where that was measured."""
    explanation: Mapping[str, Any] | None = finding.evidence.get("explanation")
    if explanation is None:
        return None
    left = residual(finding)
    return f"{explanation['text']} (which leaves {left} of the difference)" if left else str(explanation["text"])


def residual(finding: Finding) -> str | None:
    """What the explanation leaves of the difference, where that was measured."""
    explanation = finding.evidence.get("explanation", {})
    if "residual" not in explanation:
        return None
    return f"{explanation['residual']:.1e}" if explanation["residual"] else "nothing"


def is_replayed(stage: StageReport) -> bool:
    """Whether the first finding is one of pieces judged on the reference's own inputs, and speaks of that one alone."""
    replayed = any(verdict.kind in ("input", "gradient") for verdict in stage.verdicts) and stage.stage != "training"
    return replayed and not _is_end_to_end(stage)


def why_there(stage: StageReport, reference: str) -> str:
    """What makes the first finding of a stage point at its module, or why it need not."""
    return ERRORS_ADD_UP if _is_end_to_end(stage) else WHY_THERE.get(stage.stage, "").format(reference=reference)


def _is_end_to_end(stage: StageReport) -> bool:
    return bool(stage.blame) and bool(stage.blame[0].evidence.get("end_to_end"))


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
    found: list[StageReport | Omission] = [*report.stages, *report.omitted]
    place = {name: n for n, name in enumerate(STAGES)}
    return sorted(found, key=lambda stage: place.get(stage.stage, len(place)))


def nearest(verdicts: Sequence[Verdict], count: int) -> list[Verdict]:
    """Those that fail, and of them and of the others those furthest beyond their limit, or nearest to it."""
    return sorted(verdicts, key=lambda v: (v.passed, v.difference.status == "ok", -v.ratio))[:count]
