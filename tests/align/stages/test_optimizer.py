"""The optimizer stage: green on clean pairs, red and right about each bug, silent where it does not know the cause."""

import re
from dataclasses import replace

import numpy as np
import paddle
import pytest
import torch

from align.__main__ import main
from align.case import resolve
from align.client import InProcessClient
from align.compare import assert_parity, judge_case
from align.engines import paddle as paddle_engine
from align.engines.probe import choose, write_inputs
from align.engines.spec import PRESETS
from align.errors import NotApplicableError
from align.progress import Steps
from align.record import Record
from align.selftest.kinds.optimizer import mutations
from align.selftest.sabotage import SabotagedClient
from align.selftest.site import survey
from align.stages import Options
from align.stages.optimizer import SCHEDULES
from tests.align.toy import PaddleNet, TorchNet, batch

BUGS = mutations(survey("electra", "paddle"))


def judge(model, optimizer=None, torch_side=None, paddle_side=None, **case):
    """The stage's report, with one side sabotaged."""
    sides = torch_side or InProcessClient("torch"), paddle_side or InProcessClient("paddle")
    options = Options(optimizer=optimizer)
    return judge_case(resolve(model, **case), *sides, Steps(), stages=("optimizer",), options=options).stages[0]


def explanation(finding):
    return finding.evidence.get("explanation", {}).get("text", "")


@pytest.mark.parametrize(("model", "optimizer"), [("electra", None), ("funnel", "adamw"), ("funnel", "adafactor")])
def test_clean_pairs_are_green_far_from_the_limits(model, optimizer):
    report = judge(model, optimizer, seed=7)
    assert report.passed, [finding.why for finding in report.blame]
    assert report.worst.ratio < 0.1
    assert report.notes == []
    judged = {verdict.name.partition(":")[0] for verdict in report.verdicts}
    assert judged >= {optimizer} if optimizer else judged >= PRESETS.keys()
    assert judged >= {f"schedule {name}" for name in SCHEDULES}


def test_every_quantity_of_every_parameter_is_judged():
    names = {verdict.name for verdict in judge("electra", "adamw").verdicts}
    parameter = "electra.encoder.layer.0.attention.self.query.weight"
    assert {"adamw: learning rate", "adamw: gradient norm", f"adamw: {parameter}"} <= names
    assert {f"adamw: {key} of {parameter}" for key in ("clipped gradient", "step", "exp_avg", "exp_avg_sq")} <= names
    assert "schedule linear (paddle's own): step 100" in names or any("linear (paddle's own)" in name for name in names)


def test_there_are_enough_kinds():
    assert len(BUGS) >= 25
    assert {bug.kind for bug in BUGS} >= {f"OP{n:02d}" for n in range(1, 19)} - {"OP10"}
    assert {bug.kind for bug in BUGS} >= {f"LR{n:02d}" for n in range(1, 6)}


def test_kinds_that_touch_no_parameter_are_not_tried():
    """GAU-α has neither biases nor norms with weights, and so nothing that weight decay spares."""
    partial = {("OP03", "inverted"), ("OP11", "not_norms"), ("OP15", "lamb_trust"), ("OP17", "biases_twice")}
    assert {(bug.kind, bug.name) for bug in BUGS} >= partial
    assert not {(bug.kind, bug.name) for bug in mutations(survey("gau_alpha", "paddle"))} & partial


@pytest.mark.parametrize(("number", "bug"), list(enumerate(BUGS)), ids=str)
def test_a_bug_on_either_side_is_named_and_explained(number, bug):
    side = ("paddle", "torch")[number % 2]
    report = judge("electra", bug.options["optimizer"], **{f"{side}_side": SabotagedClient(side, bug)})
    assert not report.passed
    first = report.blame[0]
    assert first.module == bug.blamed
    assert re.search(bug.explained or "^$", explanation(first)), explanation(first)
    assert first.evidence["side"] == side


NATIVE = {
    "rmsprop": (
        lambda lr, p, decay, s: paddle.optimizer.RMSProp(lr, s.rho, s.eps, 0.0, False, p, decay),
        {"square_avg": "mean_square"},
        "inside the root",
    ),
    "adamax": (
        lambda lr, p, decay, s: paddle.optimizer.Adamax(lr, *s.betas, s.eps, p, decay),
        {"exp_avg": "moment", "exp_inf": "inf_norm"},
        "decayed maximum",
    ),
    "lamb": (
        lambda lr, p, decay, s: paddle.optimizer.Lamb(lr, decay, *s.betas, s.eps, p),
        {"exp_avg": "moment1", "exp_avg_sq": "moment2"},
        "no trust ratio where there is no weight decay",
    ),
}


@pytest.mark.parametrize("name", NATIVE)
def test_paddles_own_forms_that_deviate_would_be_explained(name, monkeypatch):
    build, accumulators, text = NATIVE[name]
    monkeypatch.setitem(paddle_engine._NATIVE, name, build)
    monkeypatch.setitem(paddle_engine._ACCUMULATORS, name, accumulators)
    powers = paddle_engine._powers
    monkeypatch.setattr(
        paddle_engine,
        "_powers",
        lambda spec, t: {k: v for k, v in powers(spec, t).items() if spec.name != "adamax" or k == "beta1_pow_acc"},
    )
    report = judge("electra", name)
    assert not report.passed
    assert text in explanation(report.blame[0])


def sabotaged(make):
    """A Paddle side whose engine is made by `make(sound make, specification)`."""
    client = InProcessClient("paddle")
    sound = client.session.make_engine
    client.session.make_engine = lambda spec: make(sound, spec)
    return client


def test_two_bugs_at_once_are_found_and_not_explained_wrongly():
    side = sabotaged(lambda make, spec: make(replace(spec, eps=1e-5, weight_decay=3 * spec.weight_decay)))
    report = judge("electra", "adamw", paddle_side=side)
    assert report.blame[0].module == "adamw: parameters"
    assert "explanation" not in report.blame[0].evidence


def test_a_number_is_found_and_not_looked_up():
    side = sabotaged(lambda make, spec: make(replace(spec, betas=(0.9, 0.9876), eps=spec.eps)))
    report = judge("electra", "adamw", paddle_side=side)
    assert explanation(report.blame[0]) == "paddle: β₂ is 0.9876 instead of 0.999"


def test_what_all_optimizers_have_wrong_is_one_finding():
    side = sabotaged(lambda make, spec: make(replace(spec, clip_norm=None)))
    report = judge("electra", paddle_side=side)
    assert [finding.module for finding in report.blame] == ["sgd: clip"]
    assert report.blame[0].evidence["also"] == list(PRESETS)[1:]


@pytest.mark.parametrize(
    "name", ["electra.encoder.layer.0.attention.self.query.weight", "electra.embeddings.LayerNorm.bias"]
)
def test_a_frozen_parameter_is_named(name):
    side = sabotaged(lambda make, spec: make(spec))
    build = side.session.build

    def frozen(*arguments, **named):
        description = build(*arguments, **named)
        dict(side.session.backend.parameters(side.session.model))[name].stop_gradient = True
        return description

    side.session.build = frozen
    report = judge("electra", "adamw", paddle_side=side)
    assert report.blame[0].module == "adamw: trained parameters"
    assert f"only the torch model trains {name}" in report.blame[0].why


@pytest.mark.parametrize("side", ["torch", "paddle"])
def test_not_a_number_is_no_agreement(side):
    client = InProcessClient(side)
    sound, backend = client.session.make_engine, client.session.backend

    def broken(spec):
        engine = sound(spec)
        step, parameter = engine.step, engine.parameters["electra.embeddings.LayerNorm.weight"]

        def stepped(lr):
            step(lr)
            backend.set_value(parameter, np.full_like(backend.to_numpy(parameter), np.nan))

        engine.step = stepped
        return engine

    client.session.make_engine = broken
    report = judge("electra", "adamw", **{f"{side}_side": client})
    assert report.blame[0].edge == "adamw: electra.embeddings.LayerNorm.weight"


def test_live_modules_are_stepped_too():
    torch.manual_seed(0)
    report = assert_parity(TorchNet(), PaddleNet(), batch(), stages=("optimizer",))
    assert len(report.stages[0].verdicts) > 500


def test_a_parameter_of_another_shape_is_named():
    port = PaddleNet()
    port.head = paddle.nn.Linear(port.head.weight.shape[0], 7)
    with pytest.raises(AssertionError, match=r"sgd: trained parameters: head.weight.*another shape; likewise momentum"):
        assert_parity(TorchNet(), port, batch(), stages=("optimizer",))


def test_a_model_without_parameters_is_refused():
    with pytest.raises(NotApplicableError, match="no parameter that is trained"):
        assert_parity(torch.nn.GELU(), paddle.nn.GELU(), {"input": np.ones(3)}, stages=("optimizer",))


def test_the_command_line_names_the_nearest_optimizer(capsys):
    assert main(["optimizer", "--model", "electra", "--optimizer", "adanw", "--in-process", "--quiet"]) == 2
    assert "did you mean 'adamw'?" in capsys.readouterr().err.replace("\n", " ")


def test_a_large_model_is_stepped_in_part():
    shapes = {
        "embeddings.weight": (30000, 700),
        **{f"layer.{n}.weight": (700, 700) for n in range(12)},
        **{f"layer.{n}.bias": (700,) for n in range(12)},
        "head.weight": (9000, 900),
    }
    chosen = choose(shapes)
    assert chosen == ["layer.0.weight", "layer.11.weight", "layer.0.bias", "layer.11.bias"]
    assert choose({"embeddings.weight": (30000, 700), "bias": (3,)}) == ["embeddings.weight", "bias"]
    assert choose({"a": (2, 3), "b": (4,)}) == ["a", "b"]


def test_gradients_span_decades_and_have_the_norms_that_they_should(tmp_path):
    shapes = {f"layer.{n}.weight": (40, 30) for n in range(3)} | {f"layer.{n}.bias": (7,) for n in range(3)}
    inputs = Record(write_inputs(tmp_path / "inputs.rec", shapes, 0, 3, 2.0))
    for update, norm in enumerate((1.0, 40.0, 6.0)):
        found = {name: inputs[key] for name in shapes if (key := f"{update}/gradient/{name}") in inputs}
        assert np.sqrt(sum((g**2).sum() for g in found.values())) == pytest.approx(norm)
        sizes = np.abs(found["layer.1.weight"])
        assert sizes.max() / sizes.min() > 1e8
        assert "layer.2.bias" not in found
        assert not found["layer.0.bias"].any()
        assert ("layer.2.weight" in found) == (update != 1)
        assert found["layer.0.weight"].any() == (update != 1)
