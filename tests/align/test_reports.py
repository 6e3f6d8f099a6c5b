"""Reports: verdicts derived from the numbers, strict JSON, and the files that reprod_log reads."""

import json
import math

import numpy as np
import pytest

from align.blame import Finding, findings
from align.difference import difference
from align.harmless import excuse
from align.report import Report, write_json
from align.reports import words
from align.stage import StageReport
from align.verdict import blurred, edge_verdict, limit_of

ENVIRONMENT = {"torch": "torch 2.13.0", "paddle": "paddle 3.3.1"}


def edge(name, error=0.0, caller="<root>", noise=0.0):
    found = difference(np.ones((2, 3)), np.ones((2, 3)) + error)
    return edge_verdict(name, "default", found, noise, limit_of(noise, 1.0), caller)


def report(*verdicts):
    stage = StageReport("forward", 0.1, verdicts, findings([v for v in verdicts if not v.passed]))
    return Report({"model": "toy", "seed": 0}, ENVIRONMENT, (stage,))


def test_a_comparison_of_nothing_does_not_pass():
    assert not Report({"model": "toy"}, ENVIRONMENT, ()).passed
    assert not report().passed
    assert "nothing was compared" in str(report())


def test_a_failing_input_edge_blames_the_caller_and_an_output_edge_the_module():
    found = findings([edge("a.b:in0", 1e-3, caller="a"), edge("a.c:out", 1e-3, caller="a")])
    assert [f.module for f in found] == ["a", "a.c"]


def test_one_finding_for_each_module_from_its_first_failing_edge():
    found = findings([edge("a:out", 1e-3), edge("a@2:out", 1.0)])
    assert [f.edge for f in found] == ["a:out"]


def test_the_first_divergence_is_the_first_in_execution_order_not_the_largest():
    assert report(edge("a:out"), edge("b:out", 1e-9), edge("c:out", 1.0)).first_divergence == "b:out"


def test_the_text_names_what_failed_and_how_far():
    text = str(report(edge("a:out"), edge("b:out", 1e-3)))
    assert "NO PARITY: first divergence at b:out, blamed on b" in text
    assert "1.00e-03" in text
    assert "1e+09" in text


def test_what_fails_for_want_of_a_limit_stands_before_all_that_passes():
    boundless, fine = edge("a:out", noise=math.inf), edge("b:out", 1e-13)
    assert (boundless.ratio, boundless.passed) == (0.0, False)
    assert report(fine, boundless).stages[0].worst is boundless
    assert words.nearest([fine, boundless], 1) == [boundless]


def test_json_is_strict_and_says_what_the_report_says(tmp_path):
    bad = edge_verdict("a:out", "default", difference(np.ones(2), np.array([1.0, math.nan])), 0.0, 1e-12, "<root>")
    made = report(bad)
    write_json(tmp_path / "r.json", made)
    read = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert read["passed"] is made.passed is False
    assert read["stages"][0]["diffs"][0]["max_abs"] is None
    assert read["stages"][0]["diffs"][0]["status"] == "nonfinite"
    assert read["stages"][0]["blame"][0]["module"] == "a"


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "r.json", Report({"model": object()}, ENVIRONMENT, ()))
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_composite_that_agrees_excuses():
    asked = []

    def judge(native):
        asked.append(native)
        return [edge("m.b:out", 1e-3), edge("m:out")]

    found = findings([edge("m.b.c:out", 1e-3, caller="m.b")])
    standing, excused = excuse(found, ["<root>", "m", "m.b", "m.b.c"], judge)
    assert standing == []
    assert [(e.finding.module, e.composite) for e in excused] == [("m.b.c", "m")]
    assert asked == [frozenset({"m.b.c"}), frozenset({"m.b", "m.b.c"})]


def test_a_composite_that_changes_its_input_in_place_excuses_nothing():
    found = [*findings([edge("m.b:out", 1e-3, caller="m")]), Finding("m", "only torch has m:after0", "m:after0")]
    assert excuse(found, ["<root>", "m", "m.b"], lambda native: [edge("m:out")]) == (found, [])


def test_the_model_as_a_whole_excuses_nothing():
    found = findings([edge("m:out", 1e-3)])
    standing, excused = excuse(found, ["<root>", "m"], lambda native: [edge("<root>:out")])
    assert standing == found
    assert excused == []


def test_a_composite_too_noisy_to_have_shown_the_error_excuses_nothing():
    found = findings([edge("m.b:out", 1e-6, caller="m")])
    modules = ["<root>", "m", "m.b"]
    assert excuse(found, modules, lambda native: [edge("m:out", noise=1e-13)])[0] == []
    assert excuse(found, modules, lambda native: [edge("m:out", noise=1e-10)])[0] == found


def test_edges_blurred_by_noise_in_every_probe_are_named():
    sharp, blunt = edge("a:out"), edge("a:out", noise=1e-5)
    assert blurred([sharp, blunt]) == {}
    assert list(blurred([blunt, blunt])) == ["a:out"]
