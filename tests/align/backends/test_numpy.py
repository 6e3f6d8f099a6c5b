"""A third framework is one file: NumPy models stand on either side of a comparison, and their bugs are named."""

import copy
import math
import types

import numpy as np
import pytest
import torch

import align
from align import backends
from align.reports import html
from tests.align import toy
from tests.align.backends import tinynn
from tests.align.backends.numpy_backend import BACKEND
from tests.pairs import randomise

INNER, WIDTH = toy.INNER, toy.WIDTH


class Mixer(tinynn.Module):
    def __init__(self):
        super().__init__()
        self.query = tinynn.Linear(WIDTH, INNER)
        self.key = tinynn.Linear(WIDTH, INNER)
        self.value = tinynn.Linear(WIDTH, INNER)
        self.out = tinynn.Linear(INNER, WIDTH)
        self.softmax = tinynn.Softmax()
        self.dropout = tinynn.Dropout(0.1)
        self.scale = 1 / math.sqrt(INNER)

    def compute(self, hidden, mask):
        scores = self.query(hidden) @ self.key(hidden).transposed() * self.scale + mask
        return self.out(self.dropout(self.softmax(scores)) @ self.value(hidden))


class Block(tinynn.Module):
    def __init__(self):
        super().__init__()
        self.mixer = Mixer()
        self.norm = tinynn.LayerNorm(WIDTH, epsilon=1e-12)
        self.act = tinynn.GELU()

    def compute(self, hidden, *, mask):
        return self.act(self.norm(hidden + self.mixer(hidden, mask)))


class Net(tinynn.Module):
    """`toy.TorchNet` once more."""

    def __init__(self):
        super().__init__()
        self.embedding = tinynn.Embedding(toy.VOCABULARY, WIDTH)
        self.block = Block()
        self.head = tinynn.Linear(WIDTH, 5)

    def compute(self, input_ids, attention_mask):
        dtype = self.head.weight.data.dtype
        mask = tinynn.Tensor((1 - attention_mask.data).astype(dtype)[:, None, :] * np.finfo(dtype).min)
        hidden = self.embedding(input_ids)
        for _ in range(2):
            hidden = self.block(hidden, mask=mask)
        return {"logits": self.head(hidden), "hidden": (hidden,)}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(backends, "_registered", {})
    backends.register(BACKEND)


@pytest.fixture(scope="module")
def reference():
    return randomise(toy.TorchNet())


@pytest.fixture
def port(reference):
    """A NumPy net with torch's weights, set without the code under test."""
    net = Net()
    for name, value in reference.state_dict().items():
        *path, leaf = name.split(".")
        module = net
        for part in path:
            module = getattr(module, part)
        array = value.numpy()
        getattr(module, leaf).data = array.T.copy() if isinstance(module, tinynn.Linear) and leaf == "weight" else array
    return net


def test_a_numpy_model_against_a_torch_model(reference, port):
    report = align.compare(reference, port, toy.batch(), stages=("forward", "backward"))
    assert report.passed, str(report)
    assert all(stage.worst.ratio < 0.1 and not stage.notes for stage in report.stages), str(report)
    assert len(report.stages[0].verdicts) == len(align.compare(reference, reference, toy.batch()).stages[0].verdicts)
    assert {array.dtype.name for array in report.stages[0].free_run.actual.values()} == {"float32", "int64"}
    assert f"against numpy {np.__version__}" in str(report)
    assert "paddle" not in str(report)
    assert "The PyTorch and the numpy network are the same function" in html.render(report)


def test_it_is_given_back_as_it_was(reference, port):
    before = {name: tensor.data.copy() for name, tensor in BACKEND.parameters(port)}
    assert align.compare(reference, port, toy.batch()).passed
    for name, tensor in BACKEND.parameters(port):
        assert tensor.data.dtype == np.float32
        np.testing.assert_array_equal(tensor.data, before[name])
    assert port.training
    assert "compute" not in vars(port.block)
    assert tinynn.DTYPE.name == "float32"


def test_a_numpy_model_as_the_reference(reference, port):
    wrong = copy.deepcopy(reference)
    assert align.compare(port, wrong, toy.batch(), stages=("forward", "backward")).passed
    wrong.block.norm.eps = 1e-5
    report = align.compare(port, wrong, toy.batch())
    assert [(f.module, cause(f)) for f in report.blame] == [("block.norm", "eps is 1e-05 instead of 1e-12")]


def test_weights_are_mapped_to_a_model_with_weights_of_its_own(reference):
    report = align.compare(reference, Net(), toy.batch(), weight_map="auto")
    assert report.passed, str(report)


def eps(port):
    port.block.norm.epsilon = 1e-5


def no_scale(port):
    port.block.mixer.scale = 1.0


def no_bias(port):
    port.block.mixer.value.bias.data = np.zeros(INNER, np.float32)


def softmax_over_queries(port):
    def compute(self, scores):
        return scores.transposed().softmax().transposed()

    port.block.mixer.softmax.compute = types.MethodType(compute, port.block.mixer.softmax)


def raises(port):
    def compute(self, x):
        raise ValueError("no such thing")

    port.block.act.compute = types.MethodType(compute, port.block.act)


def cause(finding):
    return finding.evidence.get("explanation", {}).get("text", finding.why)


@pytest.mark.parametrize(
    ("bug", "module", "explanation"),
    [
        (eps, "block.norm", "eps is 1e-05 instead of 1e-12"),
        (no_scale, "block.mixer", "q·k is scaled by 1 instead of 0.2236 = 1/√20"),
        (no_bias, "block.mixer.value", "bias is 0 everywhere, as if it had not been loaded"),
        (softmax_over_queries, "block.mixer.softmax", "softmax over axis 1 instead of 2"),
        (raises, "block.act", "the numpy model raised ValueError: no such thing"),
    ],
)
def test_a_bug_is_named_and_explained(reference, port, bug, module, explanation):
    bug(port)
    report = align.compare(reference, port, toy.batch())
    assert not report.passed
    assert report.blame[0].module == module, str(report)
    assert explanation == cause(report.blame[0])


def test_a_gradient_that_stops_is_named(reference, port):
    def compute(self, x):
        centred = x - tinynn.Tensor(x.mean().data)
        return centred * ((centred * centred).mean() + self.epsilon).rsqrt() * self.weight + self.bias

    port.block.norm.compute = types.MethodType(compute, port.block.norm)
    report = align.compare(reference, port, toy.batch(), stages=("forward", "backward"))
    assert [stage.passed for stage in report.stages] == [True, False]
    assert report.blame[0].module == "block.norm"


def test_a_stage_that_needs_what_is_not_there_refuses(reference, port):
    with pytest.raises(align.CannotCompareError, match=r"the numpy backend has no optimizers, .*numpy_backend"):
        align.compare(reference, port, toy.batch(), stages=("optimizer",))
    report = align.compare(reference, port, toy.batch(), stages=("forward", "training"))
    assert report.stages[0].passed
    assert not report.passed
    assert "has no optimizers" in report.unfinished[0].reason


def test_a_framework_without_gradients_is_judged_forward_only(reference, port, monkeypatch):
    for name in ("gradient", "backward"):
        monkeypatch.delattr(type(BACKEND), name)
    assert align.compare(reference, port, toy.batch()).passed
    with pytest.raises(align.CannotCompareError, match="the numpy backend has no gradients"):
        align.compare(reference, port, toy.batch(), stages=("backward",))


def test_what_has_no_backend_is_refused(reference):
    with pytest.raises(align.CannotCompareError, match=r"object is no module of .*\(paddle, torch, numpy\)"):
        align.compare(reference, object(), toy.batch())
    with pytest.raises(align.CannotCompareError, match="no backend 'jax'; known: paddle, torch, numpy"):
        backends.get_backend("jax")


def test_an_installed_package_brings_its_backend(tmp_path, monkeypatch):
    folder = tmp_path / "tinynn_plumbline-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: tinynn-plumbline\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[plumbline.backends]\ntests.align.backends.tinynn = tests.align.backends.numpy_backend:BACKEND\n"
    )
    monkeypatch.setattr(backends, "_registered", {})
    monkeypatch.syspath_prepend(tmp_path)
    backends._elsewhere.cache_clear()
    try:
        assert backends.get_backend(backends.backend_of(Net())) is BACKEND
    finally:
        backends._elsewhere.cache_clear()


def test_two_models_of_one_framework(reference):
    wrong = copy.deepcopy(reference)
    wrong.head.bias = None
    report = align.compare(reference, wrong, toy.batch())
    assert report.blame[0].module == "head"
    twice = torch.nn.Sequential(reference.head, reference.block.act)
    assert align.compare(twice, copy.deepcopy(twice), {"input": np.ones((2, WIDTH), np.float32)}).passed
