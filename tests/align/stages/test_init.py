"""The init stage: green on clean pairs, and every kind of bug red at the right module."""

import dataclasses
import re

import numpy as np
import pytest

from align import fresh, registry
from align.case import resolve
from align.client import InProcessClient
from align.compare import compare, judge_case
from align.errors import CannotCompareError
from align.progress import Steps
from align.selftest.kinds.init import mutations
from align.selftest.sabotage import SabotagedClient
from align.selftest.site import survey
from align.stages.init import FALSE_ALARMS

BUILDS = 12  # as few as show 5 % of the σ of the tiny models' largest matrix


@pytest.fixture(autouse=True)
def _few_builds(monkeypatch):
    monkeypatch.setattr(fresh, "MOST", BUILDS)


def judge(case, torch=None, paddle=None):
    clients = torch or InProcessClient("torch"), paddle or InProcessClient("paddle")
    return judge_case(case, *clients, Steps(), stages=("init",))


def judge_bug(model, mutation, side="paddle"):
    case = resolve(model, mutation.task)
    case = dataclasses.replace(case, raw_config={**case.raw_config, **mutation.config})
    return judge(case, **{side: SabotagedClient(side, mutation)})


def bugs(model, side="paddle"):
    """Of the default task, and of the first with a tied decoder."""
    return mutations(survey(model, side, "masked_lm"))


def assert_found(report, mutation):
    assert not report.passed
    assert report.blame[0].module == mutation.blamed, str(report)
    explanation = report.blame[0].evidence.get("explanation", {"text": ""})["text"]
    assert re.search(mutation.explained, explanation), explanation


@pytest.mark.parametrize("model", ["electra", "funnel"])
def test_clean_pairs_are_green(model):
    for number, task in enumerate(list(registry.architecture(model).tasks)[::3]):
        report = judge(resolve(model, task, seed=number))
        assert report.passed, str(report)
        assert {v.difference.status for v in report.stages[0].verdicts} == {"ok"}


def test_untied_decoders_have_values_of_their_own():
    case = resolve("electra", "masked_lm")
    assert judge(dataclasses.replace(case, raw_config={**case.raw_config, "tie_word_embeddings": False})).passed


@pytest.mark.parametrize("name", [mutation.name for mutation in bugs("electra")])
def test_bugs_of_the_paddle_side_are_found(name):
    mutation = next(m for m in bugs("electra") if m.name == name)
    assert_found(judge_bug("electra", dataclasses.replace(mutation, task="masked_lm")), mutation)


@pytest.mark.parametrize("name", ["sigma_5_percent_off", "row_of_padding", "weight_frozen", "layers_cloned"])
def test_bugs_of_the_torch_side_are_found(name):
    mutation = next(m for m in bugs("electra", "torch") if m.name == name)
    assert_found(judge_bug("electra", dataclasses.replace(mutation, task="masked_lm"), "torch"), mutation)


@pytest.mark.parametrize("name", ["fans_swapped", "tied_by_copy", "one_matrix_for_two"])
def test_bugs_of_another_architecture_are_found(name):
    mutation = next(m for m in bugs("funnel") if m.name == name)
    assert_found(judge_bug("funnel", dataclasses.replace(mutation, task="masked_lm")), mutation)


def test_there_are_enough_kinds_for_every_model():
    for model in registry.names():
        assert len(mutations(survey(model, "paddle"))) >= 10


def test_a_change_on_the_way_into_the_model_is_found():
    """Transfer: what is loaded must be held, bit by bit."""

    class Rounding(InProcessClient):
        def submit(self, method, **arguments):
            answer = super().submit(method, **arguments)
            if method == "load":
                clean = self.session.weights
                self.session.weights = lambda: ((n, v.astype(np.float16).astype(v.dtype)) for n, v in clean())
            return answer

    report = judge(resolve("electra"), paddle=Rounding("paddle"))
    assert not report.passed
    assert "loaded into paddle" in report.blame[0].why
    assert report.blame[0].module == "electra.embeddings.word_embeddings"


def test_the_report_states_rate_and_power():
    stage = judge(resolve("electra")).stages[0]
    assert FALSE_ALARMS <= 1e-4
    assert f"{BUILDS} builds" in stage.notes[0]
    assert "once in 10,000 runs" in stage.notes[0]
    assert any(re.match("errors in σ under .*dense_prediction", text) for text in stage.blind)


def test_live_modules_cannot_be_judged():
    from tests.align.toy import PaddleNet, TorchNet, batch

    with pytest.raises(CannotCompareError, match="--model"):
        compare(TorchNet(), PaddleNet(), batch(), stages=("init",))
