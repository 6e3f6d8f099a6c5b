"""A tiny framework in NumPy: tensors that remember how they were made, and modules.

It is nobody's PyTorch: modules compute in `compute`, a Linear's weight is (inputs, outputs), LayerNorm says `epsilon`.
"""

import math

import numpy as np
from scipy.special import erf

DTYPE = np.dtype("float32")  # of new parameters
GENERATOR = np.random.default_rng(0)


class Tensor:
    """An array that never changes in place. `parents` are the tensors it was made from, each with the function from
    its own gradient to theirs; a leaf has none, and gathers its gradient if it is `trained`.
    """

    def __init__(self, data, parents=(), trained=False):
        self.data = np.asarray(data)
        self.parents = [(parent, back) for parent, back in parents if parent.needs_gradient]
        self.needs_gradient = trained or bool(self.parents)
        self.gradient = None

    @property
    def shape(self):
        return self.data.shape

    def __add__(self, other):
        other = self.beside(other)
        return Tensor(
            self.data + other.data, [(self, fitting(self, lambda g: g)), (other, fitting(other, lambda g: g))]
        )

    def __mul__(self, other):
        other = self.beside(other)
        backs = (lambda g: g * other.data), (lambda g: g * self.data)
        return Tensor(self.data * other.data, [(self, fitting(self, backs[0])), (other, fitting(other, backs[1]))])

    def __sub__(self, other):
        return self + self.beside(other) * -1.0

    def beside(self, value):
        """A tensor as it is, a number as one of this dtype."""
        return value if isinstance(value, Tensor) else Tensor(np.asarray(value, self.data.dtype))

    def __matmul__(self, other):
        backs = (lambda g: g @ other.data.swapaxes(-1, -2)), (lambda g: self.data.swapaxes(-1, -2) @ g)
        return Tensor(self.data @ other.data, [(self, fitting(self, backs[0])), (other, fitting(other, backs[1]))])

    def transposed(self):
        return Tensor(self.data.swapaxes(-1, -2), [(self, lambda g: g.swapaxes(-1, -2))])

    def mean(self):
        """Over the last axis, which stays."""
        back = lambda g: np.broadcast_to(g / self.shape[-1], self.shape)  # noqa: E731
        return Tensor(self.data.mean(-1, keepdims=True), [(self, back)])

    def rsqrt(self):
        return Tensor(self.data**-0.5, [(self, lambda g: g * -0.5 * self.data**-1.5)])

    def softmax(self):
        grown = np.exp(self.data - self.data.max(-1, keepdims=True))
        out = grown / grown.sum(-1, keepdims=True)
        return Tensor(out, [(self, lambda g: out * (g - (g * out).sum(-1, keepdims=True)))])

    def gelu(self):
        below = 0.5 * (1 + erf(self.data / math.sqrt(2)))  # the normal distribution below x
        density = np.exp(-0.5 * self.data**2) / math.sqrt(2 * math.pi)
        return Tensor(
            (self.data * below).astype(self.data.dtype), [(self, lambda g: g * (below + self.data * density))]
        )

    def rows(self, ids):
        def back(gradient):
            table = np.zeros_like(self.data)
            np.add.at(table, ids, gradient)
            return table

        return Tensor(self.data[ids], [(self, back)])

    def backward(self, gradient):
        """Add `gradient` times the derivative to every trained leaf that this was made from."""
        due = {id(self): gradient}
        for tensor in reversed(self._history()):
            arrived = due.pop(id(tensor), None)
            if arrived is not None and not tensor.parents:
                tensor.gradient = arrived if tensor.gradient is None else tensor.gradient + arrived
            for parent, back in tensor.parents if arrived is not None else ():
                sent = back(arrived)
                due[id(parent)] = due[id(parent)] + sent if id(parent) in due else sent

    def _history(self):
        """All tensors that this was made from, each after its parents, this one last."""
        found, seen = [], set()

        def visit(tensor):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                for parent, _ in tensor.parents:
                    visit(parent)
                found.append(tensor)

        visit(self)
        return found


def fitting(tensor, back):
    """`back` with its gradient summed over the axes along which the tensor was broadcast."""

    def summed(gradient):
        sent = back(gradient)
        sent = sent.sum(tuple(range(sent.ndim - tensor.data.ndim)))
        kept = tuple(axis for axis, size in enumerate(tensor.shape) if size == 1 != sent.shape[axis])
        return sent.sum(kept, keepdims=True)

    return summed


def dropout(x, p, training):
    if p == 0 or not training:
        return x
    return x * ((GENERATOR.random(x.shape) >= p) / (1 - p)).astype(x.data.dtype)


def parameter(*shape):
    return Tensor((GENERATOR.standard_normal(shape) * 0.1).astype(DTYPE), trained=True)


class Module:
    """Tensors and modules among the attributes are its parameters and children, in the order in which they were set."""

    def __init__(self):
        self.training = True

    def __call__(self, *args, **kwargs):
        return self.compute(*args, **kwargs)

    def children(self):
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def tensors(self):
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


class Linear(Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = parameter(inputs, outputs)
        self.bias = parameter(outputs)

    def compute(self, x):
        return x @ self.weight + self.bias


class Embedding(Module):
    def __init__(self, size, width):
        super().__init__()
        self.weight = parameter(size, width)

    def compute(self, ids):
        return self.weight.rows(ids.data)


class LayerNorm(Module):
    def __init__(self, width, epsilon):
        super().__init__()
        self.epsilon = epsilon
        self.weight = parameter(width)
        self.bias = parameter(width)

    def compute(self, x):
        centred = x - x.mean()
        return centred * ((centred * centred).mean() + self.epsilon).rsqrt() * self.weight + self.bias


class Softmax(Module):
    def compute(self, scores):
        return scores.softmax()


class GELU(Module):
    def compute(self, x):
        return x.gelu()


class Dropout(Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def compute(self, x):
        return dropout(x, self.p, self.training)
