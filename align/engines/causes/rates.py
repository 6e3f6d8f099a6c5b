"""Why learning rates are wrong: those of the parameters in a few updates, or those of a whole schedule."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from align.engines.causes import listed
from align.engines.schedules import Schedule
from align.engines.spec import depths
from align.engines.trace import Setting, Trace

_EXACT = 2.0**-22  # of the base rate: rates are float32 numbers


def cause_of(setting: Setting, side: Trace) -> str | None:
    """Why parameters have the learning rates that they have on one side, in words: "" if nothing simple
    does it, None if nothing is wrong.
    """
    names = [name for name in setting.trained if name in side.rates[0]]
    actual = np.array([[rates[name] for name in names] for rates in side.rates])
    base = np.array(setting.rates)
    expected = np.array([setting.factors[name] for name in names])
    if np.allclose(actual, base[:, None] * expected, rtol=_EXACT, atol=0):
        return None
    for text, factors in _factors(setting, names, actual / base[:, None]):
        if np.allclose(actual, base[:, None] * factors, rtol=_EXACT, atol=0):
            return text
    if np.allclose(actual[1:], base[:-1, None] * expected, rtol=_EXACT, atol=0):
        return "the learning rate of the update before is used"
    if np.allclose(actual, base[0] * expected, rtol=_EXACT, atol=0):
        return "the learning rate stays what it was in the first update"
    return ""


def _factors(setting: Setting, names: Sequence[str], seen: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What may multiply the base rate of each parameter instead; `seen` (updates, names) is what does."""
    spec, depth = setting.spec, depths(setting.trained)
    head = max(depth.values())
    below = np.array([head - depth[name] for name in names])
    expected = np.array([setting.factors[name] for name in names])
    if spec.layer_decay != 1:
        decay = spec.layer_decay
        yield "layer-wise decay is not applied", np.ones(len(names))
        yield "layer-wise decay is one layer too deep: all but the head", decay ** np.where(below, below + 1, 0)
        yield "layer-wise decay is one layer short", decay ** np.maximum(below - 1, 0)
        yield "layer-wise decay is turned over: the embeddings learn fastest", decay ** (below.max() - below)
        lowest = int(np.argmax(below))
        fitted = seen[0, lowest] ** (1 / max(1, below[lowest]))
        yield f"layer-wise decay is {fitted:g} instead of {decay:g}", fitted**below
    ratio = seen[0] / expected
    worst = float(ratio[np.argmax(np.abs(ratio - 1))])
    wrong = np.abs(ratio - 1) > _EXACT
    whose = (
        "" if wrong.all() else f" of {listed([name for name, is_wrong in zip(names, wrong, strict=True) if is_wrong])}"
    )
    yield f"the learning rate{whose} is {worst:.6g} times what it should be", expected * np.where(wrong, worst, 1.0)


def cause_of_schedule(schedule: Schedule, lr: float, actual: Sequence[float]) -> str | None:
    """Why the learning rates of the updates 0, 1, … are what they are: "" if nothing simple does it, None if
    nothing is wrong.
    """
    rates = np.array(actual)
    close = _EXACT * lr
    if max(abs(rate - schedule(lr, k)) for k, rate in enumerate(actual)) <= close:
        return None
    for text, expected in _schedules(schedule, lr, rates):
        if np.abs(rates - expected).max() <= close:
            return text
    for shift in (1, -1, 2, -2):
        late = f"{abs(shift)} update{'s' * (abs(shift) > 1)} {'ahead' if shift > 0 else 'late'}"
        inside = [k for k in range(len(rates)) if 0 <= k + shift <= schedule.total]
        if max(abs(rates[k] - schedule(lr, k + shift)) for k in inside) <= close:
            return f"the schedule is {late}"
    return ""


def _schedules(schedule: Schedule, lr: float, rates: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    updates = range(len(rates))

    def over(other: Schedule, pace: float = 1.0) -> np.ndarray:
        return np.array([other(lr, int(k * pace)) for k in updates])

    yield "the schedule is never stepped", np.full(len(rates), rates[0])
    if schedule.composed:
        yield "warm-up is followed by the decay, not multiplied with it", over(replace(schedule, composed=False))
    elif schedule.warmup_updates and schedule.name != "constant":
        yield "warm-up is multiplied with the decay, not followed by it", over(replace(schedule, composed=True))
    for pace in (2, 3, 4, 8):
        yield f"the schedule is stepped {pace} times per update (per micro-batch?)", over(schedule, pace)
        yield f"the schedule is stepped every {pace} updates", over(schedule, 1 / pace)
    if schedule.warmup_updates:
        yield "there is no warm-up", over(replace(schedule, warmup=0))
    for total in _other_totals(schedule):
        yield f"the schedule is over {total} updates instead of {schedule.total}", over(replace(schedule, total=total))
    end = float(rates[-1])
    if schedule.name == "linear" and not schedule.composed:
        fall = over(replace(schedule, name="polynomial", power=1.0, end=end / lr))
        yield f"the learning rate ends at {end:.6g} instead of 0", fall
    elif schedule.name in ("cosine", "polynomial"):
        yield (
            f"the learning rate ends at {end:.6g} instead of {schedule.end * lr:.6g}",
            over(replace(schedule, end=end / lr)),
        )
    with np.errstate(all="ignore"):
        factor = float(np.nanmedian(rates / over(schedule)))
    yield f"the learning rate is {factor:.6g} times what it should be", factor * over(schedule)


def _other_totals(schedule: Schedule) -> Iterator[int]:
    for total in range(max(2, schedule.warmup_updates + 1), 8 * schedule.total + 1):
        if total != schedule.total:
            yield total
