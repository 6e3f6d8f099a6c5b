"""Every torch function that is asked for float32 is given float64 instead."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Wide(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        wide = {key: _wide(value) for key, value in (kwargs or {}).items()}
        return func(*map(_wide, args), **wide)


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


@contextmanager
def widened() -> Iterator[None]:
    narrow = torch.FloatTensor
    try:
        torch.FloatTensor = torch.DoubleTensor  # type: ignore[misc, assignment]
        with _Wide():
            yield
    finally:
        torch.FloatTensor = narrow  # type: ignore[misc]
