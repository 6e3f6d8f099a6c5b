"""The backward stage: does every module send back the same gradients, and does every parameter receive the same?

One step of training without the update, recorded in torch and replayed in Paddle on torch's own inputs and torch's own
gradients: so each vector-Jacobian product is judged alone. Dropout is on, with masks that both sides share: so one that
is missing, doubled or misplaced shows in the values. Where the model has a loss the gradients start from that, else
from fixed random gradients of its outputs.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from align.blame import Finding
from align.contributions import contributions, lacking
from align.diagnose import diagnose, excuse_rewrites
from align.edges import ROOT, inside, module_of
from align.gradient_verdict import PARAMETER, class_sums, finding_of, first_stop, judge_gradients
from align.stage import StageReport
from align.stages import Subject
from align.trial import Pair, Trial
from align.verdict import Verdict

_EXPLAINED = 3  # findings whose cause is looked for
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
    ahead = trial.of_values()
    values, excused = excuse_rewrites(ahead, diagnose(ahead, replay, noise, lambda verdict: not verdict.passed))
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
    gradients = [finding_of(v, replay) for v in failing if v not in harmless]
    gradients = first_stop(failing, replay) + _explained(trial, gradients, pair.descriptions["torch"]["tied"])
    notes = [
        f"{v.name}: another gradient, harmless if {v.piece} is what it seems in the forward stage: a rewrite"
        for v in harmless
    ]
    blame = [*map(_in_training_mode, values), *structure, *gradients, *_crash(replay)]
    first: dict[str, Finding] = {}
    for finding in blame:
        first.setdefault(finding.module, finding)
    return verdicts, list(first.values()), notes + _none_for_zero(replay)


def _explained(trial: Trial, found: Sequence[Finding], tied: Mapping[str, str]) -> list[Finding]:
    """The findings with the causes that are known; a part that a shared parameter lacks is its module's fault."""
    own = trial.actual_gradients([f.edge for f in found[:_EXPLAINED]]) if found else {}
    result = []
    for finding in found:
        expected, actual = trial.gradients.get(finding.edge), own.get(finding.edge)
        if expected is not None and finding.edge in {f.edge for f in found[:_EXPLAINED]}:
            actual = np.zeros_like(expected) if actual is None else np.array(actual)
            lost = lacking(expected, actual, contributions(finding.edge, tied, trial.reference, trial.gradients))
            if lost:
                side, module = lost
                text = f"in {side} it lacks the contribution of {module}, which uses the same tensor"
                finding = replace(finding, module=module, evidence={**finding.evidence, "explanation": {"text": text}})
        result.append(finding)
    return result


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
                text = f"{name} is a tensor of its own in {'paddle' if side == 'torch' else 'torch'}"
                found.append(Finding(_owner(name), why, name, {"explanation": {"text": text}}))
                concerned |= {name, owner}
    for name, trained in torch["trainable"].items():
        if name in paddle["trainable"] and paddle["trainable"][name] != trained:
            side = "torch" if trained else "paddle"
            text = f"{name} is frozen in {'paddle' if side == 'torch' else 'torch'}"
            found.append(
                Finding(_owner(name), f"only the {side} model trains {name}", name, {"explanation": {"text": text}})
            )
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
