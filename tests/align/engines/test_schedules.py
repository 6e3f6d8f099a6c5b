"""Schedules, value by value: against both frameworks' own, transformers', and ELECTRA's formula."""

import math

import pytest
import torch

from align.engines.schedulers import paddle as paddle_schedulers
from align.engines.schedulers import torch as torch_schedulers
from align.engines.schedules import Schedule

LR, TOTAL = 3e-4, 60
SCHEDULES = [
    Schedule("constant", TOTAL),
    Schedule("constant", TOTAL, 7),
    Schedule("linear", TOTAL),
    Schedule("linear", TOTAL, 7),
    Schedule("linear", TOTAL, 0.11),
    Schedule("cosine", TOTAL),
    Schedule("cosine", TOTAL, 7, end=0.1),
    Schedule("polynomial", TOTAL, 7, end=0.01, power=2.0),
    Schedule("polynomial", TOTAL, power=0.5),
    Schedule("linear", TOTAL, 7, composed=True),
]


@pytest.mark.parametrize("native", [torch_schedulers, paddle_schedulers], ids=["torch", "paddle"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_every_value_is_that_of_the_frameworks_own(schedule, native):
    rates = native.native_rates(schedule, LR)
    assert len(rates) == TOTAL + 1
    for update, rate in enumerate(rates):
        assert rate == pytest.approx(schedule(LR, update), rel=1e-12, abs=1e-14 * LR), update


@pytest.mark.parametrize(
    ("schedule", "factory", "options"),
    [
        (Schedule("linear", TOTAL, 7), "get_linear_schedule_with_warmup", {"num_training_steps": TOTAL}),
        (Schedule("cosine", TOTAL, 7), "get_cosine_schedule_with_warmup", {"num_training_steps": TOTAL}),
        (Schedule("constant", TOTAL, 7), "get_constant_schedule_with_warmup", {}),
        (
            Schedule("polynomial", TOTAL, 7, end=0.01, power=2.0),
            "get_polynomial_decay_schedule_with_warmup",
            {"num_training_steps": TOTAL, "lr_end": 0.01 * LR, "power": 2.0},
        ),
    ],
)
def test_every_value_is_that_of_transformers(schedule, factory, options):
    optimization = pytest.importorskip("transformers.optimization")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], LR)
    scheduler = getattr(optimization, factory)(optimizer, 7, **options)
    for update in range(TOTAL + 1):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(schedule(LR, update), rel=1e-12, abs=1e-14 * LR)
        optimizer.step()
        scheduler.step()


def test_electra_multiplies_warm_up_and_decay():
    schedule = Schedule("linear", TOTAL, 6, composed=True)
    for update in range(TOTAL + 1):
        assert schedule(LR, update) == pytest.approx(LR * (1 - update / TOTAL) * min(1, update / 6))


def test_a_warm_up_by_ratio_is_rounded_up():
    assert Schedule("linear", 100, 0.055).warmup_updates == 6
    assert Schedule("linear", 100, 6)(LR, 50) == Schedule("linear", 100, 0.055)(LR, 50)


def test_the_last_value_is_kept():
    assert Schedule("linear", TOTAL, 7)(LR, TOTAL + 9) == 0
    assert Schedule("cosine", TOTAL, 7, end=0.1)(LR, TOTAL + 9) == pytest.approx(0.1 * LR)
    assert Schedule("constant", TOTAL, 7)(LR, TOTAL + 9) == LR
    assert not math.isnan(Schedule("linear", 5, 5)(LR, 5))


def test_a_schedule_survives_json():
    assert all(Schedule(**schedule.as_json()) == schedule for schedule in SCHEDULES)


@pytest.mark.parametrize(("name", "warmup"), [("square", 0), ("linear", 61), ("linear", -1), ("linear", 1.5)])
def test_what_is_no_schedule_is_refused(name, warmup):
    with pytest.raises(ValueError, match=r"unknown schedule|warm-up of"):
        Schedule(name, TOTAL, warmup)
