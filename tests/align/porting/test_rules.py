"""Every rule of the drafts: torch's words, and what they become, give the same values."""

import itertools

import numpy as np
import paddle
import pytest
import torch

from align.porting import rules
from align.porting.translate import translate

RULES = (*rules.MODULES, *rules.FUNCTIONS, *rules.METHODS)
CASES = [pytest.param(example, id=example) for rule in RULES for example in rule.examples]
IMPORTS = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n\n\n"
DRAWN = np.random.default_rng(3)
ARRAYS = {
    "x": DRAWN.normal(size=(2, 3, 4)),
    "y": DRAWN.normal(size=(2, 3, 4)),
    "v": DRAWN.normal(size=4),
    "w": DRAWN.normal(size=(5, 4)),
    "i": DRAWN.integers(0, 5, (2, 3)),
    "m": DRAWN.random((2, 3, 4)) < 0.5,
}


def weights(parameters, transposed):
    """The same numbers on both sides, in torch's layout."""
    for number, parameter in enumerate(parameters):
        shape = tuple(parameter.shape)[:: -1 if transposed and len(parameter.shape) == 2 else 1]
        value = np.cos(np.arange(np.prod(shape)) + number).reshape(shape)
        yield parameter, value.T if shape != tuple(parameter.shape) else value


def filled_torch(module):
    with torch.no_grad():
        for parameter, value in weights(module.parameters(), False):
            parameter.copy_(torch.tensor(value))
    return module


def filled_paddle(module):
    for parameter, value in weights(module.parameters(), isinstance(module, paddle.nn.Linear)):
        parameter.set_value(np.ascontiguousarray(value))
    return module


def evaluate(source, arrays, filled):
    names = {}
    exec(compile(source, "draft", "exec"), names)
    return names["f"](filled=filled, **arrays)


def tensors(found):
    if isinstance(found, (list, tuple)):
        return list(itertools.chain(*map(tensors, found)))
    return [torch.resolve_conj(found.detach()).numpy() if isinstance(found, torch.Tensor) else found.numpy()]


@pytest.fixture(autouse=True)
def doubles():
    before = torch.get_default_dtype(), paddle.get_default_dtype()
    torch.set_default_dtype(torch.float64), paddle.set_default_dtype("float64")
    yield
    torch.set_default_dtype(before[0]), paddle.set_default_dtype(before[1])


@pytest.mark.parametrize("example", CASES)
def test_both_sides_compute_the_same(example):
    source = f"{IMPORTS}def f(x, y, v, w, i, m, filled):\n    return {example}\n"
    draft = translate(source)
    assert not draft.todos
    assert "torch." not in draft.text
    ours = tensors(evaluate(source, {k: torch.tensor(a) for k, a in ARRAYS.items()}, filled_torch))
    theirs = tensors(evaluate(draft.text, {k: paddle.to_tensor(a) for k, a in ARRAYS.items()}, filled_paddle))
    assert len(ours) == len(theirs)
    for expected, actual in zip(ours, theirs, strict=True):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        assert np.abs(actual * 1.0 - expected * 1.0).max() <= 1e-12 * max(1.0, np.abs(expected).max())
