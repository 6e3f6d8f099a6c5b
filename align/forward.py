"""The forward stage: do both models compute the same values, module by module?

For each probe the reference is recorded in float64, its noise floor is measured, and the port is replayed on the
reference's own inputs. What differs is blamed, traced to constants, and excused where an enclosing module agrees as a
whole. A float32 leg then judges the port's numerics, and the float32 islands that float64 cannot judge.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align.blame import Finding, findings, trace_conventions
from align.blindness import Sight, sight
from align.edges import ROOT, module_of
from align.harmless import excuse
from align.record import Record
from align.stage import FreeRun, StageReport
from align.trial import Pair, Trial
from align.verdict import GROSS_FLOAT32, EdgeVerdict, blurred, judge


@dataclass
class Probe:
    """What one set of weights showed."""

    name: str
    verdicts: list[EdgeVerdict]
    found: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sight: Sight = field(default_factory=Sight)
    free_run: FreeRun | None = None


def forward_stage(pair: Pair, probes: Mapping[str, Path | None], model: str | None) -> StageReport:
    """Judge the forward pass on every probe: name → weights record, or None for the weights that live models have."""
    started = time.perf_counter()
    results = [_judge_probe(pair, name, weights, model) for name, weights in probes.items()]
    verdicts = [verdict for result in results for verdict in result.verdicts]
    return StageReport(
        stage="forward",
        seconds=time.perf_counter() - started,
        verdicts=verdicts,
        blame=_merge(results),
        notes=list(dict.fromkeys(note for r in results for note in r.notes)),
        blind=_blind([result.sight for result in results], verdicts),
        free_run=results[0].free_run,
    )


def _blind(sights: Sequence[Sight], verdicts: Sequence[EdgeVerdict]) -> list[str]:
    """What no probe of this run could have shown."""
    kinds = dict.fromkeys(kind for s in sights for kind in s.kinds)
    unseen = [kind for kind in kinds if not any(kind in s.seen for s in sights)]
    return unseen + [f"differences under {size:.0e} at {name} (noise)" for name, size in blurred(verdicts).items()]


def _merge(results: Sequence[Probe]) -> list[Finding]:
    """The findings of all probes, one for each module."""
    first: dict[str, Finding] = {}
    for result in results:
        for finding in result.found:
            first.setdefault(finding.module, finding)
    return list(first.values())


def _judge_probe(pair: Pair, name: str, weights: Path | None, model: str | None) -> Probe:
    trial = Trial(pair, name, "float64")
    problems = trial.load(weights, model) if weights is not None else []
    trial.record()
    replay, noise = trial.replay()
    if replay["error"]:
        return Probe(name, judge(replay, noise, name), [_raised(replay["error"], name)])
    probe = Probe(name, judge(replay, noise, name))
    _blame(trial, probe, replay, noise, problems)
    probe.sight = sight(
        trial.reference, trial.weights(weights), Record(pair.batch), pair.descriptions["torch"]["kinds"]
    )
    _float32_leg(trial, probe)
    return probe


def _raised(error: Mapping[str, str], probe: str) -> Finding:
    return Finding(
        error["module"], f"the paddle model raised {error['message']}", f"{error['module']}:out", {"probe": probe}
    )


def _blame(
    trial: Trial, probe: Probe, replay: Mapping[str, Any], noise: Mapping[str, float], problems: Sequence[str]
) -> None:
    """Fill in the probe's findings and notes."""
    found = findings(probe.verdicts)
    found += [_misfit(line, probe.name) for line in problems]
    found += _structural(probe, replay)
    if not found:
        return
    if replay["own_constants"] or replay["own_masks"]:
        again = [judge(trial.replay(constants=True, masks=m, noise=False)[0], noise, probe.name) for m in (False, True)]
        found = trace_conventions(found, replay, *again)
    modules = list(dict.fromkeys(module_of(edge) for edge in trial.reference))
    probe.found, excused = excuse(found, modules, lambda native: judge(*trial.replay(native), probe.name))
    probe.notes += [f"{e.finding.module}: {e.finding.why} — harmless: {e.composite} agrees as a whole" for e in excused]


def _misfit(problem: str, probe: str) -> Finding:
    name = problem.partition(":")[0]
    return Finding(
        name.rpartition(".")[0] or ROOT, f"parameter {problem}", f"{name.rpartition('.')[0]}:out", {"probe": probe}
    )


def _structural(probe: Probe, replay: Mapping[str, Any]) -> list[Finding]:
    """Modules that ran on one side only: a note, unless what the model returns is concerned."""
    found = []
    for side, edges in (("torch", replay["missing"]), ("paddle", replay["unexpected"])):
        outputs = [edge for edge in edges if module_of(edge) == ROOT and ":out" in edge]
        found += [
            Finding(ROOT, f"only the {side} model returns {e.partition(':')[2]}", e, {"probe": probe.name})
            for e in outputs
        ]
        modules = list(dict.fromkeys(module_of(edge) for edge in edges if edge not in outputs))
        if modules:
            probe.notes.append(
                f"only the {side} model has edges at: {', '.join(modules[:8])}{' …' if len(modules) > 8 else ''}"
            )
    return found


def _float32_leg(trial64: Trial, probe: Probe) -> None:
    """Judge the port's float32 numerics, and with them the float32 islands of the float64 run."""
    trial = Trial(trial64.pair, trial64.probe, "float32")
    trial.record()
    replay, _ = trial.replay(noise=False)
    errors = trial.rounding_error()
    quality = {v.name: v for v in judge(replay, errors, probe.name, "float32")}
    if replay["error"]:
        probe.found.append(_raised(replay["error"], probe.name))
    elif probe.name == "default":
        probe.free_run = trial.free_run()
    _excuse_islands(probe, quality)
    _note_quality(probe, quality)


def _excuse_islands(probe: Probe, quality: Mapping[str, EdgeVerdict]) -> None:
    """A finding whose failing edges are all float32 islands is judged by the float32 leg alone."""
    failing: dict[str, list[EdgeVerdict]] = {}
    for verdict in probe.verdicts:
        if not verdict.passed:
            failing.setdefault(verdict.piece, []).append(verdict)
    standing = []
    for finding in probe.found:
        edges = failing.get(finding.module, [])
        if edges and all(v.is_island and v.name in quality and quality[v.name].passed for v in edges):
            worst = max(quality[v.name].ratio for v in edges)
            probe.notes.append(
                f"{finding.module}: computes {edges[0].name} in float32 inside the float64 run (a float32 island); "
                f"judged in float32 instead, ratio {worst:.2g}"
            )
        else:
            standing.append(finding)
    probe.found = standing


def _note_quality(probe: Probe, quality: Mapping[str, EdgeVerdict]) -> None:
    """Where float64 agrees and float32 does not: a note, or a finding when over half of the float32 digits are lost."""
    agreed = {v.name for v in probe.verdicts if v.passed}
    for verdict in quality.values():
        if verdict.passed or verdict.name not in agreed:
            continue
        text = f"{verdict.name} in float32: {_quality_text(verdict)}"
        if verdict.difference.status != "ok" or verdict.relative > GROSS_FLOAT32:
            evidence = {"probe": probe.name, "dtype": "float32", "ratio": verdict.ratio}
            probe.found.append(Finding(verdict.piece, text, verdict.name, evidence, verdict.relative))
        else:
            probe.notes.append(f"numeric quality: {text}")


def _quality_text(verdict: EdgeVerdict) -> str:
    d = verdict.difference
    if d.status != "ok":
        return d.detail
    return f"{d.max_abs:.2e} from torch, {verdict.ratio:.1f} times what rounding allows, though float64 agrees"
