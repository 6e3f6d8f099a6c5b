"""Paddle's side of `bench.models`, with PaddleNLP as the reference."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))  # read while paddle is imported
import paddle
import paddle.nn.functional as F

from bench.speed import Run
from convert.configs import from_ours

LAYOUT = "paddlenlp"
ANOTHER_FUNCTION = {"gau_alpha"}  # PaddleNLP's goes on with the attention of the first example for all
seed = paddle.seed


def _class(model: str, name: str) -> Any:
    """PaddleNLP's counterpart of our class, None where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from paddlenlp import transformers
        from paddlenlp.utils.log import logger

        logger.set_level("ERROR")
        named = from_ours(model, LAYOUT, {"architectures": [name]})["architectures"][0]
        return getattr(transformers, named, None)


def has(model: str, name: str) -> bool:
    """Whether PaddleNLP has this class, and it is the same function."""
    return model not in ANOTHER_FUNCTION and _class(model, name) is not None


def load(model: str, name: str, folder: Path) -> Any:
    """PaddleNLP's class with the weights in `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _class(model, name).from_pretrained(str(folder))


def forward(model: Any, batch: Mapping[str, np.ndarray]) -> Run:
    """One pass in evaluation mode, without gradients."""
    given = {name: paddle.to_tensor(value) for name, value in batch.items()}

    def run() -> Any:
        model.eval()
        with paddle.no_grad():
            return _called(model, given)

    return run


def backward(model: Any, batch: Mapping[str, np.ndarray]) -> Run:
    """One pass in training mode, and back from the sum of the hidden states."""
    given = {name: paddle.to_tensor(value) for name, value in batch.items()}

    def run() -> None:
        model.train()
        for parameter in model.parameters():
            parameter.clear_gradient(set_to_zero=False)
        _hidden(_called(model, given)).sum().backward()

    return run


def _called(model: Any, given: Mapping[str, Any]) -> Any:
    options = {} if type(model).__module__.startswith("models_paddle") else {"return_dict": True}
    try:
        return model(**given, **options)
    except TypeError:
        return model(**given)  # some have no such option


def first(output: Any) -> np.ndarray:
    """The hidden states."""
    return _hidden(output).numpy()


def _hidden(output: Any) -> Any:
    if isinstance(output, paddle.Tensor):
        return output
    return output["last_hidden_state"] if isinstance(output, dict) else output[0]


def floor(products: Sequence[Any]) -> Run:
    """The products alone; equal ones work on the same operands."""
    paddle.seed(0)
    operands = {str(product): [paddle.randn(shape) for shape in product[1]] for product in products}

    def run() -> None:
        with paddle.no_grad():
            for product in products:
                a, b = operands[str(product)]
                if product[0] == "matmul":
                    paddle.matmul(a, b)
                else:
                    _convolve(a, b, product[2])

    return run


def _convolve(x: Any, weight: Any, options: Mapping[str, Any]) -> Any:
    return (F.conv1d if x.ndim == 3 else F.conv2d)(x, weight, **options)
