"""The live port is mended, looked at, and given back as it was; what is found stands in the report."""

import copy

import numpy as np
import paddle
import pytest

import align
from align.explain.repairs import other_attributes
from align.operations import audit
from align.session import Session
from tests.align import toy
from tests.pairs import copy_weights, randomise

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def reference():
    return randomise(toy.TorchNet())


@pytest.fixture
def port(reference):
    return copy_weights(reference, toy.PaddleNet())


def explanation(reference, port):
    report = align.compare(reference, port, toy.batch())
    return report.blame[0].module, report.blame[0].evidence["explanation"]["text"]


def test_both_sides_name_the_same_settings(reference, port):
    sides = [Session("torch"), Session("paddle")]
    for session, model in zip(sides, (reference, port), strict=True):
        session.adopt(model)
    torch, paddle_side = map(audit.attributes, sides)
    assert torch["block.norm"]["eps"] == paddle_side["block.norm"]["eps"] == 1e-12
    assert torch["block.act"]["approximate"] is paddle_side["block.act"]["approximate"] is False
    assert not any(other_attributes(torch[name], paddle_side[name]) for name in torch)


def test_a_setting_is_found_and_the_port_given_back(reference, port):
    port.block.act._approximate = True
    before = {name: tensor.numpy().copy() for name, tensor in port.state_dict().items()}
    assert explanation(reference, port) == ("block.act", "approximate is True instead of False")
    assert port.block.act._approximate is True
    assert all(np.array_equal(before[name], tensor.numpy()) for name, tensor in port.state_dict().items())


def test_a_weight_is_found_and_left_as_it_was(reference, port):
    weight = port.head.weight
    weight.set_value(paddle.to_tensor(np.float32(np.float16(weight.numpy()))))
    before = weight.numpy().copy()
    module, text = explanation(reference, port)
    assert module == "head"
    assert text.startswith("weight is rounded to float16")
    assert np.array_equal(port.head.weight.numpy(), before)


def test_of_two_settings_that_differ_only_the_guilty_one_is_named(reference, port):
    other = copy.deepcopy(reference)
    other.block.act.label, port.block.act.label = 1, 2  # harmless
    port.block.act._approximate = True
    assert explanation(other, port) == ("block.act", "approximate is True instead of False")


def test_a_missing_number_is_computed(reference, port):
    port.block.mixer.scale = 1.0
    module, text = explanation(reference, port)
    assert module == "block.mixer"
    assert text == "q·k is scaled by 1 instead of 0.2236 = 1/√20"


def test_the_report_shows_it(reference, port):
    port.block.norm._epsilon = 1e-5
    report = align.compare(reference, port, toy.batch())
    shown = str(report)
    assert "explained: eps is 1e-05 instead of 1e-12 (which leaves " in shown
    evidence = report.as_json()["stages"][0]["blame"][0]["evidence"]["explanation"]
    assert evidence["parameters"] == 0
    assert evidence["residual"] < 1e-9
