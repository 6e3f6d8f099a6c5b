"""PyTorch's engine: its native optimizers, but for LAMB and AdamW without bias correction, which it lacks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from align.engines import Arrays, check_names
from align.engines.spec import (
    ALPHA,
    BETA2_DECAY,
    EPS2,
    ETAS,
    LAMBD,
    MAX_RMS,
    MOMENTUM_DECAY,
    STEP_SIZES,
    T0,
    OptimizerSpec,
    groups,
    single,
)
from align.engines.updates.torch import Lamb, PlainAdamW

Groups = list[dict[str, Any]]

_OPTIMIZERS: Mapping[str, Callable[[Groups, OptimizerSpec], torch.optim.Optimizer]] = {
    "sgd": lambda groups, s: torch.optim.SGD(groups, momentum=s.momentum, nesterov=s.nesterov),
    "adam": lambda groups, s: torch.optim.Adam(groups, betas=s.betas, eps=s.eps, amsgrad=s.amsgrad),
    "adamw": lambda groups, s: (
        torch.optim.AdamW(groups, betas=s.betas, eps=s.eps, amsgrad=s.amsgrad)
        if s.bias_correction
        else PlainAdamW(groups, s)
    ),
    "adamax": lambda groups, s: torch.optim.Adamax(groups, betas=s.betas, eps=s.eps),
    "nadam": lambda groups, s: torch.optim.NAdam(groups, betas=s.betas, eps=s.eps, momentum_decay=MOMENTUM_DECAY),
    "radam": lambda groups, s: torch.optim.RAdam(groups, betas=s.betas, eps=s.eps),
    "adagrad": lambda groups, s: torch.optim.Adagrad(groups, eps=s.eps),
    "adadelta": lambda groups, s: torch.optim.Adadelta(groups, rho=s.rho, eps=s.eps),
    "rmsprop": lambda groups, s: torch.optim.RMSprop(groups, alpha=s.rho, eps=s.eps, momentum=s.momentum),
    "rprop": lambda groups, s: torch.optim.Rprop(groups, etas=ETAS, step_sizes=STEP_SIZES),
    "asgd": lambda groups, s: torch.optim.ASGD(groups, lambd=LAMBD, alpha=ALPHA, t0=T0),
    "lamb": Lamb,
    "adafactor": lambda groups, s: torch.optim.Adafactor(groups, beta2_decay=BETA2_DECAY, eps=(s.eps, EPS2), d=MAX_RMS),
}


class TorchEngine:
    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], spec: OptimizerSpec) -> None:
        self.spec = spec
        self.parameters = dict(parameters)
        self._groups = groups(spec, list(self.parameters))
        given = [
            {
                "params": [self.parameters[name] for name in group.names],
                "lr": single(spec.lr * group.factor),
                "weight_decay": group.weight_decay,
            }
            for group in self._groups
        ]
        with self._native_dtype():
            self.optimizer = _OPTIMIZERS[spec.name](given, spec)

    def accumulate(self, loss: torch.Tensor, share: float = 1.0) -> None:
        (loss * share).backward()

    def gradients(self) -> dict[str, np.ndarray | None]:
        return {name: None if p.grad is None else _array(p.grad) for name, p in self.parameters.items()}

    def set_gradients(self, gradients: Mapping[str, np.ndarray | None]) -> None:
        for name, gradient in gradients.items():
            parameter = self.parameters[name]
            parameter.grad = None if gradient is None else _like(parameter, gradient)

    def clip(self) -> float:
        limit = float("inf") if self.spec.clip_norm is None else self.spec.clip_norm
        return float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit))

    def step(self, lr: float) -> None:
        for settings, group in zip(self.optimizer.param_groups, self._groups, strict=True):
            settings["lr"] = single(lr * group.factor)
        with self._native_dtype():
            self.optimizer.step()

    def learning_rates(self) -> dict[str, float]:
        rates = zip(self.optimizer.param_groups, self._groups, strict=True)
        return {name: float(settings["lr"]) for settings, group in rates for name in group.names}

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        found = {name: self.optimizer.state.get(p, {}) for name, p in self.parameters.items()}
        held = {
            name: {key: _state(key, value) for key, value in state.items() if value is not None}
            for name, state in found.items()
        }
        return {name: state for name, state in held.items() if state and state.get("step") != 0}

    def load_state(self, state: Mapping[str, Arrays]) -> None:
        check_names(state, self.parameters)
        with self._native_dtype():
            self.optimizer = _OPTIMIZERS[self.spec.name](
                [
                    {key: value for key, value in settings.items() if key in ("params", "lr", "weight_decay")}
                    for settings in self.optimizer.param_groups
                ],
                self.spec,
            )
        for name, entries in state.items():
            parameter = self.parameters[name]
            self.optimizer.state[parameter] = {
                key: torch.tensor(float(value)) if key == "step" else _like(parameter, value)
                for key, value in entries.items()
            }

    def clear(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def _native_dtype(self) -> Iterator[None]:
        """Optimizers keep some scalars of their state in the default dtype: let it be that of the parameters."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(next((p.dtype for p in self.parameters.values()), before))
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _like(parameter: torch.Tensor, value: np.ndarray) -> torch.Tensor:
    return torch.tensor(value, dtype=parameter.dtype, device=parameter.device)


def _state(key: str, value: torch.Tensor) -> np.ndarray:
    return np.array(int(value)) if key == "step" else _array(value)


ENGINE = TorchEngine
