"""A report of before as the measure: no comparison may have come much nearer to its limit, and none may be gone.

A ratio counts as grown when it is more than `factor` times the old one, which is taken for no smaller than 1/64: the
limit is 64 units of rounding, and below one of them ratios tell nothing.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from align.blame import Finding
from align.errors import CannotCompareError
from align.report import SCHEMA
from align.stage import StageReport
from align.verdict import K

FACTOR = 4.0
_FLOOR = 1 / K
_NAMED = 8  # comparisons listed in one line
_LIKE = ("model", "paddle", "config", "task", "variant", "seed", "checkpoint", "paddle_checkpoint", "batch", "text")
Key = tuple[str, str, str, int]  # name, probe, kind, and which of several alike


@dataclass(frozen=True)
class Baseline:
    """The ratios of an earlier report by stage, and the factor by which they may grow."""

    path: Path
    stages: Mapping[str, Mapping[Key, float]]
    case: Mapping[str, Any] = field(default_factory=dict)
    factor: float = FACTOR

    @classmethod
    def read(cls, path: Path, factor: float = FACTOR) -> "Baseline":
        """A report that `--json` wrote.

        Raises:
            CannotCompareError: it cannot be read, is none, or was red: that is nothing to hold others to.
        """
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if report["schema"] != SCHEMA:
                raise CannotCompareError(f"{path}: a report of schema {report['schema']}, not {SCHEMA}: write it anew")
            stages = {stage["stage"]: _ratios(stage["diffs"]) for stage in report["stages"]}
            case, passed = dict(report["case"]), report["passed"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CannotCompareError(
                f"{path}: no report that --json wrote ({type(error).__name__}: {error})"
            ) from error
        if not passed:
            raise CannotCompareError(f"{path}: this report found no parity; a baseline must have been green")
        return cls(path, stages, case, factor)

    def check(self, case: Mapping[str, Any]) -> None:
        """Refuse a baseline of another case. CannotCompareError says what differs."""
        theirs, ours = ({key: facts.get(key) for key in _LIKE} for facts in (self.case, json.loads(json.dumps(case))))
        other = [f"{key} is {theirs[key]} there and {ours[key]} here" for key in _LIKE if theirs[key] != ours[key]]
        if other:
            raise CannotCompareError(f"{self.path}: a baseline of something else: {'; '.join(other)}")


def hold(report: StageReport, baseline: Baseline) -> StageReport:
    """The report with a finding on each comparison that has grown, and one on those that are gone."""
    before = baseline.stages.get(report.stage)
    if before is None:
        note = f"{baseline.path} has no {report.stage} stage: nothing to hold it to"
        return replace(report, notes=[*report.notes, note])
    now = {key: (verdict.ratio, verdict.piece) for key, verdict in _numbered(report)}
    found = list(_grown(now, before, baseline))
    if gone := [key for key in before if key not in now]:
        text = f"{len(gone)} comparisons of {baseline.path} are not made any more: {_listed(gone)}"
        found.append(Finding(gone[0][0], text, gone[0][0], {"baseline": str(baseline.path)}))
    notes = list(report.notes)
    if new := [key for key in now if key not in before]:
        notes.append(f"{len(new)} comparisons are new since {baseline.path}: {_listed(new)}")
    return replace(report, blame=[*report.blame, *found], notes=notes)


def _grown(now: Mapping[Key, tuple[float, str]], before: Mapping[Key, float], base: Baseline) -> Iterator[Finding]:
    first: dict[str, Finding] = {}
    for key, (ratio, piece) in now.items():
        allowed = base.factor * max(before.get(key, float("inf")), _FLOOR)
        if not ratio <= allowed:
            text = (
                f"regression at {key[0]} ({key[1]}): ratio {ratio:.2g}, in {base.path} {before[key]:.2g}, "
                f"and at most {base.factor:g} times that is allowed"
            )
            evidence = {"ratio": ratio, "baseline": before[key], "probe": key[1]}
            first.setdefault(piece, Finding(piece, text, key[0], evidence))
    yield from first.values()


def _numbered(report: StageReport) -> Iterator[tuple[Key, Any]]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for verdict in report.verdicts:
        kind = verdict.name, verdict.probe, verdict.kind
        counts[kind] += 1
        yield (*kind, counts[kind]), verdict


def _ratios(rows: Sequence[Mapping[str, Any]]) -> dict[Key, float]:
    counts: Counter[tuple[str, str, str]] = Counter()
    found: dict[Key, float] = {}
    for row in rows:
        kind = row["name"], row["probe"], row["kind"]
        counts[kind] += 1
        ratio = row["ratio"]
        found[*kind, counts[kind]] = float("inf") if ratio is None else float(ratio)
    return found


def _listed(keys: Sequence[Key]) -> str:
    names = list(dict.fromkeys(f"{name} ({probe}, {kind})" for name, probe, kind, _ in keys))
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
