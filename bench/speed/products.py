"""The products that a torch model computes in one forward pass, with the shapes of their operands."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import convert

Product = tuple[str, list[list[int]], dict[str, Any]]  # kind, shapes of the operands, options

_MATRIX = ("mm", "bmm", "addmm", "baddbmm")


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Product] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name.removeprefix("aten::")
        if name in _MATRIX:
            self._add("matmul", args[-2:])
        elif name.startswith("_scaled_dot_product"):
            q, k, v = (tensor.flatten(0, -3) for tensor in args[:3])
            self._add("matmul", (q, k.mT))
            self.found.append(("matmul", [[*q.shape[:-1], k.shape[-2]], list(v.shape)], {}))
        elif name == "convolution":
            x, weight, _, stride, padding, dilation, _, _, groups = args
            options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
            self.found.append(("convolution", [list(x.shape), list(weight.shape)], options))
        return function(*args, **(kwargs or {}))

    def _add(self, kind: str, operands: Any) -> None:
        self.found.append((kind, [list(operand.shape) for operand in operands], {}))


def of_model(model: str, config: Mapping[str, Any], batch: Mapping[str, np.ndarray]) -> list[Product]:
    """The products of the torch backbone of `model` on this batch, in the order in which they are computed."""
    module = importlib.import_module(f"models_torch.{model}")
    network = getattr(module, module.TASKS["backbone"])(convert.live.config_class(module).from_dict(config)).eval()
    with torch.no_grad(), _Recorder() as recorder:
        network(**{name: torch.from_numpy(value) for name, value in batch.items()})
    return recorder.found
