"""The tests' NumPy framework behind the backend protocol: all that the harness ever learns of it."""

from contextlib import contextmanager

import numpy as np

from align.backends import Backend
from align.edges import ROOT
from tests.align.backends import tinynn


class NumpyBackend(Backend):
    name = "numpy"
    package = "tests.align.backends.tinynn"
    method = "compute"
    words = {"epsilon": "eps"}  # noqa: RUF012

    # What every comparison needs.

    def version(self):
        return np.__version__

    def modules(self, model):
        yield ROOT, model
        yield from _below(model, "", {id(model)})

    def parameters(self, model):
        return [
            (leaf if name == ROOT else f"{name}.{leaf}", tensor)
            for name, module in self.modules(model)
            for leaf, tensor in module.tensors().items()
        ]

    def cast(self, model, dtype):
        for _, tensor in self.parameters(model):
            tensor.data = tensor.data.astype(dtype)

    def default_dtype(self, dtype):
        before, tinynn.DTYPE = tinynn.DTYPE, np.dtype(dtype)
        return before.name

    def set_training(self, model, training):
        for _, module in self.modules(model):
            module.training = training

    def forward(self, model, batch):
        return model(**{name: tinynn.Tensor(np.array(value)) for name, value in batch.items()})

    def is_tensor(self, value):
        return isinstance(value, tinynn.Tensor)

    def is_module(self, value):
        return isinstance(value, tinynn.Module)

    def is_differentiable(self, tensor):
        return tensor.needs_gradient

    def to_numpy(self, tensor):
        return tensor.data

    def set_value(self, tensor, value):
        tensor.data = np.array(value, tensor.data.dtype)

    def tap(self, tensor, substitute, differentiable):
        data = tensor.data if substitute is None else np.array(substitute)
        leaf = tinynn.Tensor(data, trained=differentiable and data.dtype.kind == "f")
        return leaf, leaf

    # Where it is not like PyTorch.

    def is_transposed(self, module):
        return isinstance(module, tinynn.Linear)

    # What the stages backward, init and invariance ask for; it has no optimizers, so training does not run.

    def seed(self, seed):
        tinynn.GENERATOR = np.random.default_rng(seed)

    def gradient(self, leaf):
        return leaf.gradient

    def backward(self, tensor, gradient):
        tensor.backward(gradient)

    def clear_gradients(self, model):
        for _, tensor in self.parameters(model):
            tensor.gradient = None

    @contextmanager
    def dropped(self, masks):
        def dropout(x, p, training):
            p = masks.probability(p)
            return x * masks.factors(x.shape, p).astype(x.data.dtype) if p and training else x

        native, tinynn.dropout = tinynn.dropout, dropout
        try:
            yield
        finally:
            tinynn.dropout = native


def _below(module, prefix, seen):
    """Every module inside another once, under the first of its names."""
    for name, child in module.children().items():
        if id(child) not in seen:
            seen.add(id(child))
            yield f"{prefix}{name}", child
            yield from _below(child, f"{prefix}{name}.", seen)


BACKEND = NumpyBackend()
