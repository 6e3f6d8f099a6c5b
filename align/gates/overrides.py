"""Wider limits for some modules, from the settings: what they excuse, and what they do not.

An override changes limits, nothing else. A finding stands unless every comparison that failed for it, of the blamed
module's or at the blamed edge, is within its wider limit; what is not about a limit of the report (a shape, a NaN, a
model that raised) always stands.
"""

from collections.abc import Sequence
from dataclasses import replace

from align.blame import Finding
from align.gates.settings import Widened
from align.stage import StageReport
from align.verdict import Verdict


def widen(report: StageReport, widened: Sequence[Widened], source: str) -> StageReport:
    """The report under wider limits; a note on each override that holds for this stage says what it excused."""
    rules = [rule for rule in widened if rule.stage in (None, report.stage)]
    if not rules:
        return report
    pairs = [(verdict, _widened(verdict, report.stage, rules)) for verdict in report.verdicts]
    standing = [finding for finding in report.blame if not _is_excused(finding, pairs)]
    if report.blame and not standing and report.free_run:
        standing = report.free_run.undefined  # looked for only where nothing else was found
    return replace(
        report,
        verdicts=[wide for _, wide in pairs],
        blame=standing,
        notes=[*report.notes, *(_note(rule, source, report.stage, pairs) for rule in rules)],
    )


def _widened(verdict: Verdict, stage: str, rules: Sequence[Widened]) -> Verdict:
    """The verdict under the widest limit that a rule allows; a limit of 0, of what must be equal, stays."""
    factors = [rule.factor for rule in rules if rule.holds_for(stage, verdict.piece)]
    return replace(verdict, limit=verdict.limit * max(factors)) if factors else verdict


def _is_excused(finding: Finding, pairs: Sequence[tuple[Verdict, Verdict]]) -> bool:
    """Only by wider limits, and only what is about them."""
    mine = [wide for v, wide in pairs if not v.passed and (v.piece == finding.module or v.name == finding.edge)]
    return not finding.stands and bool(mine) and all(wide.passed for wide in mine)


def _note(rule: Widened, source: str, stage: str, pairs: Sequence[tuple[Verdict, Verdict]]) -> str:
    excused = [v for v, wide in pairs if wide.passed and not v.passed and rule.holds_for(stage, v.piece)]
    if not excused:
        return f"override in {source}: {rule} (it excused nothing)"
    worst = max(v.ratio for v in excused)
    return (
        f"override in {source}: {rule} (it excused {len(excused)} comparisons, the worst at {worst:.2g} of its limit)"
    )
