"""PyTorch behind the backend protocol."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from align.backends.parts import InParts
from align.edges import ROOT
from align.errors import CannotCompareError
from convert.live.torch import Torch, as_tensor


class TorchBackend(Torch, InParts):
    models = "models_torch"

    def __init__(self) -> None:
        # After paddle.enable_compat(), `import torch` yields paddle itself, and paddle agrees with paddle.
        if not hasattr(torch, "_C") or torch.nn.Module.__module__.partition(".")[0] != "torch":
            raise CannotCompareError(
                "`import torch` gave another package (paddle.enable_compat?): run in a fresh interpreter"
            )

    def version(self) -> str:
        return str(torch.__version__)

    def threads(self) -> int:
        return torch.get_num_threads()

    def seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def default_dtype(self, dtype: str) -> str:
        before = str(torch.get_default_dtype()).removeprefix("torch.")
        torch.set_default_dtype(getattr(torch, dtype))
        return before

    def modules(self, model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
        for name, module in model.named_modules():
            yield name or ROOT, module

    def tables(self, model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        kept = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
        for name, module in model.named_modules():
            held = {**vars(module), **module._buffers}
            for leaf, value in held.items():
                if isinstance(value, torch.Tensor) and value.is_floating_point() and id(value) not in kept:
                    yield f"{name}.{leaf}", value

    def set_training(self, model: torch.nn.Module, training: bool) -> None:
        model.train(training)

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor)

    def is_module(self, value: Any) -> bool:
        return isinstance(value, torch.nn.Module)

    def is_differentiable(self, tensor: torch.Tensor) -> bool:
        return tensor.requires_grad

    def version_of(self, tensor: torch.Tensor) -> int:
        return tensor._version

    def to_numpy(self, tensor: torch.Tensor) -> np.ndarray:
        return tensor.detach().cpu().numpy()

    def tap(self, tensor: torch.Tensor, substitute: np.ndarray | None, differentiable: bool) -> tuple[Any, Any]:
        leaf = tensor.detach() if substitute is None else as_tensor(substitute)
        if not (differentiable and leaf.is_floating_point()):
            return leaf, leaf
        leaf.requires_grad_()
        return leaf, leaf.clone()  # no leaf, so code that works in place on its input still may

    def gradient(self, leaf: torch.Tensor) -> np.ndarray | None:
        return None if leaf.grad is None else leaf.grad.numpy()

    def backward(self, tensor: torch.Tensor, gradient: np.ndarray) -> None:
        torch.autograd.backward([tensor], [as_tensor(gradient).to(tensor.dtype)], retain_graph=True)

    def clear_gradients(self, model: torch.nn.Module) -> None:
        model.zero_grad(set_to_none=True)

    def forward(self, model: torch.nn.Module, batch: Mapping[str, np.ndarray]) -> Any:
        tensors = {name: as_tensor(value) for name, value in batch.items()}
        with torch.enable_grad():
            return model(**tensors)


BACKEND = TorchBackend()
