"""The two frameworks behind one small protocol. Only `backends.torch` imports torch and only `backends.paddle`
imports paddle.
"""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from align.errors import CannotCompareError


class Backend(Protocol):
    """What the harness needs of a framework; tensors and models are opaque to it."""

    name: str
    models: str  # the package that holds this framework's architectures

    def version(self) -> str: ...
    def threads(self) -> int: ...
    def seed(self, seed: int) -> None:
        """Start the framework's random numbers anew."""

    def default_dtype(self, dtype: str) -> str:
        """Make `dtype` the dtype of new parameters and constants; returns the one before."""

    def modules(self, model: Any) -> Iterator[tuple[str, Any]]:
        """Every distinct module with its dotted name, the model itself first as `<root>`."""

    def edge(self, name: str) -> str | None:
        """What sinks are to call the edge `name` of this side's model; None if they are not to see it."""

    def parameters(self, model: Any) -> list[tuple[str, Any]]:
        """Every name of the state dict with its tensor; a tied tensor stands under each of its names."""

    def tables(self, model: Any) -> Iterator[tuple[str, Any]]:
        """The float tensors of a model that its state dict does not name: tables that it has computed for itself."""

    def cast(self, model: Any, dtype: str) -> None:
        """Convert floating parameters and buffers in place."""

    def set_training(self, model: Any, training: bool) -> None:
        """Put the model in training or evaluation mode."""

    def set_value(self, tensor: Any, value: np.ndarray) -> None: ...
    def is_tensor(self, value: Any) -> bool: ...
    def is_module(self, value: Any) -> bool: ...
    def is_differentiable(self, tensor: Any) -> bool: ...
    def is_transposed(self, module: Any) -> bool:
        """Whether the module's `weight` (inputs, outputs) is the transpose of torch's."""

    def version_of(self, tensor: Any) -> int:
        """How often the tensor has been changed in place."""

    def to_numpy(self, tensor: Any) -> np.ndarray:
        """The tensor's values; may share its memory, so read before the model goes on."""

    def tap(self, tensor: Any, substitute: np.ndarray | None, differentiable: bool) -> tuple[Any, Any]:
        """A leaf with the value of `tensor` or with `substitute`, cut from the graph before it, and the tensor that
        goes on in place of `tensor`; gradients of that gather at the leaf.
        """

    def gradient(self, leaf: Any) -> np.ndarray | None:
        """What has gathered at a leaf or a parameter; None if nothing came."""

    def backward(self, tensor: Any, gradient: np.ndarray) -> None:
        """Send a gradient from `tensor` back to the leaves that it was made from; may be done again."""

    def clear_gradients(self, model: Any) -> None:
        """Leave no gradient at any parameter, not even zeros."""

    def forward(self, model: Any, batch: Mapping[str, np.ndarray]) -> Any: ...


_PACKAGES = {
    "torch": ("torch", "PyTorch", "pip install torch==2.13.0"),
    "paddle": ("paddle", "PaddlePaddle", "pip install paddlepaddle"),
}


def get_backend(name: str) -> Backend:
    """The backend of one framework, imported now.

    Raises:
        CannotCompareError: the framework is not installed in this interpreter.
    """
    package, title, remedy = _PACKAGES[name]
    if importlib.util.find_spec(package) is None:
        raise CannotCompareError(
            f"{title} is not installed in this interpreter: {remedy}, or name another interpreter with --{name}-python"
        )
    return importlib.import_module(f"align.backends.{name}").BACKEND
