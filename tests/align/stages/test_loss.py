"""The loss stage: every task's loss in every situation of its labels; the bugs that only labels show."""

import dataclasses

import numpy as np
import paddle
import pytest
import torch

import align
from align import registry
from align.case import resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.errors import NotApplicableError
from align.gradients import LOSS
from align.progress import Steps
from fake_data import has_labels, label_situations, make_batch

TASKS = [
    (model, task)
    for model in ("electra", "funnel")
    for task in registry.architecture(model).tasks
    if has_labels(model, task)
]
SIZES = {"vocab_size": 211, "num_labels": 5, "max_position_embeddings": 48, "pad_token_id": 0, "type_vocab_size": 3}


def judge(case, stages=("loss",)):
    return judge_case(case, InProcessClient("torch"), InProcessClient("paddle"), Steps(), stages=stages)


@pytest.mark.parametrize(("model", "task"), TASKS)
def test_clean_pairs_are_green(model, task):
    report = judge(resolve(model, task, seed=1, batch_size=4, length=9))
    assert report.passed, str(report)
    probes = [v.probe for v in report.stages[0].verdicts if v.name == LOSS]
    assert probes == ["default", "saturated", "all ignored", "one class"]


def test_regression_has_no_labels_to_ignore():
    case = resolve("electra", "sequence_classification")
    case = dataclasses.replace(case, raw_config={**case.raw_config, "num_labels": 1})
    report = judge(case)
    assert report.passed
    assert [v.probe for v in report.stages[0].verdicts if v.name == LOSS] == ["default", "saturated"]


def test_a_task_without_labels_has_no_loss():
    with pytest.raises(NotApplicableError, match=r"no loss for this task \(backbone\): choose a task"):
        judge(resolve("electra", "backbone"))
    assert [stage.stage for stage in judge(resolve("electra", "backbone"), ("forward", "loss")).stages] == ["forward"]


def test_situations():
    batch = make_batch("electra", "token_classification", SIZES, seed=0)
    found = label_situations("electra", "token_classification", batch)
    assert (found["all ignored"]["labels"] == -100).all()
    kept = batch["labels"] != -100
    one = found["one class"]["labels"]
    assert (one[~kept] == -100).all()
    assert len(np.unique(one[kept])) == 1
    assert found["one class"]["input_ids"] is batch["input_ids"]
    assert label_situations("electra", "backbone", {}) == {}


# Losses of other people's models -------------------------------------------------------------------------------------


class TorchLoss(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.head = torch.nn.Linear(4, 3)
        self.loss = torch.nn.CrossEntropyLoss(**options)

    def forward(self, x, labels):
        logits = self.head(x)
        return {"logits": logits, "loss": self.loss(logits, labels)}


class PaddleLoss(paddle.nn.Layer):
    def __init__(self, **options):
        super().__init__()
        self.head = paddle.nn.Linear(4, 3)
        self.loss = paddle.nn.CrossEntropyLoss(**options)

    def forward(self, x, labels):
        logits = self.head(x)
        return {"logits": logits, "loss": self.loss(logits, labels)}


def compare(torch_side, paddle_side, labels, scale=1.0):
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)) * scale
    with torch.no_grad():
        torch_side.head.weight.copy_(weight)
        torch_side.head.bias.zero_()
    paddle_side.head.weight.set_value(weight.numpy().T.copy())
    paddle_side.head.bias.set_value(np.zeros(3, np.float32))
    return align.compare(torch_side, paddle_side, {"x": x, "labels": labels}, stages=("loss",))


LABELS = np.array([0, 2, 1, 1, 0, 2])
IGNORING = np.array([0, 2, -100, 1, -100, 2])
SMOOTH = {"label_smoothing": 0.125}
WEIGHTS = np.array([0.5, 2.0, 1.0], np.float32)
SOFT = np.random.default_rng(2).dirichlet(np.ones(3), 6).astype(np.float32)


def test_class_weights_and_soft_labels_agree():
    assert compare(TorchLoss(), PaddleLoss(), LABELS).passed
    weighted = {"torch": torch.from_numpy(WEIGHTS), "paddle": paddle.to_tensor(WEIGHTS)}
    assert compare(TorchLoss(weight=weighted["torch"]), PaddleLoss(weight=weighted["paddle"]), LABELS).passed
    assert compare(TorchLoss(), PaddleLoss(soft_label=True), SOFT).passed


@pytest.mark.parametrize(
    ("torch_options", "paddle_options", "labels"),
    [
        pytest.param({}, {}, IGNORING, id="paddle_divides_by_the_ignored_too"),
        pytest.param({"label_smoothing": 0.1}, {"label_smoothing": 0.2}, LABELS, id="another_smoothing"),
        pytest.param(SMOOTH, SMOOTH, LABELS, id="paddle_smooths_in_float32"),
        pytest.param({}, {"use_softmax": False}, LABELS, id="logits_taken_for_probabilities"),
        pytest.param({"reduction": "sum"}, {}, LABELS, id="mean_for_sum"),
    ],
)
def test_losses_that_differ_are_blamed_on_the_loss(torch_options, paddle_options, labels):
    report = compare(TorchLoss(**torch_options), PaddleLoss(**paddle_options), labels)
    assert report.blame[0].module == "loss", str(report)


def test_a_clamp_shows_where_logits_are_far_apart():
    """Paddle cuts each logarithm off at −64."""
    assert compare(TorchLoss(), PaddleLoss(), LABELS).passed
    assert compare(TorchLoss(), PaddleLoss(), LABELS, scale=100.0).blame[0].module == "loss"
