"""Both engines compute what the specification says: against the NumPy oracle and against native optimizers."""

from dataclasses import replace

import numpy as np
import paddle
import pytest
import torch

from align.engines import reference
from align.engines.spec import PRESETS, groups, single
from tests.align.engines.zoo import (
    STILL,
    UNUSED,
    engine,
    global_norm,
    gradients,
    paddle_parameters,
    start,
    torch_parameters,
    values,
)

FRAMEWORKS = ["torch", "paddle"]
UPDATES = 9  # RAdam rectifies from the sixth on
U = 2.0**-53


def every(name, clip_norm=1.0):
    """A preset with weight decay, so that each rule's is tested."""
    spec = replace(PRESETS[name], clip_norm=clip_norm)
    return spec if spec.weight_decay or spec.name == "rprop" else replace(spec, weight_decay=0.01)


def train(made, updates, dtype="float64", norm=20.0):
    for k in updates:
        made.set_gradients(gradients(k, dtype, norm=norm))
        made.clip()
        made.step(made.spec.lr * (1 - k / 20))
        made.clear()


def oracle(spec, updates, dtype="float64", norm=20.0):
    """The same in NumPy: parameters and state."""
    p = {name: value.astype(np.float64) for name, value in start(dtype).items()}
    state = {name: {} for name in p}
    rates = {n: (group.factor, group.weight_decay) for group in groups(spec, list(p)) for n in group.names}
    for k in updates:
        found = gradients(k, dtype, norm=norm)
        factor = min(1.0, spec.clip_norm / (global_norm(found) + 1e-6))
        for name, (share, decay) in rates.items():
            g = None if found[name] is None else found[name] * factor
            lr = single(spec.lr * (1 - k / 20) * share)
            p[name], state[name] = reference.update(spec, p[name], g, state[name], lr, decay)
    return p, state


def close(actual, expected, limit):
    assert np.shape(actual) == np.shape(expected)
    error, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    assert error <= limit * scale, error / max(scale, 1e-300)


def close_states(actual, expected):
    assert actual.keys() == {name for name in expected if expected[name]}
    for name, entries in actual.items():
        assert entries.keys() == expected[name].keys()
        for key, value in entries.items():
            close(value, expected[name][key], 1024 * U)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_optimizer_is_the_oracle_in_float64(framework, name):
    made = engine(framework, every(name))
    train(made, range(UPDATES))
    expected, state = oracle(made.spec, range(UPDATES))
    for parameter, value in values(made).items():
        close(value, expected[parameter], 64 * U)
    close_states(made.state(), state)


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"rprop"}))  # whose steps follow signs
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_optimizer_is_near_the_oracle_in_float32(framework, name):
    made = engine(framework, every(name), start("float32"))
    train(made, range(3), "float32")
    expected, _ = oracle(made.spec, range(3), "float32")
    for parameter, value in values(made).items():
        assert value.dtype == np.float32
        close(value, expected[parameter], 64 * 2.0**-24)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("other", FRAMEWORKS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_training_goes_on_from_a_saved_state_of_either_framework(framework, other, name):
    first = engine(other, every(name))
    train(first, range(3))
    state = first.state()
    shuffled = {parameter: state[parameter] for parameter in reversed(state)}
    second = engine(framework, every(name), values(first))
    second.load_state(shuffled)
    close_states(second.state(), state)
    train(second, range(3, 5))
    expected, _ = oracle(first.spec, range(5))
    for parameter, value in values(second).items():
        close(value, expected[parameter], 64 * U)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_state_of_unknown_parameters_is_refused(framework):
    made = engine(framework, PRESETS["adamw"])
    with pytest.raises(ValueError, match=r"unknown parameters: elsewhere\.weight, other\.bias"):
        made.load_state({"elsewhere.weight": {}, "other.bias": {}})


@pytest.mark.parametrize("name", ["momentum", "adamw", "rmsprop", "lamb"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_gradient_is_not_a_gradient_of_zeros(framework, name):
    made = engine(framework, every(name))
    train(made, range(1))
    before, state = values(made), made.state()
    train(made, range(1, 2))  # where UNUSED has none
    np.testing.assert_array_equal(values(made)[UNUSED], before[UNUSED])
    for key, value in made.state()[UNUSED].items():
        np.testing.assert_array_equal(value, state[UNUSED][key])
    before = values(made)
    train(made, range(2, 3))  # where STILL has zeros
    assert (values(made)[STILL] != before[STILL]).all()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_cleared_gradients_are_none_even_after_a_backward_pass(framework):
    made = engine(framework, PRESETS["adamw"])
    made.accumulate(sum((p * p).sum() for p in made.parameters.values()))
    assert all(g is not None for g in made.gradients().values())
    made.clear()
    assert set(made.gradients().values()) == {None}
    before = values(made)
    made.step(0.1)
    assert all((value == before[name]).all() for name, value in values(made).items())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_micro_batches_add_up_by_their_shares(framework):
    made = engine(framework, PRESETS["sgd"])
    for share, factor in ((0.7, 1.0), (0.3, 5.0)):
        made.accumulate(sum((factor * p * p).sum() for p in made.parameters.values()), share)
    for name, gradient in made.gradients().items():
        close(gradient, 2 * (0.7 + 0.3 * 5) * values(made)[name], 8 * U)


@pytest.mark.parametrize("norm", [2e-5, 0.3, 1.0, 20.0])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_clipping_is_by_one_norm_with_pytorchs_constant(framework, norm):
    limit = single(0.5 if norm > 0.1 else 1e-5)
    made = engine(framework, replace(PRESETS["sgd"], clip_norm=limit))
    raw = gradients(1, norm=norm)
    made.set_gradients(raw)
    assert made.clip() == pytest.approx(norm, rel=1e-14)
    for name, gradient in made.gradients().items():
        assert (gradient is None) == (raw[name] is None)
        if gradient is not None:
            close(gradient, raw[name] * min(1.0, limit / (norm + 1e-6)), 32 * U)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_without_a_limit_the_norm_is_told_and_nothing_is_clipped(framework):
    made = engine(framework, PRESETS["sgd"])
    raw = gradients(0, norm=100.0)
    made.set_gradients(raw)
    assert made.clip() == pytest.approx(100.0)
    for name, gradient in made.gradients().items():
        np.testing.assert_array_equal(gradient, raw[name])
    made.clear()
    assert made.clip() == 0.0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_learning_rates_are_read_back_rounded_to_float32(framework):
    made = engine(framework, replace(PRESETS["electra"], layer_decay=0.8))
    made.step(1 / 3)
    rates = made.learning_rates()
    assert list(rates) == list(made.parameters) or rates.keys() == made.parameters.keys()
    decay = single(0.8)
    assert rates["classifier.weight"] == single(1 / 3)
    assert rates["encoder.layer.1.LayerNorm.weight"] == single(decay / 3)
    assert rates["encoder.layer.0.dense.bias"] == single(decay**2 / 3)
    assert rates["embeddings.word_embeddings.weight"] == single(decay**3 / 3)


NATIVE_TORCH = {
    "adamw": lambda p, s: torch.optim.AdamW(p, s.lr, s.betas, s.eps, s.weight_decay),
    "adam-l2": lambda p, s: torch.optim.Adam(p, s.lr, s.betas, s.eps, s.weight_decay),
    "nesterov": lambda p, s: torch.optim.SGD(p, s.lr, s.momentum, 0, s.weight_decay, nesterov=True),
    "rmsprop": lambda p, s: torch.optim.RMSprop(p, s.lr, s.rho, s.eps, s.weight_decay),
    "adamax": lambda p, s: torch.optim.Adamax(p, s.lr, s.betas, s.eps, s.weight_decay),
    "adafactor": lambda p, s: torch.optim.Adafactor(p, s.lr, single(-0.8), (s.eps, single(1e-3)), 1.0, s.weight_decay),
}
NATIVE_PADDLE = {
    "adamw": lambda p, s: paddle.optimizer.AdamW(s.lr, *s.betas, s.eps, p, s.weight_decay),
    "adam-l2": lambda p, s: paddle.optimizer.Adam(s.lr, *s.betas, s.eps, p, s.weight_decay),
    "nesterov": lambda p, s: paddle.optimizer.Momentum(s.lr, s.momentum, p, True, s.weight_decay),
    "nadam": lambda p, s: paddle.optimizer.NAdam(s.lr, *s.betas, s.eps, single(4e-3), p, s.weight_decay),
    "radam": lambda p, s: paddle.optimizer.RAdam(s.lr, *s.betas, s.eps, p, s.weight_decay),
    "adagrad": lambda p, s: paddle.optimizer.Adagrad(s.lr, s.eps, p, s.weight_decay),
    "adadelta": lambda p, s: paddle.optimizer.Adadelta(s.lr, s.eps, s.rho, p, s.weight_decay),
    "lamb": lambda p, s: paddle.optimizer.Lamb(s.lr, s.weight_decay, *s.betas, s.eps, p),
}
# Native forms that are another function: were one mended, our own could go.
DEVIATING_PADDLE = {
    "rmsprop": lambda p, s: paddle.optimizer.RMSProp(s.lr, s.rho, s.eps, 0.0, False, p, s.weight_decay),
    "adamax": lambda p, s: paddle.optimizer.Adamax(s.lr, *s.betas, s.eps, p, s.weight_decay),
    "asgd": lambda p, s: paddle.optimizer.ASGD(s.lr, 1, p, s.weight_decay),
}


def gap(framework, name, build):
    """How far the engine and a framework's own optimizer are apart after a few updates, in units of the parameter."""
    spec = replace(every(name), no_decay=(), clip_norm=None)
    made = engine(framework, spec)
    native = (torch_parameters if framework == "torch" else paddle_parameters)(start())
    default = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")
    try:
        optimizer = build(list(native.values()), spec)
        for k in range(UPDATES):
            made.set_gradients(gradients(k, norm=1.0))
            made.step(spec.lr)
            for parameter, gradient in gradients(k, norm=1.0).items():
                tensor = None if gradient is None else torch.tensor(gradient)
                if framework == "paddle":
                    tensor = None if gradient is None else paddle.to_tensor(gradient)
                native[parameter].grad = tensor
            optimizer.step()
    finally:
        paddle.set_default_dtype(default)
    others = {parameter: p.detach().numpy() for parameter, p in native.items()}
    return max(np.abs(value - others[n]).max() / np.abs(value).max() for n, value in values(made).items())


@pytest.mark.parametrize("name", NATIVE_TORCH)
def test_torchs_engine_is_the_native_optimizer(name):
    assert gap("torch", name, NATIVE_TORCH[name]) <= 4 * U


@pytest.mark.parametrize("name", NATIVE_PADDLE)
def test_paddles_engine_is_the_native_optimizer_where_that_is_right(name):
    assert gap("paddle", name, NATIVE_PADDLE[name]) <= 4 * U


@pytest.mark.parametrize("name", DEVIATING_PADDLE)
def test_paddles_own_forms_that_are_not_used_deviate(name):
    assert gap("paddle", name, DEVIATING_PADDLE[name]) > 1e-12
