"""Update rules that Paddle lacks, or whose native form is not what `engines.spec` says."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle

from align.engines.spec import (
    ALPHA,
    BETA2_DECAY,
    EPS2,
    ETAS,
    LAMBD,
    MAX_RMS,
    STEP_SIZES,
    T0,
    OptimizerSpec,
)

Tensor = paddle.Tensor
State = dict[str, Any]

# p, g, state (with the number of this update as `step`), η, λ, specification → the parameter's next value
Update = Callable[[Tensor, Tensor, State, float, float, OptimizerSpec], Tensor]


def _adamw(p: Tensor, g: Tensor, state: State, lr: float, decay: float, spec: OptimizerSpec) -> Tensor:
    m, v = _moments(g, state, spec)
    return p * (1 - lr * decay) - lr * (m / (v.sqrt() + spec.eps))


def _adamax(p: Tensor, g: Tensor, state: State, lr: float, decay: float, spec: OptimizerSpec) -> Tensor:
    beta1, beta2 = spec.betas
    g = g + decay * p
    m = state["exp_avg"] = _mean(state, "exp_avg", g, beta1)
    u = state["exp_inf"] = paddle.maximum(_kept(state, "exp_inf", g) * beta2, g.abs() + spec.eps)
    return p - lr / (1 - beta1 ** state["step"]) * (m / u)


def _rmsprop(p: Tensor, g: Tensor, state: State, lr: float, decay: float, spec: OptimizerSpec) -> Tensor:
    g = g + decay * p
    s = state["square_avg"] = _mean(state, "square_avg", g * g, spec.rho)
    update = g / (s.sqrt() + spec.eps)
    if spec.momentum:
        update = state["momentum_buffer"] = spec.momentum * _kept(state, "momentum_buffer", g) + update
    return p - lr * update


def _rprop(p: Tensor, g: Tensor, state: State, lr: float, decay: float, spec: OptimizerSpec) -> Tensor:
    agreement = g * _kept(state, "prev", g)
    grown = paddle.where(agreement > 0, paddle.full_like(g, ETAS[1]), paddle.ones_like(g))
    factor = paddle.where(agreement < 0, paddle.full_like(g, ETAS[0]), grown)
    size = state.get("step_size", paddle.full_like(g, lr))
    size = state["step_size"] = (size * factor).clip(*STEP_SIZES)
    g = state["prev"] = paddle.where(agreement < 0, paddle.zeros_like(g), g)
    return p - g.sign() * size


def _asgd(p: Tensor, g: Tensor, state: State, lr: float, decay: float, spec: OptimizerSpec) -> Tensor:
    eta, mu, t = float(state.get("eta", lr)), float(state.get("mu", 1.0)), state["step"]
    g = g + decay * p
    p = p * (1 - LAMBD * eta) - eta * g
    average = _kept(state, "ax", g)
    state["ax"] = average + (p - average) * mu
    state["eta"] = lr / (1 + LAMBD * lr * t) ** ALPHA
    state["mu"] = 1 / max(1.0, t - T0)
    return p


def _adafactor(p: Tensor, g: Tensor, state: State, lr: float, decay: float, spec: OptimizerSpec) -> Tensor:
    t = state["step"]
    beta2 = 1 - t**BETA2_DECAY
    rate = max(EPS2, _rms(p)) * min(lr, 1 / t**0.5)
    if g.ndim > 1:
        rows = state["row_var"] = _mean(state, "row_var", (g * g).mean(-1, keepdim=True), beta2)
        columns = state["col_var"] = _mean(state, "col_var", (g * g).mean(-2, keepdim=True), beta2)
        v = paddle.matmul(rows, columns) / rows.mean(-2, keepdim=True).clip(min=spec.eps)
    else:
        v = state["variance"] = _mean(state, "variance", g * g, beta2)
    update = g / v.clip(min=spec.eps * spec.eps).sqrt()
    return p * (1 - lr * decay) - rate / max(1.0, _rms(update) / MAX_RMS) * update


UPDATES: Mapping[str, Update] = {
    "adamw": _adamw,
    "adamax": _adamax,
    "rmsprop": _rmsprop,
    "rprop": _rprop,
    "asgd": _asgd,
    "adafactor": _adafactor,
}


def _kept(state: State, key: str, like: Tensor) -> Tensor:
    return state.get(key, paddle.zeros_like(like))


def _mean(state: State, key: str, value: Tensor, beta: float) -> Tensor:
    """The running mean `key` after one more value."""
    return _kept(state, key, value) * beta + value * (1 - beta)


def _moments(g: Tensor, state: State, spec: OptimizerSpec) -> tuple[Tensor, Tensor]:
    beta1, beta2 = spec.betas
    state["exp_avg"] = _mean(state, "exp_avg", g, beta1)
    state["exp_avg_sq"] = _mean(state, "exp_avg_sq", g * g, beta2)
    return state["exp_avg"], state["exp_avg_sq"]


def _rms(x: Tensor) -> float:
    return float((x * x).mean().sqrt())


class OwnOptimizer:
    """One of the rules above on one group."""

    def __init__(self, spec: OptimizerSpec, parameters: list[Tensor], lr: float, weight_decay: float) -> None:
        self._spec = spec
        self._weight_decay = weight_decay
        self._states: dict[str, State] = {}
        self.lr = lr

    @paddle.no_grad()
    def step(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            if p.grad is not None:
                state = self._states.setdefault(p.name, {"step": 0})
                state["step"] += 1
                update = UPDATES[self._spec.name]
                p.set_value(update(p.detach(), p.grad, state, self.lr, self._weight_decay, self._spec))

    def state(self, parameter: Tensor) -> State:
        return self._states.get(parameter.name, {})

    def load(self, parameter: Tensor, state: Mapping[str, np.ndarray]) -> None:
        values = {key: paddle.to_tensor(value, dtype=parameter.dtype) for key, value in state.items()}
        self._states[parameter.name] = {**values, "step": int(state["step"])}
