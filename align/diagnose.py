"""From the failing edges of a replay to findings: whose fault it is, where it was made, and whether it matters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from align.blame import Finding, findings, trace_conventions
from align.edges import ROOT, call_of, is_change, is_input, module_of
from align.harmless import Excused, excuse
from align.record import Record
from align.trial import Trial
from align.verdict import Verdict, judge

IsFailing = Callable[[Verdict], bool]


def diagnose(
    trial: Trial,
    replay: Mapping[str, Any],
    noise: Mapping[str, float],
    is_failing: IsFailing,
    known: Sequence[Finding] = (),
    native: frozenset[str] = frozenset(),
) -> list[Finding]:
    """The findings of one replay in execution order, each blamed on the module that made the fault.

    `known` are findings from elsewhere that are to be traced and ordered with the rest, `native` the modules that the
    replay left native.
    """
    found = [*_failures(trial, replay, noise, is_failing), *known]
    if not found:
        return []
    found += [f for f in one_sided(trial.reference, replay) if f.edge not in _changes(replay)]
    place = _places(trial.reference, replay)
    found.sort(key=lambda finding: place.get(finding.edge, len(place)))

    def guilty(constants: int, masks: bool) -> set[str]:
        again, _ = trial.replay(native, constants, masks, noise=False)
        return {finding.module for finding in _failures(trial, again, noise, is_failing)}

    return trace_conventions(found, replay, guilty)


def excuse_rewrites(trial: Trial, found: Sequence[Finding]) -> tuple[list[Finding], list[Excused]]:
    """Split findings into those that stand and those inside a module that agrees as a whole."""
    modules = list(dict.fromkeys(module_of(edge) for edge in trial.reference))
    return excuse(found, modules, lambda native: judge(*trial.replay(native), trial.probe))


def between_the_pieces(trial: Trial, replay: Mapping[str, Any]) -> list[Finding]:
    """What no replay of single pieces can show: both models run whole, on their own values.

    Every piece agreed on the reference's inputs. If the outputs differ nevertheless, a module changes its input in
    place behind its caller's back, or values are kept and changed between calls.
    """
    modules = {module_of(edge) for edge in trial.reference}
    whole, noise = trial.replay(frozenset(modules - {ROOT}))
    failing = _failures(trial, whole, noise, lambda verdict: not verdict.passed)[:1]
    why = "each piece agrees on the reference's inputs, but not the whole: values are kept or changed between calls"
    reference = replay["names"]["torch"]
    changes = [
        Finding(module_of(e), f"changes its input in place ({e}), as {reference} does not", e, stands=True)
        for e in _changes(replay)
    ]
    if failing and changes:
        return changes
    return [replace(f, module=ROOT, why=f"{why} ({f.why})", stands=True) for f in failing]


def _changes(replay: Mapping[str, Any]) -> list[str]:
    """The inputs that the port alone changes in place."""
    return [edge for edge in replay["unexpected"] if is_change(edge)]


def one_sided(reference: Record, replay: Mapping[str, Any]) -> list[Finding]:
    """Edges that only one side has, of calls that both sides made; none if the port did not come to an end."""
    if replay["error"]:
        return []
    expected, actual = ({call_of(edge) for edge in edges} for edges in (reference, replay["callers"]))
    found = []
    for side, edges in (("torch", replay["missing"]), ("paddle", replay["unexpected"])):
        for edge in edges:
            if call_of(edge) in expected & actual:
                caller = replay["callers"].get(edge) or reference.entry(edge).facts["caller"]
                found.append(
                    Finding(
                        caller if is_input(edge) else module_of(edge), f"only {replay['names'][side]} has {edge}", edge
                    )
                )
    return found


def _failures(
    trial: Trial, replay: Mapping[str, Any], noise: Mapping[str, float], is_failing: IsFailing
) -> list[Finding]:
    verdicts = judge(replay, noise, trial.probe, trial.dtype)
    found = findings([verdict for verdict in verdicts if is_failing(verdict)])
    if replay["error"]:
        module = replay["error"]["module"]
        why = f"the {replay['names']['paddle']} model raised {replay['error']['message']}"
        found.append(Finding(module, why, f"{module}:out", {"probe": trial.probe}, stands=True))
    return found


def _places(reference: Record, replay: Mapping[str, Any]) -> dict[str, int]:
    """Where each edge stands in the port's execution; one that the port never reached, where it should have been."""
    places = {edge: place for place, edge in enumerate(replay["callers"])}
    last = 0
    for edge in reference:
        last = places.setdefault(edge, last)
    return places
