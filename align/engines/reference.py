"""The rules of `engines.spec` in NumPy and float64: an oracle that shares no code with either framework's engine.

`Quirks` are the ways in which ports really deviate; with them the oracle says what a deviating side computes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

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
)

State = Mapping[str, np.ndarray | float]


@dataclass(frozen=True)
class Quirks:
    """Deviations from a specification that no other specification expresses."""

    eps_inside_root: bool = False  # √(v + ε) for √v + ε
    eps_before_correction: bool = False  # (√v + ε)/√(1−β₂ᵗ) for √(v/(1−β₂ᵗ)) + ε
    eps_on_maximum: bool = False  # adamax: max(β₂u + ε, |g|) for max(β₂u, |g| + ε)
    uncorrected: bool = False  # no bias correction where there should be one
    corrected: bool = False  # bias correction where there should be none
    decay_after: bool = False  # decoupled decay of the updated parameter
    dampening: bool = False  # (1−μ)g into the momentum buffer
    trust: str = "all"  # lamb's trust ratio: "all" parameters, those that decay ("decayed"), or "none"
    none_as_zero: bool = False  # a missing gradient taken for zeros
    updates: int = 0  # how far the count of updates is off
    scale: float = 1.0  # of the whole update, decay included


NONE = Quirks()


@dataclass
class _Update:
    """One update of one parameter: what it reads, and the state that it leaves."""

    p: np.ndarray
    g: np.ndarray
    old: State
    lr: float
    decay: float
    spec: OptimizerSpec
    quirks: Quirks

    def __post_init__(self) -> None:
        self.betas = np.array(self.spec.betas)  # with NumPy's division, for hypotheses that divide by zero
        self.t = np.float64(self.old.get("step", 0)) + 1 + self.quirks.updates
        self.state: dict[str, np.ndarray | float] = {"step": float(self.old.get("step", 0)) + 1}

    def kept(self, key: str, start: float = 0.0) -> np.ndarray:
        return np.asarray(self.old.get(key, np.full_like(self.p, start)), np.float64)

    def mean(self, key: str, value: np.ndarray, beta: float) -> np.ndarray:
        mean = beta * np.asarray(self.old.get(key, np.zeros_like(value)), np.float64) + (1 - beta) * value
        self.state[key] = mean
        return mean

    def correction(self, beta: float) -> float:
        q = self.quirks
        return 1 - beta**self.t if (self.spec.bias_correction and not q.uncorrected) or q.corrected else 1.0

    def root(self, v: np.ndarray, correction: float = 1.0) -> np.ndarray:
        """√v + ε with ε where the quirks put it."""
        eps = self.spec.eps
        if self.quirks.eps_inside_root:
            return np.sqrt(v / correction + eps)
        if self.quirks.eps_before_correction:
            return (np.sqrt(v) + eps) / np.sqrt(correction)
        return np.sqrt(v / correction) + eps

    def adam(self) -> np.ndarray:
        """m̂ / (√v̂ + ε)."""
        beta1, beta2 = self.betas
        m = self.mean("exp_avg", self.g, beta1)
        v = self.mean("exp_avg_sq", self.g**2, beta2)
        if self.spec.amsgrad:
            v = self.state["max_exp_avg_sq"] = np.maximum(self.kept("max_exp_avg_sq"), v)
        return m / self.correction(beta1) / self.root(v, self.correction(beta2))

    def momentum(self, g: np.ndarray) -> np.ndarray:
        mu = self.spec.momentum
        if not mu:
            return g
        fed = (1 - mu) * g if self.quirks.dampening and "momentum_buffer" in self.old else g
        buffer = self.state["momentum_buffer"] = mu * self.kept("momentum_buffer") + fed
        return g + mu * buffer if self.spec.nesterov else buffer


def update(
    spec: OptimizerSpec,
    p: np.ndarray,
    g: np.ndarray | None,
    state: State,
    lr: float,
    decay: float,
    quirks: Quirks = NONE,
) -> tuple[np.ndarray, State]:
    """The parameter and its state after one update; `lr` and `decay` are this parameter's own."""
    if g is None:
        if not quirks.none_as_zero:
            return p, state
        g = np.zeros_like(p)
    decoupled = spec.name in ("adamw", "adafactor")
    coupled = 0.0 if decoupled or spec.name in ("lamb", "rprop") else decay
    u = _Update(p, g + coupled * p, state, lr, decay, spec, quirks)
    change = _RULES[spec.name](u)
    if decoupled:
        change = change + lr * decay * (p - change if quirks.decay_after else p)
    if spec.name == "sgd":
        u.state.pop("step")
    return p - quirks.scale * change, u.state


def _adamax(u: _Update) -> np.ndarray:
    beta1, beta2 = u.betas
    m, old, eps = u.mean("exp_avg", u.g, beta1), u.kept("exp_inf"), u.spec.eps
    high = (beta2 * old + eps, np.abs(u.g)) if u.quirks.eps_on_maximum else (beta2 * old, np.abs(u.g) + eps)
    largest = u.state["exp_inf"] = np.maximum(*high)
    return u.lr * m / u.correction(beta1) / largest


def _nadam(u: _Update) -> np.ndarray:
    beta1, beta2 = u.betas
    now, following = (beta1 * (1 - 0.5 * 0.96 ** (n * MOMENTUM_DECAY)) for n in (u.t, u.t + 1))
    product = u.state["mu_product"] = float(u.old.get("mu_product", 1.0)) * now
    m, v = u.mean("exp_avg", u.g, beta1), u.mean("exp_avg_sq", u.g**2, beta2)
    look_ahead = (1 - now) / (1 - product) * u.g + following / (1 - product * following) * m
    return u.lr * look_ahead / u.root(v, u.correction(beta2))


def _radam(u: _Update) -> np.ndarray:
    beta1, beta2 = u.betas
    m, v = u.mean("exp_avg", u.g, beta1) / u.correction(beta1), u.mean("exp_avg_sq", u.g**2, beta2)
    most = 2 / (1 - beta2) - 1
    rho = most - 2 * u.t * beta2**u.t / (1 - beta2**u.t)
    if rho <= 5:
        return u.lr * m
    rectified = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    return u.lr * m * rectified * np.sqrt(u.correction(beta2)) / u.root(v)


def _adagrad(u: _Update) -> np.ndarray:
    total = u.state["sum"] = u.kept("sum") + u.g**2
    return u.lr * u.g / u.root(total)


def _adadelta(u: _Update) -> np.ndarray:
    eps, rho = u.spec.eps, u.spec.rho
    s = u.mean("square_avg", u.g**2, rho)
    delta = u.g * np.sqrt(u.kept("acc_delta") + eps) / np.sqrt(s + eps)
    u.mean("acc_delta", delta**2, rho)
    return u.lr * delta


def _rmsprop(u: _Update) -> np.ndarray:
    return u.lr * u.momentum(u.g / u.root(u.mean("square_avg", u.g**2, u.spec.rho)))


def _rprop(u: _Update) -> np.ndarray:
    turn = np.sign(u.g * u.kept("prev"))
    factor = np.choose((turn + 1).astype(int), [ETAS[0], 1.0, ETAS[1]])
    size = u.state["step_size"] = np.clip(u.kept("step_size", u.lr) * factor, *STEP_SIZES)
    g = u.state["prev"] = np.where(turn < 0, 0.0, u.g)
    return np.sign(g) * size


def _asgd(u: _Update) -> np.ndarray:
    eta, mu = float(u.old.get("eta", u.lr)), float(u.old.get("mu", 1.0))
    move = eta * (LAMBD * u.p + u.g)
    average = u.kept("ax")
    u.state["ax"] = average + mu * (u.p - move - average)
    u.state["eta"] = u.lr / (1 + LAMBD * u.lr * u.t) ** ALPHA
    u.state["mu"] = 1 / max(1.0, u.t - T0)
    return move


def _lamb(u: _Update) -> np.ndarray:
    r = u.adam() + u.decay * u.p
    size, length = np.linalg.norm(u.p), np.linalg.norm(r)
    adapted = u.quirks.trust == "all" or (u.quirks.trust == "decayed" and u.decay > 0)
    return u.lr * r * (size / length if adapted and size and length else 1.0)


def _adafactor(u: _Update) -> np.ndarray:
    beta2 = 1 - u.t**BETA2_DECAY
    if u.p.ndim > 1:
        rows = u.mean("row_var", (u.g**2).mean(-1, keepdims=True), beta2)
        columns = u.mean("col_var", (u.g**2).mean(-2, keepdims=True), beta2)
        v = rows * columns / np.maximum(rows.mean(-2, keepdims=True), u.spec.eps)
    else:
        v = u.mean("variance", u.g**2, beta2)
    change = u.g / np.sqrt(np.maximum(v, u.spec.eps**2))
    size = max(EPS2, _rms(u.p)) * min(u.lr, 1 / np.sqrt(u.t))
    return size * change / max(1.0, _rms(change) / MAX_RMS)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt((x**2).mean()))


# What is subtracted from the parameter; the learning rate is in it, decoupled decay is not.
_RULES: Mapping[str, Callable[[_Update], np.ndarray]] = {
    "sgd": lambda u: u.lr * u.momentum(u.g),
    "adam": lambda u: u.lr * u.adam(),
    "adamw": lambda u: u.lr * u.adam(),
    "adamax": _adamax,
    "nadam": _nadam,
    "radam": _radam,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "rprop": _rprop,
    "asgd": _asgd,
    "lamb": _lamb,
    "adafactor": _adafactor,
}
