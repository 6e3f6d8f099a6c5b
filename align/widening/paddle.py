"""Every operator of Paddle that is asked for float32 is given float64 instead.

All of its Python functions but `to_tensor` end in an operator of `paddle._C_ops`, so these are wrapped while the
context lasts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import paddle
from paddle import _C_ops

_NARROW = (paddle.float32, paddle.base.core.VarDesc.VarType.FP32)


def _wide(value: Any) -> Any:
    return paddle.float64 if any(value is narrow or value == narrow for narrow in _NARROW) else value


def _to_tensor(make: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(make)
    def call(data: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        narrow = dtype == "float32" or (_is_dtype(dtype) and _wide(dtype) is not dtype)
        return make(data, "float64" if narrow else dtype, *args, **kwargs)

    return call


def _is_dtype(value: Any) -> bool:
    return type(value) in (type(paddle.float32), type(paddle.base.core.VarDesc.VarType.FP32))


def _wrapped(operator: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(operator)
    def call(*args: Any, **kwargs: Any) -> Any:
        wide = [_wide(value) if _is_dtype(value) else value for value in args]
        return operator(*wide, **{k: _wide(v) if _is_dtype(v) else v for k, v in kwargs.items()})

    return call


@contextmanager
def widened() -> Iterator[None]:
    operators = {name: value for name, value in vars(_C_ops).items() if callable(value) and not name.startswith("_")}
    make = paddle.to_tensor
    try:
        paddle.to_tensor = _to_tensor(make)
        for name, operator in operators.items():
            setattr(_C_ops, name, _wrapped(operator))
        yield
    finally:
        paddle.to_tensor = make
        for name, operator in operators.items():
            setattr(_C_ops, name, operator)
