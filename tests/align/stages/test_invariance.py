"""The invariance stage: green on clean pairs, and red for what both sides may have in common."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from align import registry
from align.case import resolve
from align.client import InProcessClient
from align.compare import compare, judge_case
from align.errors import CannotCompareError
from align.invariants import ORDER, PADDING
from align.progress import Steps
from align.selftest.kinds.invariance import mutations
from align.selftest.mutation import Mutation
from align.selftest.sabotage import SabotagedClient, override
from align.selftest.site import survey
from tests.align.toy import PaddleNet, TorchNet, batch

CASES = [(model, task) for model in registry.names() for task in list(registry.architecture(model).tasks)[::2]]


def judge(case, torch=None, paddle=None):
    clients = torch or InProcessClient("torch"), paddle or InProcessClient("paddle")
    return judge_case(case, *clients, Steps(), stages=("invariance",))


def judge_bug(model, mutation, side="paddle"):
    return judge(resolve(model, mutation.task, **mutation.case), **{side: SabotagedClient(side, mutation)})


@pytest.mark.parametrize(("model", "task"), CASES)
def test_clean_pairs_are_green(model, task):
    report = judge(resolve(model, task, seed=1))
    assert report.passed, str(report)
    assert not report.stages[0].blind


@pytest.mark.parametrize("shape", [(1, 9), (2, 48), (3, 4)])
def test_other_shapes_are_green(shape):
    size, length = shape
    assert judge(resolve("electra", batch_size=size, length=length)).passed


@pytest.mark.parametrize(
    ("model", "side", "names"),
    [
        ("electra", "torch", ""),
        ("electra", "paddle", ""),
        ("funnel", "paddle", "dropout_lost|values_of_the_first_batch|squeezed"),
    ],
)
def test_bugs_are_found(model, side, names):
    for bug in (bug for bug in mutations(survey(model, side)) if re.match(names, bug.name)):
        report = judge_bug(model, bug, side)
        assert not report.passed, str(bug)
        assert report.blame[0].module == bug.blamed, str(report)
        explanation = report.blame[0].evidence.get("explanation", {"text": ""})["text"]
        assert re.search(bug.explained, explanation), explanation


@pytest.mark.parametrize("model", registry.names())
def test_there_are_enough_kinds_for_every_model(model):
    assert len(mutations(survey(model, "paddle"))) >= 5


def test_a_finding_says_side_output_and_place():
    bug = next(bug for bug in mutations(survey("electra", "torch")) if bug.name == "mask_ignored")
    found = judge_bug("electra", bug, "torch").blame[0]
    assert re.match(
        r"torch: padding changes logits at real positions by .* most in example \d at position \d+", found.why
    )
    assert found.evidence["first_seen"] == "electra.encoder.layer.0.attention.self:out"
    assert found.evidence["example"] != 2  # in which nothing is attended


def test_a_bug_of_both_sides_is_found_on_both():
    bugs = {side: mutations(survey("electra", side)) for side in ("torch", "paddle")}
    torch_bug, paddle_bug = (next(b for b in bugs[side] if b.name == "mask_ignored") for side in bugs)
    clients = SabotagedClient("torch", torch_bug), SabotagedClient("paddle", paddle_bug)
    report = judge(resolve("electra"), *clients)
    assert [f.evidence["side"] for f in report.blame if f.module == PADDING] == ["torch", "paddle"]


def test_a_state_that_a_batch_leaves_behind_is_found():
    """The value of the longest sequence so far: right in every variation but when the first batch comes again."""

    class Longest:
        length = 0

        def __call__(self, module, original, x):
            y = original(x)
            self.before, self.length = self.length, max(self.length, x.shape[1])
            return y * (1.0 + 1e-3 * (x.shape[1] < self.before))

    def apply(session):
        override(session, "electra.encoder.layer.0.output.LayerNorm", Longest())

    report = judge_bug("electra", Mutation("FW22", "state", "invariance", "call order", apply))
    assert report.blame[-1].module == "call order"
    assert "the batches that ran before change logits" in report.blame[-1].why


def test_a_model_that_fails_on_one_example_is_blamed():
    def alone(self, original, *arguments, **named):
        if named["input_ids"].shape[0] == 1:
            raise ValueError("no batch")
        return original(*arguments, **named)

    bug = Mutation("FW", "fails", "invariance", "", lambda session: override(session, "<root>", alone))
    report = judge_bug("electra", bug)
    assert report.blame[0].module == "batch of one"
    assert "no batch" in report.blame[0].why


def test_what_the_architecture_has_so_is_a_note():
    stage = judge(resolve("funnel")).stages[0]
    assert stage.passed
    assert any("padding changes what is returned" in note and "pooling" in note for note in stage.notes)


def test_a_batch_without_room_is_said_to_be_blind():
    stage = judge(resolve("electra", batch_size=1, length=48)).stages[0]
    assert len(stage.blind) == 3  # neither another order nor fewer examples, and no position is left for a pad


def test_a_batch_without_tokens_is_refused(tmp_path):
    arrays = {name: np.zeros((2, 5), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids", "labels")}
    np.savez(tmp_path / "empty.npz", **arrays)
    with pytest.raises(CannotCompareError, match="no example"):
        judge(dataclasses.replace(resolve("electra"), batch=tmp_path / "empty.npz"))


def live():
    """The toy pair with the same weights; each dropout of its block runs twice."""
    one, other = TorchNet(), PaddleNet()
    names = dict(one.named_modules())
    for name, parameter in other.state_dict().items():
        value = one.state_dict()[name].numpy()
        linear = name.endswith("weight") and isinstance(names[name.rpartition(".")[0]], torch.nn.Linear)
        parameter.set_value(value.T if linear else value)
    return one, other


def test_live_modules_are_judged():
    report = compare(*live(), batch(), stages=("invariance",))
    assert report.passed, str(report)
    assert {v.probe for v in report.stages[0].verdicts} >= {PADDING, ORDER, "repetition", "dropout", "training mode"}


def test_a_live_module_that_ignores_its_mask_is_red():
    one, other = live()
    forward = one.forward
    one.forward = lambda input_ids, attention_mask: forward(input_ids, torch.ones_like(attention_mask))
    report = compare(one, other, batch(), stages=("invariance",))
    assert report.blame[0].module == PADDING
    assert report.blame[0].evidence["side"] == "torch"


@pytest.mark.parametrize("side", ["torch", "paddle"])
def test_another_way_when_nobody_looks_on_is_found(side):
    """A kernel that is wrong, and stands for softmax where nobody listens to it: other stages cannot see that."""

    def shorter(self, original, hidden, mask):
        watched = "forward" in vars(self.softmax)
        return original(hidden, mask) * (1.0 if watched else 1.0 + 1e-9)

    bug = Mutation(
        "FW", "unwatched", "invariance", "", lambda s: override(s, "electra.encoder.layer.1.attention.self", shorter)
    )
    report = judge_bug("electra", bug, side)
    assert [finding.module for finding in report.blame] == ["unwatched"]
    assert report.blame[0].why.startswith(f"{side}: it takes another way where nobody looks on")
