"""What an optimizer is tried on: a model's own parameter names and shapes, with values that show what it does.

Elements of gradients reach over ten decades, so that an ε counts somewhere; their global norm lies below the clipping
norm in one update and above it in others. One parameter has no gradient in the second update and another zeros there;
a third never has one, and a fourth only zeros.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from align.record import RecordWriter
from fake_data.stream import Stream

_BUDGET = 1 << 20  # elements
_DECADES = (-8.0, 2.0)
_NORMS = (0.5, 20.0, 3.0)  # in units of the clipping norm, update after update

Shapes = Mapping[str, tuple[int, ...]]


def choose(shapes: Shapes) -> list[str]:
    """The parameters that are tried: all of a small model. Of a large one the smallest matrix, and of the first and the
    last layer's of each kind as many as stay within 2²⁰ elements, the smallest first.
    """
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    if sum(sizes.values()) <= _BUDGET:
        return list(shapes)
    kinds: dict[str, list[str]] = {}
    for name in shapes:
        kinds.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    ends = {name for names in kinds.values() for name in (names[0], names[-1])}
    chosen = set(sorted((n for n in ends if len(shapes[n]) > 1), key=lambda name: (sizes[name], name))[:1])
    left = _BUDGET
    for name in sorted(ends - chosen, key=lambda name: (sizes[name], name)):
        if sizes[name] <= left:
            chosen.add(name)
            left -= sizes[name]
    return [name for name in shapes if name in chosen]


def write_inputs(path: Path, shapes: Shapes, seed: int, updates: int, clip_norm: float) -> Path:
    """Write parameters and each update's gradients (`operations.optimizer`) for tensors of these names and shapes."""
    matrices = [name for name, shape in shapes.items() if len(shape) > 1]
    vectors = [name for name, shape in shapes.items() if len(shape) < 2]
    (still_once, absent_once), (still, absent) = _ends(matrices), _ends(vectors)
    with RecordWriter(path) as writer:
        for name, shape in shapes.items():
            writer.add(f"parameter/{name}", _normals(seed, "parameter", name, shape))
        for update in range(updates):
            without = {absent, absent_once if update == 1 else None}
            zero = {still, still_once if update == 1 else None}
            found = {
                name: np.zeros(shape) if name in zero else _gradient(seed, update, name, shape)
                for name, shape in shapes.items()
                if name not in without
            }
            size = np.sqrt(sum(float(np.vdot(g, g)) for g in found.values()))
            for name, gradient in found.items():
                writer.add(f"{update}/gradient/{name}", gradient * (_NORMS[update % 3] * clip_norm / size))
    return path


def _ends(names: Sequence[str]) -> tuple[str | None, str | None]:
    """The first and the last of at least three, so that ordinary ones are left between."""
    return (names[0], names[-1]) if len(names) > 2 else (None, None)


def _normals(seed: int, purpose: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    return Stream(seed, f"optimizer {purpose}", name).normals(tuple(shape)).astype(np.float64)


def _gradient(seed: int, update: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    low, high = _DECADES
    exponents = Stream(seed, f"optimizer exponent {update}", name).uniforms(tuple(shape)).astype(np.float64)
    return _normals(seed, f"gradient {update}", name, shape) * 10 ** (low + (high - low) * exponents)
