"""The forward stage: do both models compute the same values, module by module?

For each probe the reference is recorded in float64, its noise floor is measured, and the port is replayed on the
reference's own inputs. What differs is blamed, traced to constants, and excused where an enclosing module agrees as a
whole. A float32 leg then judges the port's numerics, and the float32 islands that float64 cannot judge.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from align.blame import Finding, one_for_each
from align.blindness import Sight, sight
from align.diagnose import between_the_pieces, diagnose, excuse_rewrites, one_sided
from align.edges import ROOT, inside, is_input, module_of
from align.explain.gather import explained
from align.record import Record
from align.stage import FreeRun, StageReport
from align.stages import Subject
from align.structure import sharing
from align.trial import Pair, Trial
from align.verdict import GROSS_FLOAT32, Verdict, blurred, judge

_NAMED = 8  # modules listed in one note


@dataclass
class Probe:
    """What one set of weights showed."""

    name: str
    verdicts: list[Verdict]
    found: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sight: Sight = field(default_factory=Sight)
    free_run: FreeRun | None = None


def run(subject: Subject) -> StageReport:
    """Judge the forward pass on every probe and in every situation of the batch."""
    started = time.perf_counter()
    pair = replace(subject.pair, batch=subject.inputs)
    results = [judge_probe(pair, name, weights, subject.model) for name, weights in subject.weights.items()]
    default = next(iter(subject.weights.values()))
    results += [
        judge_probe(replace(pair, batch=batch), name, default, subject.model, float32=False)
        for name, batch in subject.situations.items()
    ]
    verdicts = [verdict for result in results for verdict in result.verdicts]
    if subject.log and results[0].free_run:
        subject.log("forward", *results[0].free_run.sides())
    return StageReport(
        stage="forward",
        seconds=time.perf_counter() - started,
        verdicts=verdicts,
        blame=_configuration(pair.descriptions) + merge(results),
        notes=list(
            dict.fromkeys(
                [note for r in results for note in r.notes] + [fact.text for fact in sharing(pair.descriptions)]
            )
        ),
        blind=_blind([result.sight for result in results], verdicts),
        free_run=results[0].free_run,
    )


def _blind(sights: Sequence[Sight], verdicts: Sequence[Verdict]) -> list[str]:
    """What no probe of this run could have shown."""
    kinds = dict.fromkeys(kind for s in sights for kind in s.kinds)
    unseen = [kind for kind in kinds if not any(kind in s.seen for s in sights)]
    return unseen + [f"differences under {size:.0e} at {name} (noise)" for name, size in blurred(verdicts).items()]


def _configuration(descriptions: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """What the two model files make of the same configuration: their defaults must agree."""
    torch, paddle = (descriptions[side].get("config", {}) for side in ("torch", "paddle"))
    differing = sorted(key for key in torch.keys() | paddle.keys() if torch.get(key) != paddle.get(key))
    shown = [{key: f"{v:g}" if isinstance(v, float) else v for key, v in config.items()} for config in (torch, paddle)]
    values = ", ".join(f"{key} is {shown[0].get(key)} in torch and {shown[1].get(key)} in paddle" for key in differing)
    why = f"the same configuration is read differently: {values}"
    return [Finding(ROOT, why, f"{ROOT}:config", stands=True)] if differing else []


def merge(results: Sequence[Probe]) -> list[Finding]:
    """The findings of all probes, one for each module."""
    return one_for_each(finding for result in results for finding in result.found)


def judge_probe(pair: Pair, name: str, weights: Path | None, model: str | None, float32: bool = True) -> Probe:
    """Judge one forward pass on the pair's batch; without `float32` only in float64, piece by piece."""
    trial = Trial(pair, name, "float64")
    problems = trial.load(weights, model) if weights is not None else []
    trial.record()
    replay, noise = trial.replay()
    probe = Probe(name, judge(replay, noise, name))
    misfits = [*map(misfit, problems), *_other_outputs(trial.reference, replay)]
    found = diagnose(trial, replay, noise, lambda verdict: not verdict.passed, misfits)
    probe.found, excused = excuse_rewrites(trial, found)
    probe.notes = [e.note for e in excused]
    probe.notes += _one_sided_modules(trial.reference, replay)
    probe.sight = sight(
        trial.reference, trial.weights(weights), Record(pair.batch), pair.descriptions["torch"]["kinds"]
    )
    if float32 and not replay["error"]:
        modules = {module_of(edge) for edge in trial.reference}
        native = frozenset(m for m in modules if any(inside(m, e.composite) for e in excused))
        islands = _float32_leg(Trial(pair, name, "float32"), probe, native)
        if not probe.found and not islands:
            probe.found = between_the_pieces(trial, replay)
    if probe.found:
        probe.found = explained(trial, probe.found)
    return probe


def misfit(problem: str) -> Finding:
    """What is found of a parameter that `Session.load` complains of."""
    module = problem.partition(":")[0].rpartition(".")[0] or ROOT
    return Finding(module, f"parameter {problem}", f"{module}:out", stands=True)


def _other_outputs(reference: Record, replay: Mapping[str, Any]) -> list[Finding]:
    """What only one of the models returns."""
    found = one_sided(reference, replay)
    return [replace(f, stands=True) for f in found if module_of(f.edge) == ROOT and not is_input(f.edge)]


def _one_sided_modules(reference: Record, replay: Mapping[str, Any]) -> list[str]:
    """A note on modules that have edges on one side only; what they do is judged by its effect."""
    notes = []
    for side, edges in (("torch", replay["missing"]), ("paddle", replay["unexpected"])):
        modules = list(dict.fromkeys(module_of(edge) for edge in edges if module_of(edge) != ROOT))
        if modules:
            more = " …" if len(modules) > _NAMED else ""
            notes.append(f"only the {replay['names'][side]} model has edges at: {', '.join(modules[:_NAMED])}{more}")
    return notes


def _float32_leg(trial: Trial, probe: Probe, native: frozenset[str]) -> bool:
    """Judge the port's float32 numerics, and the float32 islands of the float64 run; say whether there are any.

    What float64 has found harmless is `native` inside: only the composite that agreed as a whole is judged.
    """
    trial.record()
    replay, _ = trial.replay(native, noise=False)
    errors = trial.rounding_error(native)
    quality = {v.name: v for v in judge(replay, errors, probe.name, "float32")}
    islands = _excuse_islands(probe, quality)
    agreed = {v.name for v in probe.verdicts if v.passed}
    lost = diagnose(trial, replay, errors, lambda v: v.name in agreed and _is_lost(v), native=native)
    probe.found += [replace(finding, stands=True) for finding in lost]  # the limits in the report are float64's
    probe.notes += [
        f"numeric quality: {v.name} in float32: {v.difference.max_abs:.2e} from {trial.pair.names['torch']}, "
        f"{v.ratio:.1f} times what rounding allows, though float64 agrees"
        for v in quality.values()
        if v.name in agreed and not v.passed and not _is_lost(v)
    ]
    if probe.name == "default" and not replay["error"]:
        probe.free_run = trial.free_run()
        if not probe.found:
            probe.found = probe.free_run.undefined
    return islands


def _is_lost(verdict: Verdict) -> bool:
    """Beyond poorer numerics: not comparable, or over half of the float32 digits gone where the reference has them."""
    return not verdict.passed and (verdict.difference.status != "ok" or verdict.relative > GROSS_FLOAT32)


def _excuse_islands(probe: Probe, quality: Mapping[str, Verdict]) -> bool:
    """A finding whose failing edges are all float32 islands is judged by the float32 leg alone."""
    failing: dict[str, list[Verdict]] = {}
    for verdict in probe.verdicts:
        if not verdict.passed:
            failing.setdefault(verdict.piece, []).append(verdict)
    standing = []
    for finding in probe.found:
        edges = failing.get(finding.module, [])
        if (
            not finding.stands
            and edges
            and all(v.is_island and v.name in quality and quality[v.name].passed for v in edges)
        ):
            worst = max(quality[v.name].ratio for v in edges)
            probe.notes.append(
                f"{finding.module}: computes {edges[0].name} in float32 inside the float64 run (a float32 island); "
                f"judged in float32 instead, ratio {worst:.2g}"
            )
        else:
            standing.append(finding)
    islands = len(standing) < len(probe.found)
    probe.found = standing
    return islands
