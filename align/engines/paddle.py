"""PaddlePaddle's engine: its native optimizers where they compute what the specification says, and our own where not.

Native forms that deviate: Adamax adds ε to the decayed maximum, not to |g|; RMSProp takes √(s + ε); Rprop starts from
the learning rate that it was built with, not from that of its first update; ASGD is another algorithm. Adafactor and
AdamW without bias correction it lacks.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # paddle's import warns about compilers it does not need here
    import paddle

from align.engines import Arrays, check_names
from align.engines.spec import MOMENTUM_DECAY, Group, OptimizerSpec, groups, single
from align.engines.updates.paddle import OwnOptimizer

Parameters = list[paddle.Tensor]
Build = Callable[[float, Parameters, float, OptimizerSpec], paddle.optimizer.Optimizer]


def _adam(native: Any) -> Build:
    return lambda lr, parameters, decay, s: native(
        lr, *s.betas, s.eps, parameters, weight_decay=decay, amsgrad=s.amsgrad
    )


def _sgd(lr: float, parameters: Parameters, decay: float, s: OptimizerSpec) -> paddle.optimizer.Optimizer:
    if not s.momentum:
        return paddle.optimizer.SGD(lr, parameters, decay)
    return paddle.optimizer.Momentum(lr, s.momentum, parameters, s.nesterov, decay)


_NATIVE: Mapping[str, Build] = {
    "sgd": _sgd,
    "adam": _adam(paddle.optimizer.Adam),
    "adamw": _adam(paddle.optimizer.AdamW),
    "radam": lambda lr, parameters, decay, s: paddle.optimizer.RAdam(
        lr, *s.betas, s.eps, parameters, weight_decay=decay
    ),
    "nadam": lambda lr, parameters, decay, s: paddle.optimizer.NAdam(
        lr, *s.betas, s.eps, MOMENTUM_DECAY, parameters, decay
    ),
    "adagrad": lambda lr, parameters, decay, s: paddle.optimizer.Adagrad(lr, s.eps, parameters, weight_decay=decay),
    "adadelta": lambda lr, parameters, decay, s: paddle.optimizer.Adadelta(
        lr, s.eps, s.rho, parameters, weight_decay=decay
    ),
    # Native LAMB takes the trust ratio from parameters that do not decay unless told to adapt always.
    "lamb": lambda lr, parameters, decay, s: paddle.optimizer.Lamb(
        lr, decay, *s.betas, s.eps, parameters, always_adapt=True
    ),
}

# The common names of what a native optimizer keeps.
_ACCUMULATORS: Mapping[str, Mapping[str, str]] = {
    "sgd": {"momentum_buffer": "velocity"},
    "adam": {"exp_avg": "moment1", "exp_avg_sq": "moment2", "max_exp_avg_sq": "moment2_max"},
    "adamw": {"exp_avg": "moment1", "exp_avg_sq": "moment2", "max_exp_avg_sq": "moment2_max"},
    "lamb": {"exp_avg": "moment1", "exp_avg_sq": "moment2"},
    "nadam": {"exp_avg": "moment1", "exp_avg_sq": "moment2", "mu_product": "mu_product"},
    "radam": {"exp_avg": "moment1", "exp_avg_sq": "moment2"},
    "adagrad": {"sum": "moment"},
    "adadelta": {"square_avg": "_avg_squared_grad", "acc_delta": "_avg_squared_update"},
}


def _powers(spec: OptimizerSpec, updates: int) -> dict[str, float]:
    """What native optimizers keep besides, by Paddle's names: functions of the number of updates."""
    beta1, beta2 = (beta**updates for beta in spec.betas)
    if spec.name == "nadam":
        return {"momentum_decay_pow": 0.96**updates, "beta2_pow": beta2}
    if spec.name == "radam":
        return {"beta1_pow": beta1, "beta2_pow": beta2, "rho": updates * beta2 / (1 - beta2)}
    return {"beta1_pow_acc": beta1 * spec.betas[0], "beta2_pow_acc": beta2 * spec.betas[1]}


class NativeOptimizer:
    """One of Paddle's optimizers on one group, with its state under common names."""

    def __init__(self, spec: OptimizerSpec, parameters: Parameters, lr: float, weight_decay: float) -> None:
        self._spec = spec
        self._optimizer = _NATIVE[spec.name](lr, parameters, weight_decay, spec)
        self._updates: dict[str, int] = {}  # parameter to the number of its updates

    @property
    def lr(self) -> float:
        return self._optimizer.get_lr()

    @lr.setter
    def lr(self, value: float) -> None:
        self._optimizer.set_lr(value)

    def step(self, parameters: Parameters) -> None:
        for p in parameters:
            if p.grad is not None:
                self._updates[p.name] = self._updates.get(p.name, 0) + 1
        self._optimizer.step()

    def state(self, parameter: paddle.Tensor) -> dict[str, Any]:
        if parameter.name not in self._updates:
            return {}
        kept = {"step": self._updates[parameter.name]} if self._spec.name != "sgd" else {}
        held = {key: t.numpy() for key, t in self._held(parameter, _ACCUMULATORS[self._spec.name]).items()}
        if "mu_product" in held:
            held["mu_product"] = held["mu_product"].reshape(-1)[0]  # one number, kept for every element
        return kept | held

    def load(self, parameter: paddle.Tensor, state: Mapping[str, np.ndarray]) -> None:
        self._updates[parameter.name] = int(state.get("step", 1))
        self._optimizer._create_accumulators(paddle.static.default_main_program().global_block(), [parameter])
        names = _ACCUMULATORS[self._spec.name]
        for key, tensor in self._held(parameter, names).items():
            if key in state:
                like = tensor.numpy()
                tensor.set_value(np.broadcast_to(state[key], like.shape).astype(like.dtype))
        powers = _powers(self._spec, self._updates[parameter.name])
        for key, tensor in self._held(parameter, {key: key for key in powers}).items():
            tensor.set_value(np.full_like(tensor.numpy(), powers[key]))

    def _held(self, parameter: paddle.Tensor, names: Mapping[str, str]) -> dict[str, paddle.Tensor]:
        accumulators = self._optimizer._accumulators
        return {ours: accumulators[its][parameter.name] for ours, its in names.items() if its in accumulators}


class PaddleEngine:
    def __init__(self, parameters: Mapping[str, paddle.Tensor], spec: OptimizerSpec) -> None:
        self.spec = spec
        self.parameters = dict(parameters)
        self._groups = groups(spec, list(self.parameters))
        self._optimizers = [self._optimizer(group, single(spec.lr * group.factor)) for group in self._groups]

    def _optimizer(self, group: Group, lr: float) -> "NativeOptimizer | OwnOptimizer":
        native = self.spec.name in _NATIVE and self.spec.bias_correction
        kind = NativeOptimizer if native else OwnOptimizer
        with self._native_dtype():
            return kind(self.spec, self._members(group), lr, group.weight_decay)

    def _members(self, group: Group) -> Parameters:
        return [self.parameters[name] for name in group.names]

    def accumulate(self, loss: paddle.Tensor, share: float = 1.0) -> None:
        (loss * share).backward()

    def gradients(self) -> dict[str, np.ndarray | None]:
        return {name: None if p.grad is None else p.grad.numpy() for name, p in self.parameters.items()}

    def set_gradients(self, gradients: Mapping[str, np.ndarray | None]) -> None:
        for name, gradient in gradients.items():
            parameter = self.parameters[name]
            parameter.grad = None if gradient is None else paddle.to_tensor(gradient, dtype=parameter.dtype)

    def clip(self) -> float:
        limit = float("inf") if self.spec.clip_norm is None else self.spec.clip_norm
        return float(paddle.nn.utils.clip_grad_norm_(list(self.parameters.values()), limit))

    def step(self, lr: float) -> None:
        for optimizer, group in zip(self._optimizers, self._groups, strict=True):
            optimizer.lr = single(lr * group.factor)
            with self._native_dtype():
                optimizer.step(self._members(group))

    def learning_rates(self) -> dict[str, float]:
        rates = zip(self._optimizers, self._groups, strict=True)
        return {name: float(optimizer.lr) for optimizer, group in rates for name in group.names}

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        found = {
            name: {key: np.array(value) for key, value in optimizer.state(self.parameters[name]).items()}
            for optimizer, group in zip(self._optimizers, self._groups, strict=True)
            for name in group.names
        }
        return {name: found[name] for name in self.parameters if found[name]}

    def load_state(self, state: Mapping[str, Arrays]) -> None:
        check_names(state, self.parameters)
        rates = [optimizer.lr for optimizer in self._optimizers]
        self._optimizers = [self._optimizer(group, lr) for group, lr in zip(self._groups, rates, strict=True)]
        for optimizer, group in zip(self._optimizers, self._groups, strict=True):
            for name in group.names:
                if name in state:
                    optimizer.load(self.parameters[name], state[name])

    def clear(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None  # clear_gradient(set_to_zero=False) leaves zeros behind

    @contextmanager
    def _native_dtype(self) -> Iterator[None]:
        """Optimizers keep the learning rate in the default dtype: let it be that of the parameters."""
        before = paddle.get_default_dtype()
        paddle.set_default_dtype(next((p.dtype for p in self.parameters.values()), before))
        try:
            yield
        finally:
            paddle.set_default_dtype(before)


ENGINE = PaddleEngine
