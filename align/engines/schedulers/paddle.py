"""Paddle's schedulers. ELECTRA's composition stands as a LambdaDecay.

`PolynomialDecay` ends in 1e-4 unless told otherwise, and `get_lr()` of a scheduler is not what the optimizer uses.
"""

import paddle
from paddle.optimizer import lr as native

from align.engines.schedules import Schedule


def native_rates(schedule: Schedule, lr: float) -> list[float]:
    """The learning rates of the updates 0 … total − 1 and of one more."""
    scheduler = _scheduler(schedule, lr)
    optimizer = paddle.optimizer.SGD(scheduler, [paddle.create_parameter([1], "float32")])
    rates = []
    for _ in range(schedule.total + 1):
        rates.append(float(optimizer.get_lr()))
        optimizer.step()
        if not isinstance(scheduler, float):
            scheduler.step()
    return rates


def _scheduler(schedule: Schedule, lr: float) -> "native.LRScheduler | float":
    warmup = schedule.warmup_updates
    if schedule.composed:
        return native.LambdaDecay(lr, lambda update: schedule(1.0, update))
    decay = _decay(schedule, lr)
    return native.LinearWarmup(decay, warmup, 0.0, lr) if warmup else decay


def _decay(schedule: Schedule, lr: float) -> "native.LRScheduler | float":
    left = schedule.total - schedule.warmup_updates
    if schedule.name == "constant":
        return lr
    if schedule.name == "cosine":
        return native.CosineAnnealingDecay(lr, left, schedule.end * lr)
    if schedule.name == "linear":
        return native.PolynomialDecay(lr, left, end_lr=0.0)
    return native.PolynomialDecay(lr, left, end_lr=schedule.end * lr, power=schedule.power)
