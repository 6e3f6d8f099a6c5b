"""torch's side of `bench.models`, with transformers as the reference."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from bench.speed import Run

LAYOUT = "transformers"
seed = torch.manual_seed
torch.set_num_threads(os.cpu_count() or 1)


def has(model: str, name: str) -> bool:
    """Whether transformers has this class."""
    import transformers

    return hasattr(transformers, name)


def load(model: str, name: str, folder: Path) -> Any:
    """transformers' class of this name with the weights in `folder`."""
    import transformers

    return getattr(transformers, name).from_pretrained(folder)


def forward(model: Any, batch: Mapping[str, np.ndarray]) -> Run:
    """One pass in evaluation mode, without gradients."""
    given = {name: torch.from_numpy(value) for name, value in batch.items()}

    def run() -> Any:
        model.eval()
        with torch.no_grad():
            return model(**given)

    return run


def backward(model: Any, batch: Mapping[str, np.ndarray]) -> Run:
    """One pass in training mode, and back from the sum of the hidden states."""
    given = {name: torch.from_numpy(value) for name, value in batch.items()}

    def run() -> None:
        model.train()
        model.zero_grad(set_to_none=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _hidden(model(**given)).sum().backward()

    return run


def first(output: Any) -> np.ndarray:
    """The hidden states."""
    return _hidden(output).numpy()


def _hidden(output: Any) -> Any:
    return output["last_hidden_state"] if isinstance(output, dict) else output[0]


def floor(products: Sequence[Any]) -> Run:
    """The products alone; equal ones work on the same operands."""
    generator = torch.Generator().manual_seed(0)
    operands = {str(product): [torch.randn(shape, generator=generator) for shape in product[1]] for product in products}

    def run() -> None:
        with torch.no_grad():
            for product in products:
                a, b = operands[str(product)]
                if product[0] == "matmul":
                    torch.matmul(a, b)
                else:
                    _convolve(a, b, product[2])

    return run


def _convolve(x: Any, weight: Any, options: Mapping[str, Any]) -> Any:
    return (F.conv1d if x.ndim == 3 else F.conv2d)(x, weight, **options)
