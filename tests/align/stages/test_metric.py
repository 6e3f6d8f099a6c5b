"""The metric stage: green on clean pairs, red and rightly named on every bug in the scoring or the predictions."""

import dataclasses

import numpy as np
import pytest

from align import registry
from align.__main__ import main
from align.case import make_batch, resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.edges import ROOT
from align.errors import NotApplicableError
from align.metrics import TASKS
from align.progress import Steps
from align.selftest.kinds.metric import mutations
from align.selftest.mutation import Mutation
from align.selftest.sabotage import SabotagedClient, change_weights
from align.selftest.site import survey

SIDES = ("torch", "paddle")
CLEAN = [
    (model, task, {}) for model in registry.names() for task in registry.architecture(model).tasks if task in TASKS
]
NUMBERS = [
    (model, "sequence_classification", {"num_labels": labels}) for model in registry.names() for labels in (1, 2)
]
# Every bug on one side, some on the other.
BUGS = [
    (side, bug) for side, step in (("paddle", 1), ("torch", 5)) for bug in mutations(survey("electra", side))[::step]
]


def judge(case, stages=("metric",), **bugged):
    clients = {side: bugged.get(side) or InProcessClient(side) for side in SIDES}
    return judge_case(case, clients["torch"], clients["paddle"], Steps(), stages=stages)


def with_config(case, config):
    return dataclasses.replace(case, raw_config={**case.raw_config, **config})


@pytest.mark.parametrize(("model", "task", "config"), [*CLEAN, *NUMBERS], ids=str)
def test_clean_pairs_are_green(model, task, config):
    for seed, batch_size, length in ((0, None, None), (1, 1, 5)):
        report = judge(with_config(resolve(model, task, seed=seed, batch_size=batch_size, length=length), config))
        assert report.passed, str(report)
        assert max(verdict.ratio for verdict in report.stages[0].verdicts) < 0.1
        assert {verdict.probe for verdict in report.stages[0].verdicts} == {"default", "ties"}


@pytest.mark.parametrize(("side", "bug"), BUGS, ids=str)
def test_every_bug_is_found_and_named(side, bug):
    case = with_config(resolve("electra", bug.task), bug.config)
    report = judge(case, **{side: SabotagedClient(side, bug)})
    assert not report.passed
    assert report.blame[0].module == bug.blamed, str(report)
    assert side in report.blame[0].why


def test_there_are_enough_kinds_of_bug():
    kinds = {bug.kind for _, bug in BUGS}
    assert kinds == {"ME01", "ME02", "ME03", "ME04", "ME05"}
    assert len(BUGS) >= 30


@pytest.mark.parametrize("task", ["sequence_classification", "question_answering", "replaced_token"])
def test_other_predictions_blame_the_model(task):
    def turn(weights):
        for name, value in weights.items():
            if name.endswith(("out_proj.weight", "qa_outputs.weight", "dense_prediction.weight")):
                value *= -1

    bug = Mutation("CV07", "another head", "metric", ROOT, lambda session: change_weights(session, turn))
    report = judge(resolve("electra", task), paddle=SabotagedClient("paddle", bug))
    assert report.blame[0].module == ROOT
    assert "predictions" in report.blame[0].why
    assert not any(v.kind == "definition" and not v.passed for v in report.stages[0].verdicts)


def test_a_model_that_returns_something_else_is_no_parity():
    def rename(session):
        forward = session.backend.forward
        session.backend.forward = lambda *given: {"scores": forward(*given)["logits"]}

    bug = Mutation("FW", "another output", "metric", ROOT, rename)
    report = judge(resolve("electra", "sequence_classification"), paddle=SabotagedClient("paddle", bug))
    assert [finding.module for finding in report.blame] == [ROOT]
    assert "as logits torch returns shape (7, 5), paddle nothing" in report.blame[0].why


def test_near_ties_are_a_note():
    """Numbers that torch predicts equal but for rounding may change places."""
    case = with_config(resolve("electra", "sequence_classification", seed=0, batch_size=1, length=4), {"num_labels": 1})

    def jitter(session):
        forward = session.backend.forward

        def returned(model, batch):
            outputs = forward(model, batch)
            return {"logits": outputs["logits"] * (1 + 1e-15)} | {k: v for k, v in outputs.items() if k != "logits"}

        session.backend.forward = returned

    report = judge(case, paddle=SabotagedClient("paddle", Mutation("NB07", "rounding", "metric", "", jitter)))
    assert report.passed, str(report)


@pytest.mark.parametrize("task", ["sequence_classification", "question_answering", "multiple_choice"])
def test_a_batch_of_the_user_is_scored_with_its_own_labels(tmp_path, task):
    case = resolve("electra", task)
    config = (
        InProcessClient("torch")
        .submit("build", model="electra", task_class=case.task_class, config=dict(case.raw_config))
        .result()["config"]
    )
    batch = make_batch(case, config)
    np.savez(tmp_path / "mine.npz", **batch)
    report = judge(dataclasses.replace(case, batch=tmp_path / "mine.npz"))
    assert report.passed, str(report)
    labels = batch.get("labels", batch.get("start_positions"))
    assert f"of {(labels != -100).sum()} predictions" in " ".join(report.stages[0].notes) or "question" in task


def test_without_labels_there_is_nothing_to_score(tmp_path):
    case = resolve("electra", "backbone")
    with pytest.raises(NotApplicableError, match="nothing to score"):
        judge(case)
    ids = np.ones((3, 5), np.int64)
    np.savez(tmp_path / "mine.npz", input_ids=ids, attention_mask=ids, token_type_ids=0 * ids)
    with pytest.raises(NotApplicableError, match="nothing to score"):
        judge(dataclasses.replace(resolve("electra", "masked_lm"), batch=tmp_path / "mine.npz"))


def test_among_other_stages_it_is_left_out_with_the_reason():
    report = judge(resolve("electra", "backbone"), stages=("forward", "metric"))
    assert [stage.stage for stage in report.stages] == ["forward"]
    (left,) = report.omitted
    assert (left.stage, left.status) == ("metric", "not applicable")
    assert left.reason.startswith("backbone has no labels")
    with pytest.raises(NotApplicableError, match="nothing to score"):
        judge(resolve("electra", "backbone"), stages=("metric", "metric"))


def test_the_command_line(capsys):
    assert main(["metric", "--model", "electra", "--task", "sequence_classification", "--in-process"]) == 0
    assert "torch scores classes.accuracy" in capsys.readouterr().out
    assert main(["metric", "--model", "electra", "--task", "backbone", "--in-process"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
