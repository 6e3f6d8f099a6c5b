"""What loading and saving need of PaddlePaddle."""

import warnings
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # paddle's import warns about compilers it does not need here
    import paddle


class Paddle:
    name = "paddle"

    def parameters(self, model: paddle.nn.Layer) -> list[tuple[str, paddle.Tensor]]:
        return list(model.state_dict().items())

    def cast(self, model: paddle.nn.Layer, dtype: str) -> None:
        layers = model.sublayers(include_self=True)
        kept = [(layer, name, held) for layer in layers for name, held in _integers(layer)]
        try:
            for layer, name, _ in kept:
                layer._buffers[name] = None  # `to` would cast them too, in place
            model.to(dtype=dtype)  # type: ignore[arg-type]
        finally:
            for layer, name, held in kept:
                layer._buffers[name] = held

    def set_value(self, tensor: paddle.Tensor, value: np.ndarray) -> None:
        dtype = self.dtype_of(tensor)
        array: Any = np.asarray(value, order="C")  # ascontiguousarray makes one number an array of one
        if dtype == "bfloat16":  # numpy has none
            array = paddle.to_tensor(array).astype("bfloat16")
        elif array.dtype != dtype:
            array = array.astype(dtype)
        tensor.set_value(array)

    def dtype_of(self, tensor: paddle.Tensor) -> str:
        return str(tensor.dtype).rpartition(".")[2]

    def words_of(self, tensor: paddle.Tensor) -> np.ndarray:
        return np.ascontiguousarray(tensor.numpy())  # bfloat16 comes as uint16


def _integers(layer: paddle.nn.Layer) -> list[tuple[str, paddle.Tensor]]:
    """The buffers of a layer that hold no floats: tables of positions, counters, masks."""
    return [(name, held) for name, held in layer._buffers.items() if held is not None and not held.is_floating_point()]


FRAMEWORK = Paddle()
