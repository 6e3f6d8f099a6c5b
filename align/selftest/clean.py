"""Clean pairs of every sort, to look for false alarms: nothing is injected, so every red is one.

Case n is the same on every machine. Tasks, shapes, seeds, options, depth and weights are drawn; weights are put into
both sides alike, in regimes that condition badly.
"""

import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from align import registry
from align.case import Case, resolve
from align.compare import judge_case
from align.errors import CannotCompareError, NotApplicableError
from align.progress import Steps
from align.report import Report
from align.selftest.effect import case_of, changes
from align.selftest.judge import OTHER, RememberingClient, memory
from align.selftest.mutation import Mutation
from align.selftest.outcome import Clean
from align.selftest.rewrites import rewrites
from align.selftest.sabotage import SabotagedClient, Weights, change_weights
from align.selftest.site import survey
from align.stages import STAGES

DEEP_LAYERS = 24
EVERY_DEEP = 10  # one case in ten is as deep as the largest published models
OPTION_DRAWN = 0.3  # how often an option is not the default
MAKE_WEIGHTS = ("init",)  # stages that make weights of their own
REWRITE_ROUNDING = 1e-4  # an island of float32 is harmless, and more than rounding in float64


def times(factor: float) -> Callable[[Weights], None]:
    """All matrices and tables scaled."""

    def alter(weights: Weights) -> None:
        for name, value in weights.items():
            if value.ndim > 1:
                weights[name] = value * value.dtype.type(factor)

    return alter


def nearly_constant(weights: Weights) -> None:
    """Tables whose rows, and norms whose weights, hardly differ."""
    for name, value in weights.items():
        if "embedding" in name and value.ndim == 2:
            weights[name] = value[:1] + (value - value[:1]) * value.dtype.type(1e-3)


def far_from_zero(weights: Weights) -> None:
    """Biases a hundred times as large as what they are added to."""
    for name, value in weights.items():
        if name.endswith("bias") and value.ndim == 1:
            weights[name] = value + value.dtype.type(100)


REGIMES: Mapping[str, Callable[[Weights], None]] = {
    "trained": lambda weights: None,
    "times_3": times(3),
    "times_10": times(10),
    "tiny": times(1e-2),
    "nearly_constant": nearly_constant,
    "far_from_zero": far_from_zero,
}


@dataclass(frozen=True)
class Pick:
    """What one clean case is made of."""

    case: Case
    regime: str
    stages: tuple[str, ...]


def pick(model: str, number: int) -> Pick:
    """Case `number` of an architecture: the forward stage always, and the others in turn."""
    draw = random.Random(f"{model} {number}")
    task = draw.choice(list(registry.architecture(model).tasks))
    deep = number % EVERY_DEEP == EVERY_DEEP - 1
    size, length = (2, 9) if deep else (draw.randint(1, 9), draw.randint(4, 33))
    case = resolve(model, task, seed=number, batch_size=size, length=length)
    options = _deep(model) if deep else dict(_drawn(_options(model), draw) if draw.random() < OPTION_DRAWN else [])
    others = [stage for stage in STAGES if stage != "forward"]
    stages = ("forward",) if deep else ("forward", others[number % len(others)])
    regime = draw.choice(list(REGIMES))
    if "invariance" in stages and regime.startswith("times"):
        regime = "trained"  # no mask of −10⁴, as Fastformer's authors have it, hides padding behind scores as large
    return Pick(replace(case, raw_config={**case.raw_config, **options}), regime, stages)


def _drawn(options: list[tuple[str, Any]], draw: random.Random) -> list[tuple[str, Any]]:
    """One of them, if there are any."""
    return draw.sample(options, min(1, len(options)))


def _options(model: str) -> list[tuple[str, Any]]:
    """The yes-or-no options of an architecture, each as it is not by default."""
    return [(k, not v) for k, v in survey(model, "torch").config.items() if isinstance(v, bool)]


def _deep(model: str) -> dict[str, Any]:
    """Options that make the network as deep as large ones are."""
    deep: dict[str, Any] = {}
    for name, value in survey(model, "torch").config.items():
        if isinstance(value, tuple) and "sizes" in name:
            deep[name] = tuple(DEEP_LAYERS // len(value) for _ in value)
        elif isinstance(value, tuple) and "repeats" in name:
            deep[name] = (1,) * len(value)
        elif isinstance(value, int) and re.fullmatch("num.*_layers|n_layers?|depth", name) and "decoder" not in name:
            deep[name] = DEEP_LAYERS
    return deep


def name_of(number: int) -> str:
    return f"clean {number}"


def judge_clean(model: str, number: int) -> Clean:
    """Judge one clean case."""
    started = time.perf_counter()
    chosen = pick(model, number)
    same = Mutation("", chosen.regime, "", "", lambda session: change_weights(session, REGIMES[chosen.regime]))
    name = f"{name_of(number)}: {_described(chosen)}"
    result = Clean(
        name, model, f"python -m align selftest --model {model} --only '^{name_of(number)}:' --clean {number + 1}"
    )
    for stage in chosen.stages:
        result = _add(result, partial(_judged, chosen.case, same, stage))
    return replace(result, seconds=time.perf_counter() - started)


def _described(chosen: Pick) -> str:
    case = chosen.case
    tiny = registry.architecture(case.model).variants["tiny"]
    options = [f"{k}={v}" for k, v in case.raw_config.items() if tiny.get(k) != v]
    shape = f"{case.batch_size}×{case.length}"
    return " ".join([case.task, shape, chosen.regime, *options, *chosen.stages])


def _judged(case: Case, same: Mutation, stage: str) -> Report:
    if stage in MAKE_WEIGHTS:
        same = replace(same, apply=lambda session: None)
    torch, paddle = SabotagedClient("torch", same), SabotagedClient("paddle", same)
    return judge_case(case, torch, paddle, Steps(), stages=(stage,))


def rewrite_names(model: str, side: str) -> list[str]:
    """The harmless rewrites of an architecture."""
    return [f"rewrite: {rewrite.name} at {rewrite.blamed}" for rewrite in rewrites(survey(model, side))]


def judge_rewrite(model: str, side: str, number: int) -> Clean:
    """Judge one harmless rewrite in the forward stage."""
    started = time.perf_counter()
    rewrite, name = rewrites(survey(model, side))[number], rewrite_names(model, side)[number]
    result = Clean(name, model, f"python -m align selftest --model {model} --side {side} --only '{name}'")
    if changes(model, side, rewrite, REWRITE_ROUNDING):
        return replace(result, skipped="is another function here")

    def judged() -> Report:
        other, sound = SabotagedClient(side, rewrite), RememberingClient(OTHER[side], memory)
        torch, paddle = (other, sound) if side == "torch" else (sound, other)
        return judge_case(case_of(model, rewrite), torch, paddle, Steps())

    return replace(_add(result, judged), seconds=time.perf_counter() - started)


def _add(result: Clean, judge: Callable[[], Report]) -> Clean:
    """The result with what one more stage says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = judge()
    except NotApplicableError:
        return result
    except CannotCompareError as error:
        return replace(result, error=str(error).splitlines()[0])
    verdicts = [verdict for stage in report.stages for verdict in stage.verdicts]
    return replace(
        result,
        alarms=[*result.alarms, *_alarms(report)],
        comparisons=result.comparisons + len(verdicts),
        worst=max([result.worst, *(v.ratio for v in verdicts if v.passed)]),
    )


def _alarms(report: Report) -> Iterator[str]:
    for stage in report.stages:
        if not stage.passed:
            first = stage.blame[0] if stage.blame else None
            yield f"{stage.stage}: {first.module}: {first.why}" if first else f"{stage.stage}: nothing was compared"
