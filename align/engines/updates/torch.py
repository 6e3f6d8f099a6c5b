"""What PyTorch lacks: AdamW without bias correction, and LAMB."""

from collections.abc import Iterator
from typing import Any

import torch

from align.engines.spec import OptimizerSpec


class _Moments(torch.optim.Optimizer):
    """An optimizer that keeps Adam's two moments."""

    def __init__(self, groups: list[dict[str, Any]], spec: OptimizerSpec) -> None:
        super().__init__(groups, {})
        self._spec = spec

    def _moments(self, group: dict[str, Any]) -> Iterator[tuple[torch.Tensor, int, torch.Tensor, torch.Tensor]]:
        """Each parameter that has a gradient, with the number of this update and its moments, brought up to date."""
        beta1, beta2 = self._spec.betas
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            state["step"] += 1
            m = state["exp_avg"].lerp_(p.grad, 1 - beta1)
            v = state["exp_avg_sq"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            yield p, int(state["step"]), m, v


class PlainAdamW(_Moments):
    """AdamW without bias correction: the optimizer of the original BERT and ELECTRA."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p, _, m, v in self._moments(group):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.addcdiv_(m, v.sqrt().add_(self._spec.eps), value=-group["lr"])


class Lamb(_Moments):
    """LAMB (You et al. 2020) with bias correction, the trust ratio ‖p‖/‖r‖ unbounded."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        beta1, beta2 = self._spec.betas
        for group in self.param_groups:
            for p, t, m, v in self._moments(group):
                update = m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt_() + self._spec.eps)
                update.add_(p, alpha=group["weight_decay"])
                size, length = float(p.norm()), float(update.norm())
                trust = size / length if size > 0 and length > 0 else 1.0
                p.add_(update, alpha=-group["lr"] * trust)
