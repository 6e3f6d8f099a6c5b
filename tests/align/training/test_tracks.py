"""Judging quantities over updates: the envelope of the controls, the horizon, the first wrong update."""

from dataclasses import replace

import numpy as np
import pytest

from align.training.cause import cause_of
from align.training.sketch import sketch
from align.training.tracks import SCALARS, Leg, Run, Track, tracks_of, while_determined

LEG = Leg("float64", 2, 100.0, 1e-6)
CALM = np.full(6, 1e-16)


def track(gap, floor=CALM):
    return Track("loss", "loss", "<root>", np.asarray(gap, float), np.maximum.accumulate(np.asarray(floor, float)))


def test_rounding_passes_and_the_first_wrong_update_is_found():
    assert track(CALM).verdict(LEG).passed
    wrong = track([0, 0, 1e-12, 1e-3, 0, 0])
    assert wrong.first_wrong(LEG) == 2
    assert not wrong.verdict(LEG).passed
    assert wrong.verdict(LEG).difference.worst_at == (2,)


def test_what_the_controls_show_is_allowed_a_hundred_times():
    floor = [1e-16, 1e-13, 1e-13, 1e-13, 1e-13, 1e-13]
    assert track([0, 9e-12, 0, 0, 0, 0], floor).verdict(LEG).passed
    assert not track([0, 2e-11, 0, 0, 0, 0], floor).verdict(LEG).passed


def test_beyond_the_horizon_nothing_is_judged():
    chaos = track([0, 0, 0, 0.5, 0.5, 0.5], [1e-16, 1e-16, 1e-7, 1e-3, 1e-3, 1e-3])
    assert chaos.horizon(LEG) == 2
    assert chaos.verdict(LEG).passed
    assert track([0.5] * 6, [1.0] * 6).horizon(LEG) == 0


def test_where_rounding_decides_the_loss_nothing_else_is_judged_but_the_learning_rate():
    """Of a gradient that all controls leave alone, a jump is no fault then; before, it is."""
    loss = track(CALM, [1e-16, 1e-16, 1e-16, 1e-7, 1e-3, 1e-3])
    for update, passed in ((2, False), (4, True)):
        jump = track(np.where(np.arange(6) == update, 1e-3, 0))
        others = [replace(jump, name="w", kind="gradient"), replace(jump, name="learning rate", kind="learning rate")]
        judged = while_determined([loss, *others], LEG)
        assert [each.verdict(LEG).passed for each in judged] == [True, passed, False]
        assert [each.horizon(LEG) for each in judged] == [3, 3, 6]


def test_not_a_number_is_wrong():
    undefined = track([0, np.nan, 0, 0, 0, 0])
    assert undefined.first_wrong(LEG) == 1
    assert not undefined.verdict(LEG).passed


def test_sketches_show_single_elements_and_do_not_depend_on_shape():
    values = np.random.default_rng(0).normal(size=(50, 123))
    assert np.array_equal(sketch(values), sketch(values.reshape(-1)))
    other = values.copy()
    other[31, 7] += 1e-9
    assert np.allclose(np.abs(sketch(other) - sketch(values)), 1e-9, rtol=1e-3)
    assert sketch(np.zeros(0)).tolist() == [0, 0, 0, 0]
    assert sketch(np.ones((3, 4099), np.float32)).dtype == np.float64


GRADIENTS = np.random.default_rng(1).normal(size=(5, 3, 4))
WEIGHTS = np.cumsum(np.random.default_rng(2).normal(size=(5, 3, 4)), 0)
RATES = np.array([0.0, 1.0, 2.0, 1.5, 1.0])


def values(gradients=GRADIENTS, weights=WEIGHTS, rates=RATES):
    return {"gradients": gradients, "weights": weights, "learning rate": rates}


def test_a_parameter_may_be_called_as_a_quantity_is():
    names = ["weight", "gradient", "loss"]
    ones = np.ones(5)
    scalars = dict.fromkeys(SCALARS, ones)
    values = {**scalars, "gradients": GRADIENTS, "weights": WEIGHTS, "weight sizes": np.ones((5, 3))}
    run = Run(values, names)
    tracks = list(tracks_of(run, run, [run]))
    curves = [track.curve(LEG, run, run) for track in tracks]
    assert [curve.name for curve in curves if curve.expected.size] == list(SCALARS)
    assert [(curve.name, curve.kind) for curve in curves if not curve.expected.size] == [
        (name, kind) for kind in ("gradient", "weight") for name in names
    ]


@pytest.mark.parametrize(
    ("actual", "update", "text"),
    [
        (values(gradients=0.25 * GRADIENTS), 0, "gradients are 0.25 times torch's"),
        (
            values(gradients=GRADIENTS + np.concatenate([0 * GRADIENTS[:1], GRADIENTS[:-1]])),
            1,
            "did not clear the gradients of update 0",
        ),
        (values(rates=np.array([1.0, 2.0, 1.5, 1.0, 0.5])), 0, "paddle's schedule is 1 update ahead of torch's"),
        (values(rates=np.array([0.0, 0.0, 1.0, 2.0, 1.5])), 1, "paddle's schedule is 1 update behind torch's"),
        (values(rates=np.full(5, 1.0)), 0, "stays at 1: the schedule is not stepped"),
        (values(rates=2 * RATES), 1, "learning rate is 2 times torch's"),
        (values(weights=np.repeat(WEIGHTS[:1], 5, 0)), 1, "do not move at all"),
    ],
)
def test_causes(actual, update, text):
    assert text in cause_of(values(), actual, update)


def test_what_no_law_accounts_for_is_left_unexplained():
    assert cause_of(values(), values(gradients=GRADIENTS + np.random.default_rng(3).normal(size=(5, 3, 4))), 1) is None
    assert cause_of(values(), values(weights=WEIGHTS + 1e-3), 1) is None
    assert cause_of(values(), values(), 1) is None
