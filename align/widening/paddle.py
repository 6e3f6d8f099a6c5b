"""Every operator of Paddle that is asked for float32 is given float64 instead.

All of its Python functions but `to_tensor` end in an operator of `paddle._C_ops`, so these are wrapped while the
context lasts; and so is the quotient of integers, which is float32 whatever the default.
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


_cast = _C_ops.cast


def _is_narrow(value: Any) -> bool:
    """Whether this is a float32 tensor."""
    return isinstance(value, paddle.Tensor) and value.dtype == paddle.float32


def _wrapped(operator: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(operator)
    def call(*args: Any, **kwargs: Any) -> Any:
        wide = [_wide(value) if _is_dtype(value) else value for value in args]
        made = operator(*wide, **{k: _wide(v) if _is_dtype(v) else v for k, v in kwargs.items()})
        return _cast(made, "float64") if _is_narrow(made) and not any(map(_is_narrow, args)) else made

    return call


_QUOTIENTS = ("__truediv__", "__rtruediv__", "__div__", "__rdiv__")


def _wide_quotient(divide: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(divide)
    def call(one: Any, other: Any) -> Any:
        whole = not (one.is_floating_point() or one.is_complex())
        return divide(_cast(one, paddle.float64) if whole else one, other)

    return call


@contextmanager
def widened() -> Iterator[None]:
    operators = {name: value for name, value in vars(_C_ops).items() if callable(value) and not name.startswith("_")}
    make = paddle.to_tensor
    quotients = {name: getattr(paddle.Tensor, name) for name in _QUOTIENTS if hasattr(paddle.Tensor, name)}
    try:
        for name, divide in quotients.items():
            setattr(paddle.Tensor, name, _wide_quotient(divide))
        paddle.to_tensor = _to_tensor(make)
        for name, operator in operators.items():
            setattr(_C_ops, name, _wrapped(operator))
        yield
    finally:
        paddle.to_tensor = make
        for name, divide in quotients.items():
            setattr(paddle.Tensor, name, divide)
        for name, operator in operators.items():
            setattr(_C_ops, name, operator)
