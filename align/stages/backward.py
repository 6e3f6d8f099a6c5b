"""The backward stage: does every module send back the same gradients, and does every parameter receive the same?

One step of training without the update, recorded in torch and replayed in Paddle on torch's own inputs and torch's own
gradients: so each vector-Jacobian product is judged alone. Dropout is on, with masks that both sides share: so one that
is missing, doubled or misplaced shows in the values. Where the model has a loss the gradients start from that, else
from fixed random gradients of its outputs.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from align.blame import Finding, one_for_each
from align.contributions import contributions, lacking
from align.diagnose import diagnose, excuse_rewrites
from align.edges import ROOT, inside, module_of
from align.explain.gather import explained
from align.explain.gradients import explain_gradient
from align.gradient_verdict import PARAMETER, class_sums, finding_of, first_stop, judge_gradients
from align.gradients import LOSS, GradientRecord
from align.record import Record
from align.stage import StageReport
from align.stages import Subject
from align.structure import frozen, sharing
from align.trial import Pair, Trial
from align.verdict import Verdict, judge

_EXPLAINED = 3  # findings whose cause is looked for
_NAMED = 8  # parameters listed in one note


def run(subject: Subject) -> StageReport:
    """Judge the gradients on the default probe, with the labels of the batch."""
    started = time.perf_counter()
    pair = replace(subject.pair, batch=subject.batch)
    name, weights = next(iter(subject.weights.items()))
    verdicts, blame, notes = _judge_probe(pair, name, weights, subject.model)
    if subject.log:
        subject.log("bp_align", *_from_end_to_end(Trial(pair, name, "float32", backward=True)))
    return StageReport("backward", time.perf_counter() - started, verdicts, blame, notes)


def _judge_probe(
    pair: Pair, probe: str, weights: Path | None, model: str | None
) -> tuple[list[Verdict], list[Finding], list[str]]:
    trial = Trial(pair, probe, "float64", backward=True)
    if weights is not None:
        trial.load(weights, model)
    trial.record()
    replay, noise = trial.replay()
    native: frozenset[str] = frozenset()
    rewritten = _rewritten(trial, replay, noise)
    if rewritten:
        trial = Trial(pair, probe, "float64", backward=True, silent=rewritten)
        trial.record()
        native = _insides(trial, rewritten)
        replay, noise = trial.replay(native)
    ahead = trial.of_values()
    values = diagnose(ahead, replay, noise, _is_wrong, native=native)
    if values:
        values = explained(ahead, values)
    verdicts = [
        *judge_gradients(replay, probe),
        *class_sums(trial.reference, trial.gradients, pair.descriptions["torch"], probe),
    ]
    structure = [*sharing(pair.descriptions), *frozen(pair.descriptions)]
    concerned = {name for fact in structure for name in fact.concerned}
    failing = [v for v in verdicts if not v.passed and v.name not in concerned]
    harmless, notes = _harmless(failing, rewritten)
    islands, island_notes = _islands(pair, probe, judge(replay, noise, probe), failing, native)
    failing = [v for v in failing if v not in harmless and v not in islands]
    gradients = [finding_of(v, replay) for v in failing]
    gradients = first_stop(failing, replay) + _with_causes(trial, gradients, pair.descriptions["torch"]["tied"])
    blame = [*map(_in_training_mode, values), *(fact.finding for fact in structure), *gradients]
    return verdicts, one_for_each(blame), notes + island_notes + _none_for_zero(replay)


def _from_end_to_end(trial: Trial) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The loss and the gradients of all parameters of either side, in float32 and on its own values throughout."""
    trial.record()
    return _loss_and_gradients(trial.reference, trial.gradients), _loss_and_gradients(*trial.free_pass())


def _loss_and_gradients(values: Record, gradients: GradientRecord) -> dict[str, np.ndarray]:
    named = {LOSS: values[LOSS]} if LOSS in values else {}
    parameters = (name for name in gradients if gradients.kind(name) == "parameter")
    return named | {name: found for name in parameters if (found := gradients[name]) is not None}


def _is_wrong(verdict: Verdict) -> bool:
    """Values computed in float32 inside the float64 run are the forward stage's to judge."""
    return not verdict.passed and not verdict.is_island


def _rewritten(trial: Trial, replay: Mapping[str, Any], noise: Mapping[str, float]) -> frozenset[str]:
    """The composites whose insides differ harmlessly when nothing is dropped, if any value differs.

    What is dropped inside such a composite cannot be compared: heads in another order lose other probabilities.
    """
    if all(verdict.passed for verdict in judge(replay, noise, trial.probe)):
        return frozenset()
    quiet = Trial(trial.pair, trial.probe, trial.dtype, backward=True, silent=(ROOT,)).of_values()
    quiet.record()
    _, excused = excuse_rewrites(quiet, diagnose(quiet, *quiet.replay(), _is_wrong))
    return frozenset(e.composite for e in excused)


def _insides(trial: Trial, composites: Collection[str]) -> frozenset[str]:
    modules = {module_of(edge) for edge in trial.reference}
    return frozenset(m for m in modules if any(inside(m, c) for c in composites))


def _harmless(failing: Sequence[Verdict], rewritten: Collection[str]) -> tuple[list[Verdict], list[str]]:
    """Parameters inside a rewritten composite have gradients of their own; with a note on each composite."""
    found: list[Verdict] = []
    notes = []
    for composite in rewritten:
        here = [v for v in failing if v.kind == PARAMETER and (v.piece == composite or inside(v.piece, composite))]
        found += here
        if here:
            notes.append(f"{composite}: other gradients of {len(here)} parameters — harmless: it agrees as a whole")
    return found, notes


def _islands(
    pair: Pair, probe: str, values: Sequence[Verdict], failing: Sequence[Verdict], native: frozenset[str]
) -> tuple[list[Verdict], list[str]]:
    """Gradients that a float32 island explains: in float32 they are as near as torch's own rounding allows."""
    modules = {v.piece for v in (*values, *failing) if v.is_island}
    narrow = [v for v in failing if v.piece in modules]
    if not narrow:
        return [], []
    trial = Trial(pair, probe, "float32", backward=True)
    trial.record()
    replay, _ = trial.replay(native, noise=False)
    replay["gradient_noise"] = trial.rounding_error(native, "gradients")
    agree = {v.name for v in judge_gradients(replay, probe, "float32") if v.passed}
    found = [v for v in narrow if v.name in agree]
    named = list(dict.fromkeys(v.piece for v in found))
    return found, [f"{m}: gradients computed in float32 inside the float64 run (a float32 island)" for m in named]


def _with_causes(trial: Trial, found: Sequence[Finding], tied: Mapping[str, str]) -> list[Finding]:
    """The findings, the first few with their causes; a part that a shared parameter lacks is its module's fault."""
    first, rest = found[:_EXPLAINED], found[_EXPLAINED:]
    own = trial.actual_gradients([finding.edge for finding in first]) if first else {}
    return [*(_with_cause(trial, finding, own.get(finding.edge), tied) for finding in first), *rest]


def _with_cause(trial: Trial, finding: Finding, actual: np.ndarray | None, tied: Mapping[str, str]) -> Finding:
    expected = trial.gradients.get(finding.edge)
    if expected is None:
        return finding
    parts = contributions(finding.edge, tied, trial.reference, trial.gradients)
    lost = lacking(expected, np.zeros_like(expected) if actual is None else actual, parts)
    if lost:
        side, module = lost
        text = f"in {trial.pair.names[side]} it lacks the contribution of {module}, which uses the same tensor"
        return replace(finding, module=module, evidence={**finding.evidence, "explanation": {"text": text}})
    beside = [n for n in trial.gradients if ":" in n and module_of(n) == finding.module and n != finding.edge]
    known = {name: gradient for name in beside if (gradient := trial.gradients[name]) is not None}
    cause = explain_gradient(expected, actual, parts | known, finding.evidence["limit"])
    return replace(finding, evidence={**finding.evidence, "explanation": cause.as_json()}) if cause else finding


def _in_training_mode(finding: Finding) -> Finding:
    return replace(finding, why=f"in training mode its values differ already: {finding.why}")


def _none_for_zero(replay: Mapping[str, Any]) -> list[str]:
    """A note on parameters whose gradient is None on one side and zero on the other."""
    notes = []
    for side, names in (("paddle", replay["absent"]), ("torch", replay["leaks"])):
        parameters = [n for n in names if ":" not in n and replay["gradients"][n]["max_abs"] == 0]
        if parameters:
            listed = ", ".join(parameters[:_NAMED]) + (" …" if len(parameters) > _NAMED else "")
            notes.append(
                f"no gradient at all in {replay['names'][side]} and zeros in the other: {listed}. An optimizer with "
                "momentum or decay skips the one and moves the other"
            )
    return notes
