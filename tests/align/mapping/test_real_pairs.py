"""Pairs of published models, as they stand: nothing in the mechanism knows any of them."""

import pytest

from align.compare import Interpreters
from align.foreign.compare import Targets, compare_targets
from align.mapping.text import save_map

pytestmark = pytest.mark.filterwarnings("ignore")  # what the references warn of is not ours to mend
HERE = "tests.align.mapping.test_real_pairs"


def compare(torch, paddle, stages=("forward",), weight_map=None):
    return compare_targets(Targets(torch, paddle, weight_map=weight_map), Interpreters(in_process=True), stages=stages)


def broken_t5():
    """T5 with one wrong eps."""
    from paddlenlp.transformers import T5Model

    class Broken(T5Model):
        def __init__(self, config):
            super().__init__(config)
            self.encoder.block[1].layer[0].layer_norm.variance_epsilon = 1e-5

    return Broken


def __getattr__(name):
    """A class that is named like a target, made when it is asked for: paddlenlp takes seconds to import."""
    if name == "BrokenT5Model":
        return broken_t5()
    raise AttributeError(name)


@pytest.fixture(scope="module")
def t5():
    return compare("transformers:T5Model", "paddlenlp.transformers:T5Model")


def test_a_correct_port_is_green(t5):
    assert t5.report.passed, str(t5.report)
    probes = {verdict.probe for verdict in t5.report.stages[0].verdicts}
    assert probes == {"default", "saturated", "holes in the mask"}
    assert any("all dropout is 0" in text for text in t5.report.stages[0].blind)


def test_a_bug_in_it_is_named(t5, tmp_path):
    save_map(tmp_path / "map.toml", t5.found.weights)
    report = compare("transformers:T5Model", f"{HERE}:BrokenT5Model", weight_map=tmp_path / "map.toml").report
    assert [finding.module for finding in report.blame] == ["encoder.block.1.layer.0.layer_norm"]
    assert report.blame[0].evidence["explanation"]["text"].startswith("variance_epsilon is 1e-05 instead of 1e-06")


def test_a_row_that_is_trained_on_one_side_alone():
    report = compare("transformers:BertModel", "paddlenlp.transformers:BertModel", ("forward", "backward")).report
    forward, backward = report.stages
    assert forward.passed, str(report)
    (finding,) = backward.blame
    assert finding.edge == "embeddings.word_embeddings.weight"
    assert finding.evidence["explanation"]["text"].startswith("a gradient arrives at row 0, where torch stops it")


def test_a_head_that_forgets_its_eps():
    report = compare("transformers:AlbertForMaskedLM", "paddlenlp.transformers:AlbertForMaskedLM").report
    causes = {finding.module: finding.evidence["explanation"]["text"] for finding in report.blame}
    assert causes.pop("predictions.LayerNorm").startswith("eps is 1e-05 instead of 1e-12")
    assert causes.pop("albert.embeddings.word_embeddings").startswith("the row of id 0 is zero in the forward pass")
    assert all("loss" in finding.edge for finding in report.blame if finding.module in causes)
