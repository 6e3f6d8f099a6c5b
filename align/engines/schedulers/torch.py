"""PyTorch's schedulers. A warm-up from zero, an end other than zero and ELECTRA's composition stand as a LambdaLR."""

import torch
from torch.optim import lr_scheduler

from align.engines.schedules import Schedule


def native_rates(schedule: Schedule, lr: float) -> list[float]:
    """The learning rates of the updates 0 … total − 1 and of one more."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    scheduler = _scheduler(optimizer, schedule, lr)
    rates = []
    for _ in range(schedule.total + 1):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


def _scheduler(optimizer: torch.optim.Optimizer, schedule: Schedule, lr: float) -> lr_scheduler.LRScheduler:
    warmup = schedule.warmup_updates
    if schedule.composed:
        return lr_scheduler.LambdaLR(optimizer, lambda update: schedule(1.0, update))
    if not warmup:
        return _decay(optimizer, schedule, lr)
    rise = lr_scheduler.LambdaLR(optimizer, lambda update: update / warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, _decay(optimizer, schedule, lr)], [warmup])


def _decay(optimizer: torch.optim.Optimizer, schedule: Schedule, lr: float) -> lr_scheduler.LRScheduler:
    left = schedule.total - schedule.warmup_updates
    if schedule.name == "constant":
        return lr_scheduler.ConstantLR(optimizer, 1.0, left)
    if schedule.name == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, left, schedule.end * lr)
    if schedule.name == "polynomial" and schedule.end:
        end, power = schedule.end, schedule.power
        return lr_scheduler.LambdaLR(optimizer, lambda k: end + (1 - end) * (1 - min(1.0, k / left)) ** power)
    return lr_scheduler.PolynomialLR(optimizer, left, schedule.power if schedule.name == "polynomial" else 1.0)
