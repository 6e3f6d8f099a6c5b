"""Weights for a model that nobody has a specification of: at trained scale, so that nothing hides behind zeros."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from align.mapping.names import tokens
from convert.ops import Shape
from fake_data.stream import Stream

_SHARPNESS = 1.3
_SPREAD = 0.2  # of vectors around what they are initialised to


def make_weights(
    initial: Mapping[str, np.ndarray], description: Mapping[str, Any], seed: int = 0, sharpness: float = _SHARPNESS
) -> dict[str, np.ndarray]:
    """Every tensor of a model, drawn around what it is initialised to; a tied one is drawn once.

    Matrices are drawn anew, by their smaller side; `sharpness` is the deviation of what one makes of numbers of
    deviation 1. Vectors stay near their initial values, so that a norm's weight stays near 1. Tables that are not
    trained and integers stay as they are; running statistics are moved.
    """
    return {name: _drawn(name, value, description, seed, sharpness) for name, value in initial.items()}


def _drawn(name: str, value: np.ndarray, description: Mapping[str, Any], seed: int, sharpness: float) -> np.ndarray:
    name = description["tied"].get(name, name)
    statistic = set(tokens(name.rpartition(".")[2])) & {"mean", "variance"}
    if value.dtype.kind != "f" or not (description["trainable"][name] or statistic):
        return value
    noise = Stream(seed, "foreign weights", name).normals(value.shape).astype(value.dtype)
    if "variance" in statistic:
        return value * (1 + _SPREAD * np.abs(noise))
    if value.ndim < 2 or min(value.shape) == 1:
        return value + _SPREAD * noise
    return noise * sharpness / np.sqrt(_inputs(value.shape))


def _inputs(shape: Shape) -> int:
    return max(int(np.prod(shape)) // max(shape), 1)
