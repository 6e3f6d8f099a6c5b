"""The training stage: do both sides train alike, from the same weights on the same batches?

Errors grow while a network trains, so no fixed limit can be right: beside the two sides run controls, torch runs whose
weights are changed by one unit in the last place at first and after every update. The gap between the sides may be κ
times what the controls show up to the same update; where κ times that exceeds what could be called agreement, the
horizon is reached and nothing more is judged: of that quantity, and where it is the loss, of any but the learning rate.
κ is 100 with two controls in float64, where clean pairs agree to 14 digits over hundreds of updates, and 30 with four
controls in float32, where the float64 run of torch is one more: how far torch's own rounding takes it from what it
should be.

Compared are the loss, every parameter's gradient, their norm before clipping, the learning rate in use, and every
parameter after the update; gradients and parameters by sketches of a few numbers. What differs first is blamed.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import fake_data
from align.blame import Finding
from align.drawn import Curve
from align.engines.schedules import Schedule
from align.engines.spec import OptimizerSpec, preset
from align.errors import CannotCompareError, NotApplicableError
from align.record import Record, write_record
from align.stage import StageReport
from align.stages import Subject
from align.structure import owner
from align.training.cause import cause_of
from align.training.tracks import SCALARS, Leg, Run, Track, tracks_of, while_determined
from align.verdict import Verdict

_RATE = 1e-3  # large enough for bugs to grow in a few updates
_WARMUP = 0.1
_MOST = 0.5  # where more than this share of all gradients or weights is wrong, no single module is to blame


LEGS = (Leg("float64", 2, 100.0, 1e-6), Leg("float32", 4, 30.0, 1e-3))


def run(subject: Subject) -> StageReport:
    """Train both sides for `--steps` updates and judge every quantity of every update.

    Raises:
        NotApplicableError: the model returns no loss.
        CannotCompareError: an unknown optimizer.
    """
    started = time.perf_counter()
    spec = preset(subject.options.optimizer) if subject.options.optimizer else replace(preset("adamw"), lr=_RATE)
    pair, weights = subject.pair, next(iter(subject.weights.values()))
    if weights is not None:
        pair.load(weights, subject.model)
    updates = _updates(subject)
    verdicts: list[Verdict] = []
    blame: list[Finding] = []
    notes: list[str] = []
    curves: list[Curve] = []
    exact: list[Run] = []
    for leg in LEGS:
        expected, actual, controls = _runs(subject, leg, updates, spec)
        if subject.log and not exact:
            subject.log("train_align", _by_update(expected), _by_update(actual))
        tracks = while_determined(list(tracks_of(expected, actual, [*controls, *exact])), leg)
        if not tracks[0].horizon(leg):
            if not exact:
                raise CannotCompareError(
                    "torch's own runs do not repeat their first loss in float64: look for random numbers in its forward"
                )
            notes.append(
                f"{leg.dtype}: nothing is judged: rounding alone moves the first loss by more than {_part(leg)}"
            )
            break
        verdicts += [track.verdict(leg) for track in tracks]
        notes += _horizons(tracks, leg)
        wrong = _first_wrong(tracks, leg)
        curves += [t.curve(leg, expected, actual) for t in tracks if t.is_scalar or (wrong and t is wrong[0])]
        blame += _one_sided(expected, actual)
        if wrong:
            blame.append(_blame(*wrong, tracks, leg, expected, actual))
        exact.append(expected)
        if blame:
            break  # the wider dtype has named the cause
    return StageReport("training", time.perf_counter() - started, verdicts, blame, notes, curves=curves)


def _by_update(run: Run) -> dict[str, np.ndarray]:
    """The loss, the gradients' norm and the learning rate of each update, by name and number."""
    return {f"{name}_{k}": np.array(value) for name in SCALARS for k, value in enumerate(run.values[name])}


def _updates(subject: Subject) -> list[list[tuple[str, float]]]:
    """The batches of every update: two of unequal size, each its share, so that accumulation is part of the proof."""
    case, steps = subject.case, subject.options.steps
    if case is None or case.batch or case.text:
        return [[(str(subject.batch), 1.0)]] * steps
    if not fake_data.has_labels(case.model, case.task):
        raise NotApplicableError(f"the model returns no loss for this task ({case.task}): choose one that has labels")
    config = subject.pair.descriptions["torch"]["config"]
    sizes = {"length": case.length} if case.length else {}
    rows = case.batch_size or 7
    parts = [part for part in (rows - rows // 2, rows // 2) if part]
    updates = []
    for step in range(steps):
        micros = []
        for number, part in enumerate(parts):
            seed = case.seed + len(parts) * step + number
            batch = fake_data.make_batch(case.model, case.task, config, seed=seed, batch_size=part, **sizes)
            path = write_record(subject.pair.folder / f"update-{step}-{number}.rec", batch)
            micros.append((str(path), part / rows))
        updates.append(micros)
    return updates


def _one_sided(expected: Run, actual: Run) -> list[Finding]:
    sides = (("torch", expected, actual), ("paddle", actual, expected))
    return [
        Finding(owner(name), f"only the {side} model trains {name}", name, stands=True)
        for side, one, other in sides
        for name in one.parameters
        if name not in other.parameters
    ]


def _first_wrong(tracks: Sequence[Track], leg: Leg) -> tuple[Track, int] | None:
    """The first quantity of the first wrong update, and that update."""
    wrong = [(track.first_wrong(leg), order) for order, track in enumerate(tracks) if track.wrong(leg).any()]
    if not wrong:
        return None
    update, order = min(wrong)
    return tracks[order], update


def _blame(track: Track, update: int, tracks: Sequence[Track], leg: Leg, expected: Run, actual: Run) -> Finding:
    kind = [other for other in tracks if other.kind == track.kind]
    share = sum(other.is_wrong(leg, update) for other in kind) / len(kind)
    curve = track.curve(leg, expected, actual)
    values = [float(side[update]) for side in (curve.expected, curve.actual) if side.size]
    return _finding(track, share, update, leg, values, cause_of(expected.values, actual.values, update))


def _horizons(tracks: Sequence[Track], leg: Leg) -> list[str]:
    updates = len(tracks[0].gap)
    short = [judged for track in tracks if (judged := track.horizon(leg)) < updates]
    if not short:
        return []
    first = f"{min(short)} to {max(short)}" if min(short) < max(short) else f"{min(short)}"
    return [
        f"{leg.dtype}: {len(short)} of {len(tracks)} quantities are judged for the first {first} of {updates} updates "
        f"only: from then on one unit in the last place may move them by more than {_part(leg)}"
    ]


def _part(leg: Leg) -> str:
    """The relative gap between torch's own runs beyond which nothing is judged."""
    return f"{leg.horizon / leg.kappa:.0e}"


def _runs(subject: Subject, leg: Leg, updates: Sequence[Any], spec: OptimizerSpec) -> tuple[Run, Run, list[Run]]:
    pair = subject.pair
    schedule = Schedule("linear", len(updates) + 1, _WARMUP)
    ask: dict[str, Any] = {
        "updates": updates,
        "optimizer": spec.as_json(),
        "schedule": schedule.as_json(),
        "dtype": leg.dtype,
        "dropout": subject.options.dropout or 0.0,
        "common": pair.common,
        "seed": subject.case.seed if subject.case else 0,
    }
    named = [
        ("paddle", pair.paddle, None),
        *((f"torch-{n}", pair.torch, n) for n in (None, *range(1, leg.controls + 1))),
    ]
    pending = []
    for name, side, perturb in named:
        path = pair.folder / f"{name}-{leg.dtype}.rec"
        pending.append((path, side.submit("training.run", **ask, out=str(path), perturb=perturb)))
    runs = []
    for (name, _, perturb), (path, answer) in zip(named, pending, strict=True):
        what = "" if perturb is None else ", a control"
        with pair.steps.step(f"training {name.partition('-')[0]} in {leg.dtype}{what}", len(updates)) as moved:
            facts = answer.result(moved)
        runs.append(Run(Record(path), facts["parameters"]))
    paddle, torch, *controls = runs
    return torch, paddle, controls


def _finding(track: Track, share: float, update: int, leg: Leg, values: Sequence[float], cause: str | None) -> Finding:
    """`share` is that of the quantities of this kind that are wrong at the same update; `values` are those of both
    sides where they are single numbers.
    """
    verdict = track.verdict(leg)
    what = track.name if track.is_scalar else f"the {track.kind} of {track.name}"
    others = "" if track.is_scalar else f", with {share:.0%} of all {track.kind}s"
    told = "{:.9g} in torch, {:.9g} in paddle; ".format(*values) if values else ""
    why = (
        f"in update {update} the first to differ is {what}{others}: {told}{verdict.difference.max_abs:.2e} of its "
        f"size, allowed {verdict.limit:.2e} ({leg.dtype})"
    )
    evidence: dict[str, Any] = {"update": update, "quantity": track.kind, "ratio": verdict.ratio}
    evidence |= {"max_abs": verdict.difference.max_abs, "limit": verdict.limit}
    if cause:
        evidence["explanation"] = {"text": cause}
    blamed = track.name if track.is_scalar else f"{track.kind}s" if share > _MOST else track.module
    return Finding(blamed, why, track.name, evidence, verdict.difference.max_abs)
