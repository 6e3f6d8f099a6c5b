"""What foreign models ask of the backends: casts, wide runs, calls as they were made, results of any kind."""

import dataclasses
import functools

import numpy as np
import paddle
import pytest
import torch

import align
from align.backends import get_backend


class TorchTable(torch.nn.Module):
    """A table that is a plain attribute, positions that are integers, and one number."""

    def __init__(self):
        super().__init__()
        self.table = torch.linspace(0, 1, 7)
        self.register_buffer("places", torch.arange(7), persistent=False)
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return x * self.scale + self.table[self.places]


class PaddleTable(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", paddle.linspace(0, 1, 7), persistable=False)
        self.register_buffer("places", paddle.arange(7), persistable=False)
        self.scale = self.create_parameter([], default_initializer=paddle.nn.initializer.Constant(0.5))

    def forward(self, x):
        return x * self.scale + self.table[self.places]


@pytest.mark.parametrize(("name", "model"), [("torch", TorchTable), ("paddle", PaddleTable)])
def test_a_cast_reaches_tables_and_leaves_integers(name, model):
    backend, module = get_backend(name), model()
    backend.cast(module, "float64")
    assert backend.to_numpy(module.table).dtype == np.float64
    assert backend.to_numpy(module.places).dtype == np.int64
    assert [leaf for leaf, _ in backend.tables(module)] == [".table"]
    backend.set_value(module.scale, np.float64(0.25))
    assert backend.to_numpy(module.scale).shape == ()


def test_tables_are_not_rounded_by_the_float32_run():
    """The table of one side is exact in float64 only; the float32 run in between must not show in the backward."""
    pair = TorchTable(), PaddleTable()
    exact = np.linspace(0, 1, 7)
    pair[0].table = torch.from_numpy(exact)
    pair[1].table = paddle.to_tensor(exact)
    report = align.compare(*pair, {"x": np.ones((3, 7), np.float32)}, stages=("forward", "backward"), weight_map="auto")
    assert report.passed, str(report)


def test_a_wide_run_computes_nothing_in_float32():
    x = np.full((2, 3), 1 / 3)
    with get_backend("torch").widened():
        found = torch.from_numpy(x).float(), torch.softmax(torch.from_numpy(x), -1, dtype=torch.float32)
    assert {value.dtype for value in found} == {torch.float64}
    with get_backend("paddle").widened():
        wide = paddle.to_tensor(x).astype("float32"), paddle.to_tensor(x.tolist(), dtype="float32")
        wide += (paddle.nn.functional.softmax(paddle.to_tensor(x), dtype="float32"), paddle.arange(3, dtype="float32"))
        z = paddle.to_tensor(np.array([1 + 2j])) / 2
    assert {value.dtype for value in wide} == {paddle.float64}
    assert z.item() == 0.5 + 1j
    assert paddle.to_tensor(x).astype("float32").dtype == paddle.float32


@dataclasses.dataclass
class Result:
    logits: object
    parts: list


def popping(function):
    """A wrapper that looks for a keyword of its own, as published models have them."""

    @functools.wraps(function)
    def call(self, x, **words):
        return function(self, x, twice=words.pop("twice", True))

    return call


class TorchInner(torch.nn.Linear):
    @popping
    def forward(self, x, twice=False):
        return super().forward(x) * (2 if twice else 1)


class TorchOuter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = TorchInner(7, 5)

    def forward(self, x):
        out = self.inner(x, twice=False)
        return Result(out, [out + 1, {"more": out.sum(-1)}])


class PaddleOuter(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.inner = paddle.nn.Linear(7, 5)

    def forward(self, x):
        out = self.inner(x)
        return Result(out, [out + 1, {"more": out.sum(-1)}])


def test_dataclasses_are_looked_into_and_keywords_stay_keywords():
    x = {"x": np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)}
    report = align.compare(TorchOuter(), PaddleOuter(), x, weight_map="auto")
    assert report.passed, str(report)
    names = {verdict.name for verdict in report.stages[0].verdicts}
    assert {"<root>:out.logits", "<root>:out.parts.0", "<root>:out.parts.1.more"} <= names
