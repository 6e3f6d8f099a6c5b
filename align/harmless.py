"""Harmless rewrites: a difference inside a composite that agrees as a whole becomes a note.

Consistently permuted heads, fused projections or a missing key bias change what stands inside a module and nothing of
what it computes. So each finding's enclosing modules are tried, nearest first: everything inside is left native on
both sides, and if the composite's own outputs agree, what was found inside is harmless. The model as a whole is never
tried, nor is a composite that changes its input in place on one side only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from align.blame import Finding
from align.edges import ROOT, ancestors, inside, is_change, is_input, module_of
from align.verdict import Verdict

# A composite may only excuse an error that it would have shown 2¹⁰ times over: noise must not swallow a small bug.
SENSITIVITY = 2.0**10

Judge = Callable[[frozenset[str]], Sequence[Verdict]]


@dataclass(frozen=True)
class Excused:
    """A finding together with the composite that agrees as a whole."""

    finding: Finding
    composite: str

    @property
    def note(self) -> str:
        return f"{self.finding.module}: {self.finding.why} — harmless: {self.composite} agrees as a whole"


def excuse(found: Sequence[Finding], modules: Sequence[str], judge: Judge) -> tuple[list[Finding], list[Excused]]:
    """Split the findings into those that stand and those that a composite excuses.

    `modules` are the modules that ran; `judge` replays with the given modules left native and returns the verdicts.
    """
    ran = set(modules) - {module_of(f.edge) for f in found if is_change(f.edge)}
    chains = {f: [c for c in _chain(f) if c in ran and c != ROOT] for f in found}
    excused: dict[Finding, str] = {}
    for level in range(max((len(c) for c in chains.values()), default=0)):
        open_at = {f: chain[level] for f, chain in chains.items() if f not in excused and level < len(chain)}
        for group in _disjoint(set(open_at.values())):
            outputs = _outputs(judge(frozenset(m for m in modules if any(inside(m, c) for c in group))), group)
            excused |= {f: c for f, c in open_at.items() if c in group and _agrees(outputs[c], f)}
    standing = [f for f in found if f not in excused]
    return standing, [Excused(f, c) for f, c in excused.items()]


def _chain(finding: Finding) -> list[str]:
    """The composites that may excuse a finding, nearest first; what a module passes on may be mended inside itself."""
    own = [finding.module] if is_input(finding.edge) else []
    return own + ancestors(finding.module)


def _disjoint(composites: set[str]) -> list[set[str]]:
    """Split into groups in which no composite lies inside another, so that one replay serves a group."""
    groups: list[set[str]] = []
    for composite in sorted(composites):
        for group in groups:
            if not any(inside(composite, other) or inside(other, composite) for other in group):
                group.add(composite)
                break
        else:
            groups.append({composite})
    return groups


def _outputs(verdicts: Sequence[Verdict], group: set[str]) -> Mapping[str, list[Verdict]]:
    return {c: [v for v in verdicts if module_of(v.name) == c and not is_input(v.name)] for c in group}


def _agrees(outputs: Sequence[Verdict], finding: Finding) -> bool:
    """All outputs pass, and each would have shown the finding's error."""
    return bool(outputs) and all(
        v.passed and v.limit * SENSITIVITY <= finding.relative * v.difference.scale for v in outputs
    )
