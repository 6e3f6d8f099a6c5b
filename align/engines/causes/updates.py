"""Why states or parameters are wrong although learning rates and gradients are right."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Self

import numpy as np
from scipy.optimize import brentq

from align.engines.causes import ROUNDING, allowed, listed, relative
from align.engines.reference import NONE, Quirks, update
from align.engines.spec import OptimizerSpec, decays, single
from align.engines.trace import Case, Setting, Trace, cases

_ADAM = ("adam", "adamw", "adamax", "nadam", "radam", "lamb")
_EPS = ("adam", "adamw", "adamax", "nadam", "radam", "lamb", "adagrad", "adadelta", "rmsprop", "adafactor")
# Of the tensors that differ, those that differ by this share of the worst are good enough to find a number from.
_SHOWN = 1e-2

_ROOT = ("adam", "adamw", "nadam", "radam", "lamb", "adagrad", "rmsprop")


@dataclass(frozen=True)
class Hypothesis:
    """What a side may have computed instead; `decay` and `scaled` (whose updates `quirks.scale` concerns) by name."""

    text: str
    spec: OptimizerSpec
    quirks: Quirks = NONE
    decay: Mapping[str, float] | None = None
    scaled: frozenset[str] | None = None

    def outcome(self, case: Case) -> dict[str, np.ndarray]:
        """The parameter, under "", and its state."""
        decay = case.decay if self.decay is None else self.decay[case.name]
        quirks = self.quirks if self.scaled is None or case.name in self.scaled else replace(self.quirks, scale=1.0)
        p, state = update(self.spec, case.before, case.gradient, case.state_before, case.lr, decay, quirks)
        return {"": p, **{key: np.asarray(value) for key, value in state.items()}}

    def left(self, case: Case) -> float:
        """What it leaves of the difference."""
        outcome, actual = self.outcome(case), _actual(case)
        if case.gradient is not None and outcome.keys() != actual.keys():
            return float("inf")
        return max(relative(actual[key], outcome[key]) for key in outcome.keys() & actual.keys())


def cause_of(setting: Setting, reference: Trace, side: Trace) -> str | None:
    """The hypothesis that accounts for all that the side did, in words: "" if there is none, None if nothing is
    wrong.
    """
    nothing = Hypothesis("", setting.spec)
    with np.errstate(all="ignore"):
        errors = {case: nothing.left(case) for case in cases(setting, reference, side)}
        ordered = sorted(errors, key=lambda case: -errors[case])  # the worst rejects a wrong hypothesis first
        wrong = [error for error in errors.values() if error > ROUNDING]
        if not wrong:
            return None
        limit = allowed(max((error for error in wrong if np.isfinite(error)), default=np.inf))
        failing = {case: errors[case] for case in ordered if errors[case] > limit}
        for hypothesis in _hypotheses(setting, failing):
            if all(hypothesis.left(case) <= limit for case in ordered):
                return hypothesis.text
    return ""


def _actual(case: Case) -> dict[str, np.ndarray]:
    return {"": case.after, **case.state_after}


@dataclass(frozen=True)
class Probe:
    """One element of one tensor that shows a difference: what a free number is found from."""

    case: Case
    key: str
    at: int
    expected: float
    actual: float

    @classmethod
    def of(cls, case: Case, nothing: Hypothesis) -> Self:
        expected, actual = nothing.outcome(case), _actual(case)
        key = max(actual.keys() & expected.keys(), key=lambda key: relative(actual[key], expected[key]))
        at = int(np.argmax(np.abs(actual[key] - expected[key])))
        return cls(case, key, at, float(expected[key].reshape(-1)[at]), float(actual[key].reshape(-1)[at]))

    def read(self, outcome: Mapping[str, np.ndarray]) -> float:
        return float(outcome[self.key].reshape(-1)[self.at]) if self.key in outcome else math.nan


def _hypotheses(setting: Setting, failing: Mapping[Case, float]) -> Iterator[Hypothesis]:
    yield from _decay_filters(setting)
    yield from _forms(setting.spec)
    yield from _toggled_decay(setting, list(failing))
    finite = {case: error for case, error in failing.items() if np.isfinite(error)}
    shown = [case for case, error in finite.items() if error > _SHOWN * max(finite.values())]
    if not shown:
        return
    probe = Probe.of(min(shown, key=lambda case: case.before.size), Hypothesis("", setting.spec))
    for make, grid in _fitted(setting):
        yield from map(make, _solve(make, grid, probe))
    yield from _scaled(setting.spec, list(failing), probe)


def _decay_filters(setting: Setting) -> Iterator[Hypothesis]:
    """Weight decay on other parameters than it should be."""
    spec, decay = setting.spec, setting.decay
    if not spec.weight_decay:
        return
    vectors = {name for name in decay if name in setting.names and setting.inputs[f"parameter/{name}"].ndim < 2}
    sets: dict[str, Callable[[str], bool]] = {
        "weight decay takes in every parameter, biases and norms too": lambda name: True,
        "weight decay takes in no parameter": lambda name: False,
        "weight decay takes in exactly the parameters that it should leave out": lambda name: not decays(spec, name),
        "the filter of weight decay minds the case of letters": lambda name: (
            not any(re.search(p, name) for p in spec.no_decay)
        ),
        "weight decay takes in the norms": lambda name: decays(replace(spec, no_decay=("bias",)), name),
        "weight decay takes in the biases": lambda name: decays(replace(spec, no_decay=("norm",)), name),
        "weight decay goes by the number of axes": lambda name: name not in vectors,
    }
    for text, chosen in sets.items():
        other = {name: spec.weight_decay if chosen(name) else 0.0 for name in decay}
        if any(other[name] != decay[name] for name in setting.names):
            yield Hypothesis(text, spec, decay=other)


def _toggled_decay(setting: Setting, failing: Sequence[Case]) -> Iterator[Hypothesis]:
    """Weight decay on, or not on, exactly the parameters that differ."""
    names = sorted({case.name for case in failing})
    for there, text in ((False, "weight decay takes in {}"), (True, "weight decay leaves out {}")):
        toggled = [name for name in names if (setting.decay[name] > 0) == there]
        if toggled and setting.spec.weight_decay:
            other = {**setting.decay, **dict.fromkeys(toggled, 0.0 if there else setting.spec.weight_decay)}
            yield Hypothesis(text.format(listed(toggled)), setting.spec, decay=other)


def _forms(spec: OptimizerSpec) -> Iterator[Hypothesis]:
    """Another form of the rule: no free number."""
    decoupled = {"adam": "adamw", "adamw": "adam"}.get(spec.name)
    if decoupled and spec.weight_decay and spec.bias_correction:
        coupled = spec.name == "adamw"
        text = "weight decay goes through the gradient (L2)" if coupled else "weight decay is decoupled"
        yield Hypothesis(text, replace(spec, name=decoupled))
    if spec.name == "lamb":
        yield Hypothesis("no trust ratio", spec, Quirks(trust="none"))
        yield Hypothesis("no trust ratio where there is no weight decay", spec, Quirks(trust="decayed"))
    if spec.name in _ROOT:
        yield Hypothesis("ε stands inside the root: √(v + ε)", spec, Quirks(eps_inside_root=True))
        yield Hypothesis("ε is added before bias correction", spec, Quirks(eps_before_correction=True))
    if spec.name == "adamax":
        yield Hypothesis("ε is added to the decayed maximum, not to |g|", spec, Quirks(eps_on_maximum=True))
    if spec.name in _ADAM and spec.bias_correction:
        yield Hypothesis("no bias correction", spec, Quirks(uncorrected=True))
    if not spec.bias_correction:
        yield Hypothesis("bias correction where there should be none", spec, Quirks(corrected=True))
    if spec.name in ("adamw", "adafactor") and spec.weight_decay:
        yield Hypothesis("weight decay follows the update", spec, Quirks(decay_after=True))
    if spec.momentum:
        yield Hypothesis("momentum is dampened: (1 − μ)g enters it", spec, Quirks(dampening=True))
        if spec.name == "sgd":
            form = "plain" if spec.nesterov else "Nesterov's"
            yield Hypothesis(f"momentum is {form}", replace(spec, nesterov=not spec.nesterov))
    if spec.name in ("adam", "adamw"):
        text = "not the largest v so far but the last" if spec.amsgrad else "AMSGrad's largest v so far"
        yield Hypothesis(text, replace(spec, amsgrad=not spec.amsgrad))
    yield Hypothesis("a missing gradient counts as zero: momentum and decay go on", spec, Quirks(none_as_zero=True))
    for off, text in ((1, "one too many"), (-1, "one too few")):
        yield Hypothesis(f"updates are counted wrongly, {text}", spec, Quirks(updates=off))


def _fitted(setting: Setting) -> Iterator[tuple[Callable[[float], Hypothesis], np.ndarray]]:
    """One free number each: the hypothesis for a value, and values among which to look for it."""
    spec = setting.spec
    small = np.logspace(-16, 1, 69)
    near_one = 1 - np.logspace(0, -6, 49)
    if spec.name in _EPS:
        yield partial(_with, spec, "eps", "ε"), small
    if spec.name in _ADAM:
        yield partial(_with_beta, spec, 0), near_one
        yield partial(_with_beta, spec, 1), near_one
    if spec.momentum:
        yield partial(_with, spec, "momentum", "momentum"), np.linspace(0, 1, 51)
    if spec.name in ("adadelta", "rmsprop"):
        yield partial(_with, spec, "rho", "ρ"), near_one
    if spec.name != "rprop":
        yield partial(_with_decay, setting), small


def _with(spec: OptimizerSpec, field: str, word: str, value: float) -> Hypothesis:
    text = f"{word} is {value:g} instead of {getattr(spec, field):g}"
    return Hypothesis(text, _Unrounded(**{**asdict(spec), field: value}))


def _with_beta(spec: OptimizerSpec, index: int, value: float) -> Hypothesis:
    betas = tuple(value if i == index else beta for i, beta in enumerate(spec.betas))
    text = f"β{'₁₂'[index]} is {value:g} instead of {spec.betas[index]:g}"
    return Hypothesis(text, _Unrounded(**{**asdict(spec), "betas": betas}))


def _with_decay(setting: Setting, value: float) -> Hypothesis:
    spec = setting.spec
    text = f"weight decay is {value:g} instead of {spec.weight_decay:g}"
    return Hypothesis(text, spec, decay={name: value if decays(spec, name) else 0.0 for name in setting.decay})


class _Unrounded(OptimizerSpec):
    """A specification whose numbers stay as they are: a side may have kept more digits than float32 has."""

    def __post_init__(self) -> None:
        pass


def _solve(make: Callable[[float], Hypothesis], grid: np.ndarray, probe: Probe) -> Iterator[float]:
    """The values that bring the probe's element to where it is, as they are and as people write them."""

    def error(value: float) -> float:
        return probe.read(make(value).outcome(probe.case)) - probe.actual

    errors = [error(float(value)) for value in grid]
    for low, high, a, b in zip(grid, grid[1:], errors, errors[1:], strict=False):
        if math.isfinite(a) and math.isfinite(b) and a * b < 0:
            value = float(brentq(error, float(low), float(high), xtol=1e-300, rtol=1e-15))
            written = [float(f"{value:.{digits}g}") for digits in (1, 2, 3, 4, 6)]
            yield from dict.fromkeys([*map(single, written), *written, value])


def _scaled(spec: OptimizerSpec, failing: Sequence[Case], probe: Probe) -> Iterator[Hypothesis]:
    """The parameters that differ take another multiple of their updates."""
    if probe.key:
        return
    before = probe.read({"": probe.case.before})
    scale = (probe.actual - before) / (probe.expected - before)
    names = sorted({case.name for case in failing})
    yield Hypothesis(
        f"the updates of {listed(names)} are {scale:g} times as large",
        spec,
        Quirks(scale=scale),
        scaled=frozenset(names),
    )
