"""The backward stage: clean pairs agree, each piece answers for its own gradients, rewrites are no bugs."""

import dataclasses
import inspect

import numpy as np
import paddle
import pytest
import torch

import align
from align import registry
from align.backends import get_backend
from align.case import resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.progress import Steps
from tests.align import bugs_electra, bugs_funnel, toy
from tests.align.sabotage import SabotagedPaddle, sublayer
from tests.pairs import copy_weights, randomise

TASKS = [(model, task) for model in ("electra", "funnel") for task in registry.architecture(model).tasks]

# Rewrites that are others in training: they leave a dropout out, or drop another table.
NOT_IN_TRAINING = {"electra": {"softmax_by_hand", "fused_attention"}, "funnel": {"factorized"}}
REWRITES = [
    pytest.param(model, rewrite, id=f"{model}-{rewrite}")
    for model, catalogue in (("electra", bugs_electra), ("funnel", bugs_funnel))
    for rewrite in catalogue.REWRITES
    if rewrite.name not in NOT_IN_TRAINING[model]
]


def judge(case, paddle_client=None):
    paddle_client = paddle_client or InProcessClient("paddle")
    return judge_case(case, InProcessClient("torch"), paddle_client, Steps(), stages=("backward",))


@pytest.mark.parametrize(("model", "task"), TASKS)
def test_clean_pairs_are_green(model, task):
    report = judge(resolve(model, task, seed=5, batch_size=4, length=13))
    assert report.passed, str(report)
    assert report.stages[0].worst.ratio < 0.2, str(report)
    assert report.stages[0].notes == []


@pytest.mark.parametrize(("model", "rewrite"), REWRITES)
def test_rewrites_are_green(model, rewrite):
    case = resolve(model, rewrite.task, **rewrite.case)
    case = dataclasses.replace(case, raw_config={**case.raw_config, **rewrite.config})
    report = judge(case, SabotagedPaddle(rewrite))
    assert report.passed, str(report)


@pytest.mark.parametrize(("model", "rewrite"), [(m, r) for m, names in NOT_IN_TRAINING.items() for r in sorted(names)])
def test_a_rewrite_without_its_dropout_is_seen_in_training(model, rewrite):
    catalogue = {"electra": bugs_electra, "funnel": bugs_funnel}[model]
    found = next(r for r in catalogue.REWRITES if r.name == rewrite)
    case = resolve(model, found.task, **found.case)
    case = dataclasses.replace(case, raw_config={**case.raw_config, **found.config})
    report = judge(case, SabotagedPaddle(found))
    assert not report.passed
    assert "in training mode" in report.blame[0].why


# Two live networks ---------------------------------------------------------------------------------------------------


class TorchClassifier(torch.nn.Module):
    """The toy network with a loss, as many write it: logits of the first token, mean cross-entropy."""

    def __init__(self):
        super().__init__()
        self.net = toy.TorchNet()
        self.unused = torch.nn.Linear(2, 2)
        self.CrossEntropy = torch.nn.CrossEntropyLoss()

    def forward(self, input_ids, attention_mask, labels):
        logits = self.net(input_ids, attention_mask)["logits"][:, 0]
        return {"loss": self.CrossEntropy(logits, labels), "logits": logits}


class PaddleClassifier(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.net = toy.PaddleNet()
        self.unused = paddle.nn.Linear(2, 2)
        self.CrossEntropy = paddle.nn.CrossEntropyLoss()

    def forward(self, input_ids, attention_mask, labels):
        logits = self.net(input_ids, attention_mask)["logits"][:, 0]
        return {"loss": self.CrossEntropy(logits, labels), "logits": logits}


@pytest.fixture
def pair():
    torch_side = randomise(TorchClassifier())
    return torch_side, copy_weights(torch_side, PaddleClassifier())


BATCH = toy.batch() | {"labels": np.array([1, 4, 2])}


def backward(pair):
    return align.compare(*pair, BATCH, stages=("backward",))


def replace_forward(layer, function):
    original = layer.forward
    layer.forward = lambda *inputs: function(original, *inputs)


def test_live_networks_agree_and_unused_parameters_do_not_count(pair):
    report = backward(pair)
    assert report.passed, str(report)
    names = {v.name: v for v in report.stages[0].verdicts}
    assert names["net.head.weight"].kind == "parameter gradient"
    assert names["net.block.mixer@2:in0"].kind == "gradient"
    assert names["CrossEntropy:in0 summed over classes"].passed
    assert "unused.weight" not in names


def test_a_zero_gradient_neither_alarms_nor_hides(pair):
    """The key's bias has no gradient in theory; one of 10⁻⁹ is a bug."""
    verdicts = {v.name: v for v in backward(pair).stages[0].verdicts}
    key = verdicts["net.block.mixer.key.bias"]
    assert key.passed
    assert key.difference.scale < 1e-15
    bias = pair[1].net.block.mixer.key.bias
    later = paddle.arange(toy.LENGTH, dtype="float64").unsqueeze(
        -1
    )  # a bias that acts alike everywhere has no gradient
    replace_forward(
        pair[1].net.block.mixer.key, lambda original, x: original(x) + 1e-9 * later * (bias - bias.detach())
    )
    report = backward(pair)
    assert report.blame[0].module == "net.block.mixer.key"
    assert report.first_divergence == "net.block.mixer.key.bias"


def test_the_question_that_the_fastformer_port_left_open(pair):
    """The gradient of the last layer's bias was 1/64 of each sample's, and its sum over the classes was not 0."""
    head = pair[1].net.head
    replace_forward(head, lambda original, x: original(x.detach()) + (head.bias - head.bias.detach()) / 64)
    report = backward(pair)
    assert not report.passed
    bias = next(v for v in report.stages[0].verdicts if v.name == "net.head.bias")
    assert not bias.passed


def test_a_reference_that_breaks_the_law_of_cross_entropy_is_named(pair):
    class CrossEntropy(torch.nn.Module):
        def forward(self, logits, labels):
            return torch.nn.functional.nll_loss(logits.softmax(-1), labels)  # a probability is no log-probability

    class PaddleCrossEntropy(paddle.nn.Layer):
        def forward(self, logits, labels):
            chosen = paddle.take_along_axis(paddle.nn.functional.softmax(logits, -1), labels[:, None], -1)
            return -chosen.mean()

    class Doubled(torch.nn.Module):
        def forward(self, logits, labels):
            return torch.nn.functional.cross_entropy(logits, labels) + logits[:, 0].sum()

    pair[0].CrossEntropy, pair[1].CrossEntropy = CrossEntropy(), PaddleCrossEntropy()
    assert backward(pair).passed  # softmax's own gradient sums to 0 too
    Doubled.__name__ = "CrossEntropy"
    pair[0].CrossEntropy = Doubled()
    report = backward(pair)
    law = next(v for v in report.stages[0].verdicts if v.kind == "rule")
    assert not law.passed


def test_no_gradient_and_a_gradient_of_zero_is_a_note(pair):
    unused = pair[1].unused
    original = pair[1].forward

    def forward(*inputs, **named):
        outputs = original(*inputs, **named)
        return {**outputs, "loss": outputs["loss"] + 0.0 * unused.weight.sum()}

    forward.__signature__ = inspect.signature(original)
    pair[1].forward = forward
    report = backward(pair)
    assert report.passed, str(report)
    assert any("no gradient at all in torch" in note and "unused.weight" in note for note in report.stages[0].notes)


@pytest.mark.parametrize("side", ["torch", "paddle"])
def test_a_frozen_parameter_is_named(pair, side):
    if side == "torch":
        pair[0].net.block.norm.weight.requires_grad_(False)
    else:
        pair[1].net.block.norm.weight.stop_gradient = True
    finding = backward(pair).blame[0]
    other = {"torch": "paddle", "paddle": "torch"}[side]
    assert (finding.module, finding.edge) == ("net.block.norm", "net.block.norm.weight")
    assert finding.why == f"only the {other} model trains net.block.norm.weight"


def test_a_detached_path_is_blamed_on_who_detached_it(pair):
    block = pair[1].net.block
    original = block.forward
    block.forward = lambda hidden, *, mask: original(hidden.detach(), mask=mask)
    finding = backward(pair).blame[0]
    assert finding.module == "net.block"
    assert finding.evidence["explanation"]["text"] == "the path is detached in paddle"


def test_gradients_start_from_every_output_where_there_is_no_loss():
    torch_side = randomise(toy.TorchNet())
    paddle_side = copy_weights(torch_side, toy.PaddleNet())
    report = align.compare(torch_side, paddle_side, toy.batch(), stages=("backward",))
    assert report.passed
    hidden = sublayer(paddle_side, "block.act")
    original = hidden.forward
    hidden.forward = lambda x: original(x) * 2 - original(x).detach()
    assert align.compare(torch_side, paddle_side, toy.batch(), stages=("backward",)).blame[0].module == "block.act"


def test_a_model_that_fails_on_the_way_back_is_named(pair):
    class Broken(paddle.autograd.PyLayer):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("no way back")

    replace_forward(pair[1].net.block.act, lambda original, x: Broken.apply(original(x)))
    report = backward(pair)
    assert not report.passed
    assert report.blame[0].module == "net.block.act"
    assert "the paddle model raised" in report.blame[0].why


def test_paddle_forgets_the_scale_of_a_frozen_norm(pair):
    """Paddle 3.3.1 on CPU leaves γ out of LayerNorm's input gradient when γ itself takes none."""
    pair[0].net.block.norm.weight.requires_grad_(False)
    pair[1].net.block.norm.weight.stop_gradient = True
    report = backward(pair)
    assert not report.passed
    assert report.blame[0].module == "net.block.norm"
    assert report.first_divergence == "net.block.norm@2:in0"


def test_a_gradient_handed_to_a_parameter_is_not_rounded_to_what_that_once_was():
    """Paddle rounds it, after a pass in float32; the stages before may have made one."""
    backend, model = get_backend("paddle"), paddle.nn.Linear(3, 5)
    for dtype in ("float32", "float64"):
        backend.cast(model, dtype)
    thirds = np.full((3, 5), 1 / 3)
    for times in (1, 2):
        backend.backward(model.weight, thirds)
        assert np.array_equal(backend.gradient(model.weight), times * thirds)
