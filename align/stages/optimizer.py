"""The optimizer stage: from the same parameters, gradients and state, does one update give the same on both sides?

Every optimizer of the zoo makes a few updates of the model's own parameters from injected values; each update of the
port starts from the reference's parameters and state and takes the gradients as the reference clipped them. Compared
are the learning rates in use (limit 2⁻²² of the base rate), the gradients' norm and the clipped gradients, the state
((1024 + n)·u·s, with s the largest element, u = 2⁻⁵³, and n the number of elements that one is a sum over, which each
framework adds in an order of its own) and the parameters (128·u·s), in this order: of each optimizer the first that is
wrong is blamed. Then schedules are compared over their whole length: the rates that an optimizer uses on both sides,
and those of both frameworks' own scheduler classes against the formula.

The explanations come from an independent computation in NumPy (`engines.reference`), which also tells the side that
deviates.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from align.blame import Finding
from align.client import Client
from align.difference import Difference, difference
from align.engines.causes import clipping, rates, updates
from align.engines.probe import choose, write_inputs
from align.engines.schedules import Schedule
from align.engines.spec import PRESETS, OptimizerSpec, preset, single
from align.engines.trace import Setting, Trace
from align.errors import NotApplicableError
from align.record import Record
from align.stage import StageReport
from align.stages import Subject
from align.trial import Pair
from align.verdict import Verdict

_U = 2.0**-53
_RATE_LIMIT, _PARAMETER_LIMIT = 2.0**-22, 128 * _U

_MEANS = ("row_var", "col_var")  # state of means over rows and columns

_UPDATES = 3
_RECTIFIED = 8  # RAdam is plain momentum up to the fifth update
_FALL = (1.0, 0.75, 0.5)  # of the learning rate, so that an old one is seen

_LENGTH, _PEAK = 100, 3.1e-4
SCHEDULES: Mapping[str, Schedule] = {
    "constant": Schedule("constant", _LENGTH, warmup=10),
    "linear": Schedule("linear", _LENGTH, warmup=10),
    "linear by ratio": Schedule("linear", _LENGTH, warmup=0.055),
    "linear without warm-up": Schedule("linear", _LENGTH),
    "cosine": Schedule("cosine", _LENGTH, warmup=10),
    "polynomial": Schedule("polynomial", _LENGTH, warmup=10, end=0.01, power=2.0),
    "electra": Schedule("linear", _LENGTH, warmup=10, composed=True),
}


def run(subject: Subject) -> StageReport:
    """Judge one optimizer, or the whole zoo, and the schedules.

    Raises:
        NotApplicableError: the model has no parameter that is trained.
        CannotCompareError: an unknown optimizer.
    """
    started = time.perf_counter()
    name = subject.options.optimizer
    zoo = {name: preset(name)} if name else PRESETS
    bench = _Bench.of(subject)
    if not bench.trained:
        raise NotApplicableError("the model has no parameter that is trained: there is nothing to step")
    judged = [bench.judge(name, spec) for name, spec in zoo.items()]
    judged += _judge_schedules(subject.pair)
    notes = []
    if len(bench.shapes) < len(bench.trained):
        count = f"{len(bench.shapes)} of {len(bench.trained)}"
        notes.append(
            f"{count} parameters are stepped: the first and the last layer's of each kind, without the largest"
        )
    verdicts = [verdict for item in judged for verdict in item.verdicts]
    blame = _merge([finding for item in judged for finding in item.found])
    return StageReport("optimizer", time.perf_counter() - started, verdicts, blame, notes)


@dataclass(frozen=True)
class _Judged:
    verdicts: Sequence[Verdict]
    found: Sequence[Finding]


@dataclass(frozen=True)
class _Bench:
    """Where the optimizers of one model are tried: `shapes` of the parameters that are, all `trained` by name."""

    pair: Pair
    seed: int
    shapes: Mapping[str, tuple[int, ...]]
    trained: Sequence[str]

    @classmethod
    def of(cls, subject: Subject) -> "_Bench":
        pair = subject.pair
        if (weights := next(iter(subject.weights.values()))) is not None:
            pair.load(weights, subject.model)
        facts = pair.descriptions["torch"]
        trained = [name for name in facts["shapes"] if facts["trainable"][name] and name not in facts["tied"]]
        shapes = {name: tuple(facts["shapes"][name]) for name in trained}
        return cls(pair, subject.case.seed if subject.case else 0, {n: shapes[n] for n in choose(shapes)}, trained)

    def judge(self, name: str, spec: OptimizerSpec) -> _Judged:
        spec = replace(spec, clip_norm=spec.clip_norm or 1.0)
        assert spec.clip_norm is not None
        count = _RECTIFIED if spec.name == "radam" else _UPDATES
        base = [single(spec.lr * _FALL[update % 3]) for update in range(count)]
        with tempfile.TemporaryDirectory(dir=self.pair.folder) as folder:
            with self.pair.steps.step(f"{name}: parameters and gradients"):
                inputs = write_inputs(Path(folder) / "inputs.rec", self.shapes, self.seed, count, spec.clip_norm)
            setting = Setting(spec, Record(inputs), base, list(self.shapes), self.trained)
            expected = self._follow(self.pair.torch, name, setting)
            actual = self._follow(self.pair.paddle, name, setting, expected)
            verdicts = list(_verdicts(name, setting, expected, actual))
            return _Judged(verdicts, _first_wrong(name, verdicts, setting, expected, actual))

    def _follow(self, side: Client, name: str, setting: Setting, reference: Trace | None = None) -> Trace:
        out = setting.inputs.path.with_name(f"{side.framework}.rec")
        ask = {
            "optimizer": setting.spec.as_json(),
            "inputs": str(setting.inputs.path),
            "rates": list(setting.rates),
            "out": str(out),
            "reference": str(reference.record.path) if reference else None,
        }
        with self.pair.steps.step(f"{name}: {side.framework}, {len(setting.rates)} updates"):
            facts = side.submit("optimizer.follow", **ask).result()
        return Trace(Record(out), facts["norms"], facts["rates"])


def _verdicts(name: str, setting: Setting, expected: Trace, actual: Trace) -> Iterator[Verdict]:
    """Every quantity in the order in which an update makes them; of its updates, the worst."""
    trained = {side: list(trace.rates[0]) for side, trace in (("torch", expected), ("paddle", actual))}
    for side, other in (("torch", "paddle"), ("paddle", "torch")):
        for alone in [parameter for parameter in trained[side] if parameter not in trained[other]]:
            found = Difference("missing", (), "float64", detail=f"only the {side} model trains {alone}")
            yield Verdict(f"{name}: {alone}", "update 0", "trained parameters", name, found, 0.0, 0.0)
    both = [parameter for parameter in trained["torch"] if parameter in trained["paddle"]]
    compared = [parameter for parameter in setting.names if parameter in both]
    for other in [parameter for parameter in compared if actual.parameter(0, parameter) is None]:
        found = Difference("shape", (), "float64", detail="the paddle model's has another shape")
        yield Verdict(f"{name}: {other}", "update 0", "trained parameters", name, found, 0.0, 0.0)
        compared.remove(other)
    count = range(len(setting.rates))

    def worst(what: str, kind: str, limit: float, read: Callable[[Trace, int], np.ndarray | None]) -> Verdict:
        made = [_verdict(f"{name}: {what}", k, kind, limit, read(expected, k), read(actual, k)) for k in count]
        return max(made, key=lambda v: (v.difference.status != "ok", v.ratio))

    yield worst(
        "learning rate", "learning rate", _RATE_LIMIT, lambda side, k: np.array([side.rates[k][n] for n in both])
    )
    sizes = {parameter: setting.inputs[f"parameter/{parameter}"].size for parameter in setting.names}
    clipped = _summed(sum(sizes.values()))
    yield worst("gradient norm", "clip", clipped, lambda side, k: np.array(side.norms[k]))
    for parameter in compared:
        yield worst(f"clipped gradient of {parameter}", "clip", clipped, partial(_gradient, parameter))
    for parameter in compared:
        for key in dict.fromkeys(key for k in count for side in (expected, actual) for key in side.state(k, parameter)):
            limit = _summed(sizes[parameter] if key in _MEANS else 0)
            yield worst(f"{key} of {parameter}", key, limit, partial(_state, parameter, key))
    for parameter in compared:
        yield worst(parameter, "parameters", _PARAMETER_LIMIT, partial(_parameter, parameter))


def _summed(count: int) -> float:
    return (1024 + count) * _U


def _gradient(name: str, side: Trace, update: int) -> np.ndarray | None:
    return side.gradient(update, name)


def _state(name: str, key: str, side: Trace, update: int) -> np.ndarray | None:
    return side.state(update, name).get(key)


def _parameter(name: str, side: Trace, update: int) -> np.ndarray | None:
    return side.parameter(update, name)


def _verdict(
    name: str, update: int, kind: str, limit: float, expected: np.ndarray | None, actual: np.ndarray | None
) -> Verdict:
    if expected is None or actual is None:
        there = "torch" if actual is None else "paddle"
        found = Difference("ok", (), "float64", 0.0, 0.0, 0.0)
        if expected is not actual:
            found = Difference("missing", (), "float64", detail=f"there is one on the {there} side only")
    else:
        found = difference(expected, actual)
    exact = found.dtype.startswith("int")
    limit = 0.0 if exact else limit * found.scale
    return Verdict(name, f"update {update}", kind, name.partition(":")[0], found, 0.0, limit)


def _first_wrong(
    name: str, verdicts: Sequence[Verdict], setting: Setting, expected: Trace, actual: Trace
) -> list[Finding]:
    """One finding on the first quantity that is wrong."""
    wrong = next((verdict for verdict in verdicts if not verdict.passed), None)
    if wrong is None:
        return []
    cause: Callable[[Trace], str | None] = {
        "trained parameters": lambda side: None,
        "learning rate": lambda side: rates.cause_of(setting, side),
        "clip": lambda side: clipping.cause_of(setting, side),
    }.get(wrong.kind, lambda side: updates.cause_of(setting, expected, side))
    return [_finding(f"{name}: {wrong.kind}", wrong, {"paddle": cause(actual), "torch": cause(expected)})]


def _finding(blamed: str, verdict: Verdict, causes: Mapping[str, str | None]) -> Finding:
    """`causes` says of each side why it deviates, "" if that is not known, None if it does not."""
    d = verdict.difference
    why = d.detail or f"worst difference {d.max_abs:.2e} at {d.worst_at}, allowed {verdict.limit:.2e}"
    deviating = [(side, text) for side, text in causes.items() if text is not None]
    side, text = next((item for item in deviating if item[1]), deviating[0] if deviating else ("", ""))
    evidence: dict[str, Any] = {"probe": verdict.probe, "ratio": verdict.ratio, "max_abs": d.max_abs}
    if side:
        evidence["side"] = side
    if text:
        evidence["explanation"] = {"text": f"{side}: {text}"}
    what = verdict.name.partition(": ")[2]
    return Finding(blamed, f"{what}, {verdict.probe}: {why}", verdict.name, evidence, verdict.relative)


def _judge_schedules(pair: Pair) -> list[_Judged]:
    ask = {"schedules": {name: schedule.as_json() for name, schedule in SCHEDULES.items()}, "lr": single(_PEAK)}
    with pair.steps.step("schedules"):
        pending = {side.framework: side.submit("optimizer.rates", **ask) for side in (pair.torch, pair.paddle)}
        made = {side: answer.result() for side, answer in pending.items()}
    return [
        _judge_schedule(name, schedule, {side: rates[name] for side, rates in made.items()})
        for name, schedule in SCHEDULES.items()
    ]


def _judge_schedule(name: str, schedule: Schedule, made: Mapping[str, Mapping[str, Sequence[float]]]) -> _Judged:
    formula = [schedule(single(_PEAK), update) for update in range(schedule.total + 1)]
    compared: list[tuple[str, tuple[str, ...], Sequence[float], Sequence[float]]] = [
        (f"schedule {name}", ("paddle", "torch"), made["torch"]["used"], made["paddle"]["used"])
    ]
    compared += [(f"schedule {name} ({side}'s own)", (side,), formula, made[side]["native"]) for side in made]
    verdicts, found = [], []
    for what, sides, expected, actual in compared:
        verdicts.append(verdict := _over_time(what, np.array(expected), np.array(actual)))
        if not verdict.passed:
            values = dict(zip(sides, (actual, expected), strict=False))
            causes = {side: rates.cause_of_schedule(schedule, single(_PEAK), values[side]) for side in sides}
            found.append(_finding(what, verdict, causes))
    return _Judged(verdicts, found)


def _over_time(name: str, expected: np.ndarray, actual: np.ndarray) -> Verdict:
    """The verdict on all updates, named after the first that is wrong, or the one with the largest difference."""
    found = difference(expected, actual)
    limit = _RATE_LIMIT * found.scale
    wrong = np.flatnonzero(~(np.abs(actual - expected) <= limit))
    step = int(wrong[0]) if wrong.size else int(found.worst_at[0]) if found.worst_at else 0
    return Verdict(f"{name}: step {step}", "schedule", "learning rate", name, found, 0.0, limit)


def _merge(found: Sequence[Finding]) -> list[Finding]:
    """One finding for what has one explanation, or the very same numbers: the first, with the names of the others."""
    merged: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        quantity = finding.module.partition(": ")[2]
        text = finding.evidence.get("explanation", {}).get("text", finding.why)
        merged.setdefault((quantity, text), []).append(finding)
    return [_with_others(group) for group in merged.values()]


def _with_others(group: Sequence[Finding]) -> Finding:
    first, others = group[0], [finding.module.partition(":")[0] for finding in group[1:]]
    if not others:
        return first
    return replace(first, why=f"{first.why}; likewise {', '.join(others)}", evidence={**first.evidence, "also": others})
