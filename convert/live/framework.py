"""What a live model is a model of: which framework, which architecture, which configuration."""

import dataclasses
import importlib
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from convert.errors import ConvertError


class Framework(Protocol):
    """What loading and saving need of a framework; models and tensors are opaque to them. `name` is also the layout."""

    name: str

    def parameters(self, model: Any) -> list[tuple[str, Any]]:
        """Every name of the state dict with its tensor; a tied tensor stands under each of its names."""

    def cast(self, model: Any, dtype: str) -> None:
        """Convert floating parameters and buffers in place."""

    def set_value(self, tensor: Any, value: np.ndarray) -> None:
        """Copy `value` into `tensor`, in the tensor's own dtype."""

    def dtype_of(self, tensor: Any) -> str:
        """Its element type, in our words: float32, bfloat16 …"""

    def words_of(self, tensor: Any) -> np.ndarray:
        """The tensor bit for bit, in C order; bfloat16 as uint16."""


def framework_of(model_class: type) -> Framework:
    """The framework whose module class `model_class` derives from. Raises ConvertError where it is neither."""
    bases = [base.__module__.partition(".")[0] for base in model_class.__mro__]
    found = next((name for name in bases if name in ("torch", "paddle")), None)
    if found is None:
        raise ConvertError(f"{model_class.__name__} is neither a torch.nn.Module nor a paddle.nn.Layer")
    return importlib.import_module(f"convert.live.{found}").FRAMEWORK


def config_class(module: ModuleType) -> Any:
    """The configuration of a model file: the dataclass in it whose name ends in Config."""
    found = (v for name, v in vars(module).items() if name.endswith("Config") and dataclasses.is_dataclass(v))
    config = next(found, None)
    if config is None:
        raise ConvertError(f"{module.__name__} has no configuration class; is it one of models_torch or models_paddle?")
    return config


def architecture_of(model_class: type) -> str:
    """The architecture that a class belongs to: the name of its file."""
    return model_class.__module__.rpartition(".")[2]
