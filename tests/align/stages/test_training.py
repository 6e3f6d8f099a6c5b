"""The training stage: clean pairs train alike with and without dropout; what differs first is named."""

import re

import numpy as np
import pytest

from align import registry
from align.case import resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.engines.spec import PRESETS
from align.errors import CannotCompareError
from align.progress import Steps
from align.selftest.kinds import training
from align.selftest.sabotage import SabotagedClient
from align.selftest.site import survey
from align.stages import Options
from fake_data import has_labels

TASKS = [
    (model, task)
    for model in ("electra", "funnel")
    for task in registry.architecture(model).tasks
    if has_labels(model, task)
]
FEW = {"batch_size": 3, "length": 8}


def judge(case, paddle_client=None, **options):
    paddle_client = paddle_client or InProcessClient("paddle")
    options = Options(**{"steps": 5, **options})
    return judge_case(case, InProcessClient("torch"), paddle_client, Steps(), stages=("training",), options=options)


@pytest.mark.parametrize(("model", "task"), TASKS)
def test_clean_pairs_train_alike(model, task):
    report = judge(resolve(model, task, seed=2, **FEW), dropout=0.1 if model == "electra" else None)
    assert report.passed, str(report)
    assert report.stages[0].worst.ratio < 0.5, str(report)


def test_dropout_is_on_and_alike():
    case = resolve("electra", "token_classification", **FEW)
    losses = {}
    for dropout in (None, 0.1, 0.4):
        report = judge(case, dropout=dropout)
        assert report.passed, str(report)
        losses[dropout] = report.stages[0].verdicts[0].difference.max_abs
    assert all(np.isfinite(value) for value in losses.values())


@pytest.mark.parametrize("optimizer", sorted(PRESETS))
def test_every_optimizer_trains_alike(optimizer):
    report = judge(resolve("electra", "sequence_classification", **FEW), steps=6, optimizer=optimizer)
    assert report.passed, str(report)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(CannotCompareError, match="did you mean 'adafactor'"):
        judge(resolve("electra", **FEW), optimizer="adafactr")


@pytest.mark.parametrize("mutation", training.mutations(survey("electra", "paddle")), ids=str)
def test_bugs_of_the_loop_are_named(mutation):
    case = resolve("electra", mutation.task, **FEW)
    report = judge(case, SabotagedClient("paddle", mutation), steps=8)
    assert not report.passed
    finding = report.blame[0]
    assert finding.module == mutation.blamed, str(report)
    if mutation.explained:
        assert re.search(mutation.explained, finding.evidence["explanation"]["text"])
