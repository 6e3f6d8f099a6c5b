"""The backward stage: does every module send back the same gradients, and does every parameter receive the same?

One step of training without the update, recorded in torch and replayed in Paddle on torch's own inputs and torch's own
gradients: so each vector-Jacobian product is judged alone. Dropout is on, with masks that both sides share: so one that
is missing, doubled or misplaced shows in the values. Where the model has a loss the gradients start from that, else
from fixed random gradients of its outputs.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from align.blame import Finding
from align.diagnose import diagnose, excuse_rewrites
from align.edges import ROOT, inside, module_of
from align.gradient_verdict import PARAMETER, class_sums, finding_of, judge_gradients
from align.stage import StageReport
from align.stages import Subject
from align.trial import Pair, Trial
from align.verdict import Verdict

_NAMED = 8  # parameters listed in one note


def run(subject: Subject) -> StageReport:
    """Judge the gradients on the default probe, with the labels of the batch."""
    started = time.perf_counter()
    pair = replace(subject.pair, batch=subject.batch)
    name, weights = next(iter(subject.weights.items()))
    verdicts, blame, notes = _judge_probe(pair, name, weights, subject.model)
    return StageReport("backward", time.perf_counter() - started, verdicts, blame, notes)


def _judge_probe(
    pair: Pair, probe: str, weights: Path | None, model: str | None
) -> tuple[list[Verdict], list[Finding], list[str]]:
    trial = Trial(pair, probe, "float64", backward=True)
    if weights is not None:
        trial.load(weights, model)
    trial.record()
    replay, noise = trial.replay()
    values, excused = excuse_rewrites(trial, diagnose(trial, replay, noise, lambda verdict: not verdict.passed))
    rewritten = {e.composite for e in excused}
    if rewritten:
        modules = {module_of(edge) for edge in trial.reference}
        replay, _ = trial.replay(frozenset(m for m in modules if any(inside(m, c) for c in rewritten)))
    verdicts = [
        *judge_gradients(replay, probe),
        *class_sums(trial.gradients, pair.descriptions["torch"]["kinds"], probe),
    ]
    structure, explained = _structure(pair.descriptions)
    failing = [v for v in verdicts if not v.passed and v.name not in explained]
    harmless = [
        v for v in failing if v.kind == PARAMETER and any(v.piece == c or inside(v.piece, c) for c in rewritten)
    ]
    gradients = [finding_of(v, trial.gradients, replay) for v in failing if v not in harmless]
    notes = [
        f"{v.name}: another gradient, harmless if {v.piece} is what it seems in the forward stage: a rewrite"
        for v in harmless
    ]
    blame = [*map(_in_training_mode, values), *structure, *gradients, *_crash(replay)]
    return verdicts, list({f.module: f for f in reversed(blame)}.values())[::-1], notes + _none_for_zero(replay)


def _in_training_mode(finding: Finding) -> Finding:
    return replace(finding, why=f"in training mode its values differ already: {finding.why}")


def _crash(replay: Mapping[str, Any]) -> list[Finding]:
    error = replay["error"]
    return [Finding(error["module"], f"the paddle model raised {error['message']}", error["module"])] if error else []


def _structure(descriptions: Mapping[str, Mapping[str, Any]]) -> tuple[list[Finding], set[str]]:
    """What the two sides train differently whatever the gradients are, and the parameters that this concerns."""
    torch, paddle = descriptions["torch"], descriptions["paddle"]
    found: list[Finding] = []
    concerned: set[str] = set()
    for side, one, other in (("torch", torch, paddle), ("paddle", paddle, torch)):
        for name, owner in one["tied"].items():
            if other["tied"].get(name) != owner and name in other["shapes"]:
                why = f"only the {side} model shares one tensor between {name} and {owner}: trained, they part"
                found.append(Finding(_owner(name), why, name))
                concerned |= {name, owner}
    for name, trained in torch["trainable"].items():
        if name in paddle["trainable"] and paddle["trainable"][name] != trained:
            side = "torch" if trained else "paddle"
            found.append(Finding(_owner(name), f"only the {side} model trains {name}", name))
            concerned.add(name)
    return found, concerned


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0] or ROOT


def _none_for_zero(replay: Mapping[str, Any]) -> list[str]:
    """A note on parameters whose gradient is None on one side and zero on the other."""
    notes = []
    for side, names in (("paddle", replay["absent"]), ("torch", replay["leaks"])):
        parameters = [n for n in names if ":" not in n and replay["gradients"][n]["max_abs"] == 0]
        if parameters:
            listed = ", ".join(parameters[:_NAMED]) + (" …" if len(parameters) > _NAMED else "")
            notes.append(
                f"no gradient at all in {side} and zeros in the other: {listed}. An optimizer with momentum or decay "
                "skips the one and moves the other"
            )
    return notes
