"""A handful of parameters of every shape, as both frameworks hold them, and gradients over ten decades."""

import numpy as np
import paddle
import torch

from align.backends import get_backend

SHAPES = {
    "embeddings.word_embeddings.weight": (11, 6),
    "encoder.layer.0.dense.weight": (5, 7),
    "encoder.layer.0.dense.bias": (7,),
    "encoder.layer.1.convolution.weight": (2, 3, 4),
    "encoder.layer.1.LayerNorm.weight": (8,),
    "classifier.weight": (3, 9),
    "classifier.scale": (1,),
}
UNUSED = "classifier.weight"  # gets no gradient in update 1
STILL = "encoder.layer.0.dense.weight"  # gets zeros in update 2


def start(dtype="float64", seed=0):
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


def gradients(update, dtype="float64", seed=0, norm=None):
    """The gradients of one update; `norm` is what their global norm is to be."""
    generator = np.random.default_rng([seed, update])
    found = {n: generator.normal(size=s) * 10 ** generator.uniform(-8, 2, size=s) for n, s in SHAPES.items()}
    if update == 1:
        del found[UNUSED]
    if update == 2:
        found[STILL] *= 0
    factor = 1.0 if norm is None else norm / global_norm(found)
    return {name: None if name not in found else (factor * found[name]).astype(dtype) for name in SHAPES}


def global_norm(found):
    return np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in found.values() if g is not None))


def torch_parameters(values):
    return {name: torch.nn.Parameter(torch.tensor(value)) for name, value in values.items()}


def paddle_parameters(values):
    found = {}
    for name, value in values.items():
        found[name] = paddle.create_parameter(list(value.shape), value.dtype.name)
        found[name].set_value(value)
    return found


MAKE = {"torch": torch_parameters, "paddle": paddle_parameters}


def engine(framework, spec, values=None):
    return get_backend(framework).engine(MAKE[framework](start() if values is None else values), spec)


def values(made):
    return {name: p.detach().numpy().copy() for name, p in made.parameters.items()}
