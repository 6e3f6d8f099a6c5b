"""Whose code is at fault. Each failing edge of a teacher-forced replay is one local error; here its piece is named.

A failing input edge blames the calling module's own code, a failing output edge the module. A failure that disappears
when the port's constants (masks, position tables) are replaced by the reference's is blamed on the module that made
the constant.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from align.edges import is_input, module_of
from align.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that is wrong: the module whose own code is blamed, why, and the edge that shows it.

    What `stands` is about none of the limits that the report shows: no wider one excuses it.
    """

    module: str
    why: str
    edge: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    relative: float = float("inf")  # of the local error, to the expected value
    stands: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"module": self.module, "why": self.why, "evidence": {"edge": self.edge, **self.evidence}}


def findings(failing: Sequence[Verdict]) -> list[Finding]:
    """One finding for each guilty module, in execution order, from the first failing edge that shows it."""
    found: dict[str, Finding] = {}
    for verdict in failing:
        if verdict.piece not in found:
            found[verdict.piece] = _finding(verdict)
    return list(found.values())


def one_for_each(found: Iterable[Finding]) -> list[Finding]:
    """One finding for each module, the first; if that might be excused, with the first of those that stand."""
    first: dict[str, Finding] = {}
    for finding in found:
        before = first.setdefault(finding.module, finding)
        if finding.stands and not before.stands:
            first[finding.module] = replace(before, why=f"{before.why}; {finding.why}", stands=True)
    return list(first.values())


def _finding(verdict: Verdict) -> Finding:
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


Guilty = Callable[[int, bool], set[str]]


def trace_conventions(found: Sequence[Finding], replay: Mapping[str, Any], guilty: Guilty) -> list[Finding]:
    """Re-blame what the reference's own conventions cure, on the module that made the port's.

    `guilty(n, masks)` replays with the first `n` constants, and with `masks` the masked scores, of the reference, and
    says which modules are still at fault. The origin of a bad constant is the first that has to be replaced.
    """
    candidates = list(replay["own_constants"].items())
    cured = _cured(found, guilty, candidates[-1][1] + 1) if candidates else []
    moved: dict[Finding, Finding] = {}
    while cured:
        edge, group = _first_cure(cured, candidates, guilty)
        moved |= {finding: _blame_maker(finding, edge, replay) for finding in group}
        cured = [finding for finding in cured if finding not in group]
    left = [finding for finding in found if finding not in moved]
    if left and replay["own_masks"]:
        everything = candidates[-1][1] + 1 if candidates else 0
        for finding in _cured(left, lambda n, _: guilty(n, True), everything):
            entrance = _mask_into(finding.module, replay)
            if entrance is not None:
                moved[finding] = _blame_maker(finding, entrance, replay)
    return one_for_each(moved.get(finding, finding) for finding in found)


def _cured(found: Sequence[Finding], guilty: Guilty, constants: int) -> list[Finding]:
    still = guilty(constants, False)
    return [finding for finding in found if finding.module not in still]


def _first_cure(
    cured: Sequence[Finding], candidates: Sequence[tuple[str, int]], guilty: Guilty
) -> tuple[str, list[Finding]]:
    """The first constant whose replacement, with all before it, cures the first finding; and all it cures."""
    low, high, group = 0, len(candidates) - 1, list(cured)
    while low < high:
        middle = (low + high) // 2
        healed = _cured(cured, guilty, candidates[middle][1] + 1)
        if cured[0] in healed:
            high, group = middle, healed
        else:
            low = middle + 1
    return candidates[high][0], group


def _blame_maker(finding: Finding, source: str, replay: Mapping[str, Any]) -> Finding:
    """The finding moved to the module whose own code made what passes the edge `source`."""
    maker = replay["callers"][source] if is_input(source) else module_of(source)
    why = f"the mask, table or number that it makes ({source}) is wrong; its effect shows at {finding.edge}"
    return replace(finding, module=maker, why=why, evidence={**finding.evidence, "made": source})


def _mask_into(piece: str, replay: Mapping[str, Any]) -> str | None:
    """The edge by which masked scores entered `piece`."""
    return next((e for e in replay["own_masks"] if is_input(e) and module_of(e) == piece), None)
