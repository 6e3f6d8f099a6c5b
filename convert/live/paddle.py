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
        model.to(dtype=dtype)  # type: ignore[arg-type]

    def set_value(self, tensor: paddle.Tensor, value: np.ndarray) -> None:
        dtype = self.dtype_of(tensor)
        array: Any = np.ascontiguousarray(value)
        if dtype == "bfloat16":  # numpy has none
            array = paddle.to_tensor(array).astype("bfloat16")
        elif array.dtype != dtype:
            array = array.astype(dtype)
        tensor.set_value(array)

    def dtype_of(self, tensor: paddle.Tensor) -> str:
        return str(tensor.dtype).rpartition(".")[2]

    def words_of(self, tensor: paddle.Tensor) -> np.ndarray:
        return np.ascontiguousarray(tensor.numpy())  # bfloat16 comes as uint16


FRAMEWORK = Paddle()
