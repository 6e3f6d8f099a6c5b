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
from align.client import Client
from align.edges import module_of
from align.errors import CannotCompareError
from align.harmless import excuse
from align.progress import Steps
from align.record import Record
from align.stage import FreeRun, StageReport
from align.verdict import GROSS_FLOAT32, EdgeVerdict, judge, noise_floor

_PERTURBED_RUNS = (1, 2)


@dataclass
class Pair:
    """Both sides at work on one case: the two sessions, the files of the case, and what each says of its model."""

    torch: Client
    paddle: Client
    folder: Path
    batch: Path
    descriptions: Mapping[str, Mapping[str, Any]]
    steps: Steps


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
    """Judge the forward pass on every probe: name → weights record, or None for the weights that the live models
    have.
    """
    started = time.perf_counter()
    results = [_judge_probe(pair, name, weights, model) for name, weights in probes.items()]
    sights = [result.sight for result in results]
    return StageReport(
        stage="forward",
        seconds=time.perf_counter() - started,
        verdicts=[v for r in results for v in r.verdicts],
        blame=_merge(results),
        notes=list(dict.fromkeys(note for r in results for note in r.notes)),
        blind=[kind for kind in sights[0].kinds if not any(kind in s.seen for s in sights)] if sights else [],
        free_run=results[0].free_run,
    )


def _merge(results: Sequence[Probe]) -> list[Finding]:
    """The findings of all probes, one for each module."""
    first: dict[str, Finding] = {}
    for result in results:
        for finding in result.found:
            first.setdefault(finding.module, finding)
    return list(first.values())


def _judge_probe(pair: Pair, name: str, weights: Path | None, model: str | None) -> Probe:
    trial = _Trial(pair, name, "float64")
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


class _Trial:
    """One probe's passes. Calls go to both workers at once where neither waits for the other."""

    def __init__(self, pair: Pair, probe: str, dtype: str) -> None:
        self._pair = pair
        self._dtype = dtype
        self._path = pair.folder / f"{probe}-{dtype}.rec"
        self.probe = probe
        self.reference: Record

    def load(self, weights: Path, model: str | None) -> list[str]:
        with self._pair.steps.step(f"{self.probe}: loading weights"):
            pending = [
                side.submit("load", weights=str(weights), model=model) for side in (self._pair.torch, self._pair.paddle)
            ]
            return [line for answer in pending for line in answer.result()]

    def weights(self, given: Path | None) -> Record:
        """The reference's weights: those given, or the live model's own."""
        path = given or self._pair.folder / "weights.rec"
        if given is None:
            self._pair.torch.submit("export", out=str(path)).result()
        return Record(path)

    def record(self) -> None:
        steps, pair = self._pair.steps, self._pair
        with steps.step(f"{self.probe}: torch, {self._dtype}, recorded") as moved:
            facts = pair.torch.submit("record", batch=str(pair.batch), dtype=self._dtype, out=str(self._path)).result(
                moved
            )
        if facts["error"]:
            raise CannotCompareError(
                f"the torch model raised in {facts['error']['module']}: {facts['error']['message']}"
            )
        self.reference = Record(self._path)
        steps.calls = sum(":out" in edge for edge in self.reference)

    def replay(
        self, native: frozenset[str] = frozenset(), constants: bool = False, masks: bool = False, noise: bool = True
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """The port's replay and, beside it, the reference's perturbed ones."""
        seeds = _PERTURBED_RUNS if noise else ()
        ask: dict[str, Any] = {"batch": str(self._pair.batch), "reference": str(self._path), "native": sorted(native)}
        actual = self._pair.paddle.submit("replay", dtype=self._dtype, constants=constants, masks=masks, **ask)
        floors = [self._pair.torch.submit("replay", dtype=self._dtype, perturb=seed, **ask) for seed in seeds]
        with self._pair.steps.step(f"{self.probe}: paddle, {self._dtype}, replayed") as moved:
            replay = actual.result(moved)
        with self._pair.steps.step(f"{self.probe}: torch, noise floor") as moved:
            return replay, noise_floor([floor.result(moved) for floor in floors])

    def rounding_error(self) -> dict[str, float]:
        """The reference's own rounding error at every edge: float64 on this record's inputs, against the record."""
        ask = {"batch": str(self._pair.batch), "reference": str(self._path)}
        with self._pair.steps.step(f"{self.probe}: torch, float64 on float32's inputs") as moved:
            return noise_floor([self._pair.torch.submit("replay", dtype="float64", **ask).result(moved)])

    def free_run(self) -> FreeRun:
        """The port from end to end on its own values, against this record."""
        path = self._pair.folder / "paddle-free.rec"
        with self._pair.steps.step(f"{self.probe}: paddle, {self._dtype}, end to end") as moved:
            ask = {"batch": str(self._pair.batch), "dtype": self._dtype, "out": str(path)}
            self._pair.paddle.submit("record", **ask).result(moved)
        return FreeRun.of(self.reference, Record(path))


def _blame(
    trial: _Trial, probe: Probe, replay: Mapping[str, Any], noise: Mapping[str, float], problems: Sequence[str]
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
        name.rpartition(".")[0] or "<root>", f"parameter {problem}", f"{name.rpartition('.')[0]}:out", {"probe": probe}
    )


def _structural(probe: Probe, replay: Mapping[str, Any]) -> list[Finding]:
    """Modules that ran on one side only: a note, unless what the model returns is concerned."""
    found = []
    for side, edges in (("torch", replay["missing"]), ("paddle", replay["unexpected"])):
        outputs = [edge for edge in edges if module_of(edge) == "<root>" and ":out" in edge]
        found += [
            Finding("<root>", f"only the {side} model returns {e.partition(':')[2]}", e, {"probe": probe.name})
            for e in outputs
        ]
        modules = list(dict.fromkeys(module_of(edge) for edge in edges if edge not in outputs))
        if modules:
            probe.notes.append(
                f"only the {side} model has edges at: {', '.join(modules[:8])}{' …' if len(modules) > 8 else ''}"
            )
    return found


def _float32_leg(trial64: _Trial, probe: Probe) -> None:
    """Judge the port's float32 numerics, and with them the float32 islands of the float64 run."""
    trial = _Trial(trial64._pair, trial64.probe, "float32")
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
