"""PaddlePaddle behind the backend protocol."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # paddle's import warns about compilers it does not need here
    import paddle

from align.backends.parts import InParts
from align.edges import ROOT
from convert.live.paddle import Paddle


class PaddleBackend(Paddle, InParts):
    models = "models_paddle"
    words: ClassVar = {"epsilon": "eps", "axis": "dim"}

    def version(self) -> str:
        return str(paddle.__version__)

    def threads(self) -> int:
        return int(paddle.get_flags("FLAGS_paddle_num_threads")["FLAGS_paddle_num_threads"])

    def seed(self, seed: int) -> None:
        paddle.seed(seed)

    def default_dtype(self, dtype: str) -> str:
        before = str(paddle.get_default_dtype())
        paddle.set_default_dtype(dtype)  # type: ignore[arg-type]
        return before

    def modules(self, model: paddle.nn.Layer) -> Iterator[tuple[str, paddle.nn.Layer]]:
        for name, module in model.named_sublayers(include_self=True):
            yield name or ROOT, module

    def tables(self, model: paddle.nn.Layer) -> Iterator[tuple[str, paddle.Tensor]]:
        kept = {id(tensor) for tensor in model.state_dict().values()}
        for name, module in model.named_sublayers(include_self=True):
            for leaf, value in module._buffers.items():
                if value is not None and value.is_floating_point() and id(value) not in kept:
                    yield f"{name}.{leaf}", value

    def set_training(self, model: paddle.nn.Layer, training: bool) -> None:
        if training:
            model.train()
        else:
            model.eval()

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, paddle.Tensor)

    def is_module(self, value: Any) -> bool:
        return isinstance(value, paddle.nn.Layer)

    def is_differentiable(self, tensor: paddle.Tensor) -> bool:
        return not tensor.stop_gradient

    def is_transposed(self, module: paddle.nn.Layer) -> bool:
        return isinstance(module, paddle.nn.Linear)

    def version_of(self, tensor: paddle.Tensor) -> int:
        return int(tensor.inplace_version)

    def to_numpy(self, tensor: paddle.Tensor) -> np.ndarray:
        return tensor.numpy()

    def tap(self, tensor: paddle.Tensor, substitute: np.ndarray | None, differentiable: bool) -> tuple[Any, Any]:
        leaf = tensor.detach() if substitute is None else paddle.to_tensor(np.array(substitute))
        leaf.stop_gradient = not (differentiable and leaf.is_floating_point())
        return leaf, leaf if leaf.stop_gradient else leaf.clone()

    def gradient(self, leaf: paddle.Tensor) -> np.ndarray | None:
        return None if leaf.grad is None else leaf.grad.numpy()

    def backward(self, tensor: paddle.Tensor, gradient: np.ndarray) -> None:
        start = paddle.to_tensor(np.array(gradient)).astype(tensor.dtype)
        end = tensor.clone() if tensor.is_leaf else tensor  # a parameter itself would round to the dtype it once had
        paddle.autograd.backward([end], [start], retain_graph=True)

    def clear_gradients(self, model: paddle.nn.Layer) -> None:
        for parameter in model.parameters():
            parameter.grad = None  # clear_gradient(set_to_zero=False) leaves zeros behind

    def forward(self, model: paddle.nn.Layer, batch: Mapping[str, np.ndarray]) -> Any:
        return model(**{name: paddle.to_tensor(np.array(value)) for name, value in batch.items()})


BACKEND = PaddleBackend()
