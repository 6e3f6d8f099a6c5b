"""Weights at trained scale: fresh ones hide most bugs behind zero biases, unit gammas and flat attention."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from fake_data.errors import WeightError
from fake_data.spec import Weight, find_spec
from fake_data.stream import Stream


def make_weights(
    model: str, shapes: Mapping[str, tuple[int, ...]], *, seed: int = 0
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, float32 array) for tensors in the torch layout, each drawn only when it is asked for.

    Biases are not zero, γ differs from 1, no row of an embedding is zero, and attention logits have a standard
    deviation of about 2. A tied tensor is to be named once. Raises WeightError, before the first tensor, if the
    architecture has no rule for some of the names; all of them are listed.
    """
    rules = find_rules(model, shapes)
    return ((name, _draw(rules[name], name, shape, seed)) for name, shape in shapes.items())


def saturate(model: str, name: str, array: np.ndarray) -> np.ndarray:
    """The second probe's form of one tensor: attention becomes one-hot and the outputs of the heads reach ±100.

    Softmax and cross-entropy behave differently there (one framework clamps at 64 below the maximum). Only query
    projections and last layers change, by a power of two; all other tensors come back as they are.
    Raises WeightError for a name without a rule.
    """
    factor = find_rules(model, [name])[name].saturated
    return array if factor == 1 else array * array.dtype.type(factor)


def find_rules(model: str, names: Iterable[str]) -> dict[str, Weight]:
    """The first rule that matches each name. Raises WeightError with all names that none matches."""
    rules = find_spec(model).weights
    found = {name: next((rule for rule in rules if re.fullmatch(rule.pattern, name)), None) for name in names}
    missing = [name for name, rule in found.items() if rule is None]
    if missing:
        raise WeightError(f"no weight rule for {', '.join(missing)}: add one to fake_data/{model}.py")
    return {name: rule for name, rule in found.items() if rule}


def _draw(rule: Weight, name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    std = rule.std if rule.fan_in is None else rule.std / math.sqrt(shape[rule.fan_in])
    return Stream(seed, "weights", name).normals(tuple(shape), rule.mean, std)
