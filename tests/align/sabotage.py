"""Bugs for the benchmark of the verdict: put into the Paddle side at run time, judged by the whole method, both
probes.

A `Bug` alters the live model after it is built, or its weights (Paddle layout) after they are loaded. It says which
module must be blamed first. A `Rewrite` alters it in the same ways without making it another function.
"""

import functools
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import paddle
import paddle.nn.functional as F

from align.case import resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.edges import ROOT
from align.progress import Steps


@dataclass(frozen=True)
class Bug:
    """One kind of bug. `kind` names its row in the catalogue of real porting bugs; `blamed` the module that must be
    named.
    """

    kind: str
    name: str
    task: str
    blamed: str
    model: Callable | None = None  # model -> None
    weights: Callable | None = None  # {name: array in Paddle layout} -> None, in place
    case: dict = field(default_factory=dict)  # what `resolve` takes besides the task
    config: dict = field(default_factory=dict)  # options that differ from the tiny variant's

    def __str__(self):
        return f"{self.kind}-{self.name}"

    @classmethod
    def at(cls, kind, name, task, path, change, *args, **options):
        """A bug in the very sublayer that is altered, by `change(path, …)`."""
        return cls(kind, name, task, path or ROOT, change(path, *args, **options))

    @classmethod
    def weight(cls, kind, name, task, weight, function):
        """A bug in one weight: `function(array)` is what it becomes."""
        return cls(kind, name, task, weight.rpartition(".")[0], weights=change(weight, function))


@dataclass(frozen=True)
class Rewrite:
    """The same function in another way. `note` is a pattern that the report's notes must match; "" if none may stand
    there.
    """

    name: str
    task: str
    model: Callable | None = None
    weights: Callable | None = None
    case: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    note: str = ""

    def __str__(self):
        return self.name


class SabotagedPaddle(InProcessClient):
    """The Paddle side of a case with one bug in it."""

    def __init__(self, bug):
        super().__init__("paddle")
        self._bug = bug

    def submit(self, method, **arguments):
        answer = super().submit(method, **arguments)
        if method == "build" and self._bug.model:
            self._bug.model(self.session.model)
        if method == "load" and self._bug.weights:
            clean = self.session.weights
            self.session.weights = lambda: self._altered(clean)
        return answer

    def _altered(self, clean):
        weights = {name: value.copy() for name, value in clean()}
        self._bug.weights(weights)
        return weights.items()


def judge(architecture, bug):
    """The report on the tiny variant of `architecture` with `bug` in its Paddle side."""
    case = resolve(architecture, bug.task, **bug.case)
    case = replace(case, raw_config={**case.raw_config, **bug.config})
    return judge_case(case, InProcessClient("torch"), SabotagedPaddle(bug), Steps())


def sublayer(model, path):
    """The sublayer at a dotted path, the model itself at ""."""
    for part in path.split(".") if path else ():
        model = model[int(part)] if part.isdigit() else getattr(model, part)
    return model


def override(path, function):
    """A bug that gives the sublayer at `path` ("" for the model) another forward; `function(self, original, *args)`."""

    def alter(model):
        layer = sublayer(model, path)
        original = layer.forward

        @functools.wraps(type(layer).forward)  # whose signature numbers the edges
        def forward(self, *args, **kwargs):
            return function(self, original, *args, **kwargs)

        layer.forward = types.MethodType(forward, layer)

    return alter


def set_attribute(path, **values):
    """A bug that gives the sublayer at `path` other attributes."""

    def alter(model):
        layer = sublayer(model, path)
        for key, value in values.items():
            assert hasattr(layer, key), f"{path} has no {key}"
            setattr(layer, key, value)

    return alter


def every(kind, change, **options):
    """A bug in every sublayer of the class `kind`: `change(path, **options)`."""

    def alter(model):
        paths = [path for path, layer in model.named_sublayers() if isinstance(layer, kind)]
        assert paths, f"the model has no {kind.__name__}"
        together(*(change(path, **options) for path in paths))(model)

    return alter


def together(*changes):
    """All changes, in order."""

    def alter(target):
        for change in changes:
            change(target)

    return alter


def untied(path):
    """Gives the sublayer at `path` a weight of its own in place of the one that it shares."""

    def alter(model):
        layer = sublayer(model, path)
        layer.weight = layer.create_parameter(layer.weight.shape)

    return alter


def function_of(path, function):
    """Gives the sublayer at `path` a function of its inputs alone for its forward."""
    return override(path, lambda self, original, *inputs: function(*inputs))


def norm_by_hand(path, *, unbiased=False, outside=False, centred=True, one_pass=False):
    """LayerNorm written out, and with each option but `one_pass` another function.

    `unbiased`: the variance over n − 1; `outside`: eps added to the deviation; not `centred`: a root-mean-square norm;
    `one_pass`: the variance as E[x²] − E[x]².
    """

    def forward(self, original, x):
        mean = x.mean(-1, keepdim=True) if centred else 0.0
        variance = ((x - mean) ** 2).sum(-1, keepdim=True) / (x.shape[-1] - unbiased)
        if one_pass:
            variance = (x * x).mean(-1, keepdim=True) - mean * mean
        deviation = variance.sqrt() + self._epsilon if outside else (variance + self._epsilon).sqrt()
        return (x - mean) / deviation * self.weight + self.bias

    return override(path, forward)


def norm_in_float32(path):
    """LayerNorm that computes in float32 whatever it gets."""

    def forward(self, original, x):
        weight, bias = self.weight.astype("float32"), self.bias.astype("float32")
        return F.layer_norm(x.astype("float32"), [x.shape[-1]], weight, bias, self._epsilon).astype(x.dtype)

    return override(path, forward)


def gelu_by_hand(path, tanh=False):
    """GELU written out, by erf or by tanh."""

    def by_tanh(x):
        return 0.5 * x * (1 + paddle.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    return function_of(path, by_tanh if tanh else lambda x: 0.5 * x * (1 + paddle.erf(x / math.sqrt(2))))


def softmax_by_hand(scores, more=0.0):
    """Softmax written out; `more` is added to the sum of the exponentials."""
    exponentials = paddle.exp(scores - scores.max(-1, keepdim=True))
    return exponentials / (exponentials.sum(-1, keepdim=True) + more)


def tf32(path):
    """A Linear that multiplies as a GPU does in TF32: with 10 bits of each number."""

    def cut(x):
        bits = x.astype("float32").numpy().view(np.uint32) & np.uint32(0xFFFFE000)
        return paddle.to_tensor(bits.view(np.float32)).astype(x.dtype)

    return override(path, lambda self, original, x: F.linear(cut(x), cut(self.weight), self.bias))


def start_and_end_swapped(self, original, *args, **batch):
    """A forward of question answering."""
    output = original(*args, **batch)
    return {"start_logits": output["end_logits"], "end_logits": output["start_logits"]}


def change(name, function):
    """A bug of one weight: `function(array)` is what it becomes."""

    def alter(weights):
        value = function(weights[name])
        assert value.shape == weights[name].shape
        assert not np.array_equal(value, weights[name]), f"{name} is what it was"
        weights[name] = np.ascontiguousarray(value)

    return alter


def swap(one, other):
    """A bug that gives two parts of the network, named by prefixes, each other's weights."""

    def alter(weights):
        names = [name for name in weights if f"{name}.".startswith(f"{one}.")]
        assert names
        for a, b in ((name, other + name[len(one) :]) for name in names):
            weights[a], weights[b] = weights[b], weights[a]

    return alter


def float16(array):
    return array.astype(np.float16).astype(np.float32)


def bfloat16(array):
    """Cut off, as a conversion by bits does it."""
    return (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def at(index, function):
    """A function that changes one element, or one row, of an array."""

    def alter(array):
        array = array.copy()
        array[index] = function(array[index])
        return array

    return alter


def row_of_the_next(index):
    """A function that puts row index + 1 of a table into row `index` too."""
    return lambda table: np.concatenate([table[:index], table[index + 1 : index + 2], table[index + 1 :]])


def as_initialised(array):
    """What stays where nothing was loaded: N(0, 0.02)."""
    return np.random.default_rng(0).normal(0, 0.02, array.shape).astype(array.dtype)


def fortran_order(array):
    """The numbers read row by row although they were written column by column."""
    return array.T.reshape(array.shape)
