"""The benchmark of the verdict: an injected bug is red and its module named first, a harmless rewrite is green."""

import dataclasses
import re
from fnmatch import fnmatchcase

import pytest

from align.case import resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.progress import Steps
from tests.align import bugs_electra, bugs_funnel
from tests.align.explained import EXPLAINED
from tests.align.sabotage import Bug, judge, set_attribute, together

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CATALOGUES = {"electra": bugs_electra, "funnel": bugs_funnel}


def cases(name):
    return [
        pytest.param(architecture, item, id=f"{architecture}-{item}")
        for architecture, catalogue in CATALOGUES.items()
        for item in getattr(catalogue, name)
    ]


@pytest.mark.parametrize(("architecture", "bug"), cases("BUGS"))
def test_a_bug_is_red_and_its_module_named_first(architecture, bug):
    report = judge(architecture, bug)
    assert not report.passed
    assert report.blame[0].module == bug.blamed, str(report)
    assert report.first_divergence is not None
    explanation = report.blame[0].evidence.get("explanation", {"text": "nothing"})
    assert fnmatchcase(explanation["text"], EXPLAINED[architecture].get(str(bug), "nothing")), str(report)


@pytest.mark.parametrize(("architecture", "rewrite"), cases("REWRITES"))
def test_a_rewrite_is_green(architecture, rewrite):
    report = judge(architecture, rewrite)
    assert report.passed, str(report)
    notes = "\n".join(report.stages[0].notes)
    assert re.search(rewrite.note, notes, re.MULTILINE) if rewrite.note else notes == ""


@pytest.mark.parametrize("bug", bugs_electra.UNSEEN, ids=str)
def test_what_one_forward_pass_cannot_show(bug):
    """The limits of the stage, so that they are known: a bug that comes to be seen moves to the catalogue."""
    assert judge("electra", bug).passed


def test_two_bugs_are_both_named_in_order_of_execution():
    norm, act = "encoder.layer.0.output.LayerNorm", "encoder.layer.2.intermediate.intermediate_act_fn"
    both = together(set_attribute(act, _approximate=True), set_attribute(norm, _epsilon=1e-6))
    report = judge("electra", Bug("FW03", "and_gelu_by_tanh", "backbone", norm, both))
    assert [finding.module for finding in report.blame] == [norm, act]


class OtherDefault(InProcessClient):
    """A Paddle side whose configuration has another default."""

    def submit(self, method, **arguments):
        if method == "build":
            arguments["config"] = {"layer_norm_eps": 1e-5, **arguments["config"]}
        return super().submit(method, **arguments)


def test_a_default_that_differs_is_named_before_what_it_does():
    case = resolve("electra", "backbone", "small")
    shallow = dataclasses.replace(case, raw_config={**case.raw_config, "num_hidden_layers": 1})
    report = judge_case(shallow, InProcessClient("torch"), OtherDefault("paddle"), Steps())
    assert [finding.module for finding in report.blame[:2]] == ["<root>", "embeddings.LayerNorm"]
    assert "layer_norm_eps is 1e-12 in torch and 1e-05 in paddle" in report.blame[0].why


@pytest.mark.parametrize("architecture", CATALOGUES)
def test_the_catalogue_is_wide(architecture):
    bugs = CATALOGUES[architecture].BUGS
    assert len({(bug.kind, bug.name) for bug in bugs}) == len(bugs) >= 45
    assert len({bug.kind for bug in bugs}) >= 30
    assert len(CATALOGUES[architecture].REWRITES) >= 8
    assert EXPLAINED[architecture].keys() <= {str(bug) for bug in bugs}
    assert len(EXPLAINED[architecture]) >= 0.75 * len(bugs)
