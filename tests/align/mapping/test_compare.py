"""Two networks with other names and other trees are compared without a word about how they correspond."""

import numpy as np
import paddle
import pytest
import torch

import align
from align.client import InProcessClient
from align.foreign.compare import compare_modules, prepare
from align.mapping.text import rules
from align.operations import foreign
from align.record import Record
from tests.align.mapping import toys


@pytest.fixture
def reference():
    torch.manual_seed(0)
    return toys.TorchNet()


@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        (toys.Alike, "Linear(layers.0.attention.query.weight → block1.mix.q_proj.weight)"),
        (toys.Unlike, "Linear(layers.0.attention.query.weight → block1.mix.delta.weight)"),
        (
            toys.Packed,
            "layers.0.attention.query.weight + layers.0.attention.key.weight + layers.0.attention.value.weight",
        ),
        (
            toys.Alternating,
            "layers.0.attention.value.weight + layers.0.attention.query.weight + layers.0.attention.key.weight",
        ),
        (toys.Raw, "Keep(layers.1.attention.output.weight → block2.mix.out_proj.weight)"),
    ],
)
def test_forward_and_backward_agree(reference, attention, expected):
    paddle.seed(1)
    port = toys.Net(attention)
    before = {name: tensor.numpy().copy() for name, tensor in port.state_dict().items()}
    done = compare_modules(reference, port, toys.batch(), ("forward", "backward"))
    assert done.report.passed, str(done.report)
    assert any(expected in str(rule) for rule in rules(done.found.weights.links))
    names = {verdict.name for verdict in done.report.stages[0].verdicts}
    assert {"layers.0:out", "layers.1.down:out", "<root>:out.logits", "<root>:out.hidden"} <= names
    for name, tensor in port.state_dict().items():
        assert tensor.dtype == paddle.float32
        np.testing.assert_array_equal(tensor.numpy(), before[name])


def test_an_lstm_and_running_statistics(reference):
    done = compare_modules(toys.TorchRecurrent().eval(), toys.Recurrent(), {"input_ids": toys.batch()["input_ids"]})
    assert done.report.passed, str(done.report)
    linked = {name for link in done.found.weights.links for name in link.torch}
    assert {"norm.running_mean", "norm.running_var", "lstm.weight_hh_l0_reverse"} <= linked


def test_a_module_that_shares_all_its_weights_has_its_counterpart():
    batch = {"input_ids": toys.batch()["input_ids"]}
    report = compare_modules(toys.TorchTied(), toys.Tied(), batch, ("forward", "backward")).report
    assert report.passed, str(report)
    assert "output:out" in {verdict.name for verdict in report.stages[0].verdicts}


@pytest.mark.parametrize("attention", [toys.Alike, toys.Unlike, toys.Packed])
def test_a_wrong_eps_is_found_in_its_module(reference, attention):
    port = toys.Net(attention)
    port.block2.ln_1._epsilon = 1e-5
    report = align.compare(reference, port, toys.batch(), weight_map="auto")
    assert [finding.module for finding in report.blame] == ["layers.1.norm1"]
    assert report.blame[0].evidence["explanation"]["text"] == "eps is 1e-05 instead of 1e-06"


def test_a_wrong_scale_is_found_in_the_module_that_has_it(reference):
    class Wrong(toys.Alike):
        def forward(self, mask, x):
            q, k, v = self.q_proj(x) * (1 + 1e-9), self.k_proj(x), self.v_proj(x)
            return self.out_proj(toys.attend(q, k, v, mask))

    report = align.compare(reference, toys.Net(Wrong), toys.batch(), weight_map="auto")
    assert [finding.module for finding in report.blame] == ["layers.0.attention", "layers.1.attention"]


def test_two_assignments_that_are_equally_good_are_asked_for():
    x = {"x": np.random.default_rng(0).standard_normal((3, toys.WIDTH)).astype(np.float32)}
    with pytest.raises(align.CannotCompareError, match=r"one \(paddle\) may be left or right \(torch\)"):
        align.compare(toys.TorchSum(), toys.Sum(), x, weight_map="auto")


def test_the_answer_is_a_map(tmp_path):
    x = {"x": np.random.default_rng(0).standard_normal((3, toys.WIDTH)).astype(np.float32)}
    pairs = [("left", "two"), ("right", "one")]
    lines = [
        f'[[rule]]\ntorch = "{a}.{leaf}"\npaddle = "{b}.{leaf}"\ntransposed = {"true" if leaf == "weight" else "false"}'
        for a, b in pairs
        for leaf in ("weight", "bias")
    ]
    (tmp_path / "map.toml").write_text("\n".join(lines))
    report = align.compare(toys.TorchSum(), toys.Sum(), x, weight_map=tmp_path / "map.toml")
    assert report.passed
    assert {"left:out", "right:out"} <= {verdict.name for verdict in report.stages[0].verdicts}


def test_a_second_try_draws_the_same_weights(reference, tmp_path):
    """Around what the model came with, not around what the first try left in it."""
    sides = {"torch": (InProcessClient("torch"), reference), "paddle": (InProcessClient("paddle"), toys.Net())}
    facts = {name: foreign.adopt(client.session, module) for name, (client, module) in sides.items()}
    drawn = []
    for attempt in ("first", "second"):
        (tmp_path / attempt).mkdir()
        bench = prepare(sides["torch"][0], sides["paddle"][0], facts, toys.batch(), tmp_path / attempt)
        drawn.append(dict(Record(bench.weights).items()))
    for name, value in drawn[0].items():
        np.testing.assert_array_equal(drawn[1][name], value)
