"""Whose code is at fault. Each failing edge of a teacher-forced replay is one local error; here its piece is named.

A failing input edge blames the calling module's own code, a failing output edge the module. A failure that disappears
when the port's constants (masks, position tables) are replaced by the reference's is blamed on the module that made
the constant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from align.edges import is_input, module_of
from align.verdict import EdgeVerdict


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that is wrong: the module whose own code is blamed, why, and the edge that shows it."""

    module: str
    why: str
    edge: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    relative: float = float("inf")  # of the local error, to the expected value

    def as_json(self) -> dict[str, Any]:
        return {"module": self.module, "why": self.why, "evidence": {"edge": self.edge, **self.evidence}}


def findings(verdicts: Sequence[EdgeVerdict]) -> list[Finding]:
    """One finding per guilty module, in execution order, from the first edge that shows it."""
    found: dict[str, Finding] = {}
    for verdict in verdicts:
        if not verdict.passed and verdict.piece not in found:
            found[verdict.piece] = _finding(verdict)
    return list(found.values())


def _finding(verdict: EdgeVerdict) -> Finding:
    d = verdict.difference
    if d.status != "ok":
        why = d.detail
    elif verdict.limit == 0:
        why = f"integer values differ, first at {d.worst_at}"
    else:
        why = f"worst difference {d.max_abs:.2e} at {d.worst_at}, allowed {verdict.limit:.2e}"
    where = "what it passes to" if verdict.kind == "input" else "its output"
    target = f" {module_of(verdict.name)}" if verdict.kind == "input" else ""
    evidence = {"probe": verdict.probe, "ratio": verdict.ratio, "max_abs": d.max_abs, "limit": verdict.limit}
    return Finding(verdict.piece, f"{where}{target} ({verdict.name}): {why}", verdict.name, evidence, verdict.relative)


def trace_conventions(
    found: Sequence[Finding],
    replay: Mapping[str, Any],
    with_constants: Sequence[EdgeVerdict],
    with_all: Sequence[EdgeVerdict],
) -> list[Finding]:
    """Re-blame what the reference's own conventions cure.

    `with_constants` are the verdicts of a replay on the reference's constants, `with_all` of one on its masked scores
    as well. What the first cures is blamed on the module that made the constant, what only the second cures on the
    module that made the scores.
    """
    guilty_still = [{v.piece for v in verdicts if not v.passed} for verdicts in (with_constants, with_all)]
    traced: dict[str, Finding] = {}
    for finding in found:
        if finding.module not in guilty_still[0]:
            finding = _blame_maker(finding, _constant_origin(finding.module, replay), replay)
        elif finding.module not in guilty_still[1]:
            finding = _blame_maker(finding, _mask_into(finding.module, replay), replay)
        traced.setdefault(finding.module, finding)
    return list(traced.values())


def _blame_maker(finding: Finding, source: str | None, replay: Mapping[str, Any]) -> Finding:
    """The finding moved to the module whose own code made what passes the edge `source`."""
    if source is None:
        return finding
    maker = replay["callers"][source] if is_input(source) else module_of(source)
    why = f"the mask or table that it makes ({source}) is wrong; its effect shows at {finding.edge}"
    return Finding(maker, why, finding.edge, finding.evidence, finding.relative)


def _mask_into(piece: str, replay: Mapping[str, Any]) -> str | None:
    """The edge by which masked scores entered `piece`."""
    return next((e for e in replay["own_masks"] if is_input(e) and module_of(e) == piece), None)


def _constant_origin(piece: str, replay: Mapping[str, Any]) -> str | None:
    """The first edge that carried one of the differing constants which `piece`, or who made its scores, works with."""
    own: Mapping[str, int] = replay["own_constants"]
    callers: Mapping[str, str] = replay["callers"]
    scores = _mask_into(piece, replay)
    pieces = {piece} if scores is None else {piece, callers[scores]}
    used = {
        checksum for edge, checksum in own.items() if (module_of(edge) if is_input(edge) else callers[edge]) in pieces
    }
    return next((edge for edge in callers if own.get(edge) in used), None)
