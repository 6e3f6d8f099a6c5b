"""Gates: wider limits only by settings, tighter ones by thresholds and baselines."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from align.__main__ import main
from align.blame import Finding, findings, one_for_each
from align.difference import difference
from align.errors import CannotCompareError
from align.gates import Gates, Settings
from align.gates.baseline import Baseline
from align.gates.settings import Widened
from align.gates.thresholds import Thresholds
from align.report import Report, write_json
from align.stage import FreeRun, StageReport
from align.stages import forward
from align.stages.forward import misfit
from align.verdict import edge_verdict, limit_of
from tests.align.commands import refused

ONES = np.ones((2, 3))
LIMIT = limit_of(0.0, 1.0)


def edge(name, ratio=0.0, caller="<root>"):
    """The verdict on an edge whose error is `ratio` times its limit."""
    return edge_verdict(name, "default", difference(ONES, ONES + ratio * LIMIT), 0.0, LIMIT, caller)


def stage(*verdicts, name="forward", outputs=None):
    run = FreeRun.of(*outputs) if outputs else None
    return StageReport(name, 0.1, verdicts, findings([v for v in verdicts if not v.passed]), free_run=run)


def allowing(module="m.*", factor=8.0, stage=None):
    return Gates(Settings("plumbline.toml", (Widened(module, factor, "because", stage),)))


def test_an_override_excuses_what_is_within_it_and_says_so():
    report = allowing()(stage(edge("m.a:out", 5), edge("m.b:out", 0.1)))
    assert report.passed
    assert "limits of m.* in every stage × 8: because (it excused 1 comparisons, the worst at 5 of" in report.notes[0]
    assert [round(v.ratio, 2) for v in report.verdicts] == [0.63, 0.01]


@pytest.mark.parametrize(
    "report",
    [
        stage(edge("m.a:out", 9)),  # beyond it
        stage(edge("m.a:out", 5), edge("m.a@2:out", 20)),  # another call of the same module is
        stage(edge("n.a:out", 5)),  # another module
        stage(edge("m.a:in0", 5, caller="n")),  # an input is its caller's
    ],
)
def test_an_override_excuses_nothing_else(report):
    assert not allowing()(report).passed


def test_an_override_is_for_its_stage_alone():
    report = allowing(stage="backward")(stage(edge("m.a:out", 5)))
    assert not report.passed
    assert report.notes == ()


@pytest.mark.parametrize("actual", [ONES.T, ONES * math.nan, ONES.astype(int)])
def test_what_is_not_about_a_limit_stands(actual):
    verdict = edge_verdict("m.a:out", "default", difference(ONES, actual), 0.0, LIMIT, "<root>")
    assert not allowing(factor=1e300)(stage(verdict)).passed


def test_integers_and_findings_without_numbers_stand():
    wrong = edge_verdict("m.a:in0", "default", difference(np.array([1]), np.array([2])), 0.0, 0.0, "m.a")
    assert not allowing(factor=1e300)(stage(wrong)).passed
    raised = StageReport("forward", 0.1, [edge("m.a:out")], [Finding("m.a", "the paddle model raised", "m.a:out")])
    assert not allowing(factor=1e300)(raised).passed


BESIDES = [
    misfit("m.a.weight: not in paddle"),
    *FreeRun.of({"<root>:out": ONES}, {"<root>:out": ONES * math.nan}).undefined,
    *forward._configuration({"torch": {"config": {"eps": 1e-5}}, "paddle": {"config": {"eps": 1e-6}}}),
]


@pytest.mark.parametrize("finding", BESIDES, ids=lambda finding: finding.why)
def test_what_is_not_about_a_limit_stands_beside_what_is(finding):
    """A wider limit excuses the module's own comparison, and nothing else of it."""
    small = edge(f"{finding.module}:out", 5)
    excused = replace(stage(small), blame=[*stage(small).blame, finding])
    assert allowing(module="*")(stage(small)).passed
    assert allowing(module="*")(excused).blame == [finding]
    assert allowing(module="*")(replace(excused, blame=one_for_each(excused.blame))).blame[0].why.endswith(finding.why)


def outputs(error, name="<root>:out.logits"):
    return {name: ONES}, {name: ONES + error}


@pytest.mark.parametrize(
    ("thresholds", "passes"),
    [
        (Thresholds(), True),
        (Thresholds(max_diff=2e-3), True),
        (Thresholds(max_diff=5e-4), False),
        (Thresholds(mean_diff=2e-3), True),
        (Thresholds(max_diff=2e-3, mean_diff=5e-4), False),
        (Thresholds(max_diff=0.0), False),
    ],
)
def test_thresholds_tighten(thresholds, passes):
    report = Gates(thresholds=thresholds)(stage(edge("m:out"), outputs=outputs(1e-3)))
    assert report.passed is passes
    if not passes:
        assert "in float32, from end to end, <root>:out.logits" in report.blame[0].why


def test_thresholds_never_loosen_and_nan_fails():
    red = Gates(thresholds=Thresholds(max_diff=1e9))(stage(edge("m:out", 2), outputs=outputs(0.0)))
    assert not red.passed
    undefined = Gates(thresholds=Thresholds(max_diff=1e9))(stage(edge("m:out"), outputs=outputs(math.nan)))
    assert not undefined.passed
    inside = Gates(thresholds=Thresholds(max_diff=1e-9))(stage(edge("m:out"), outputs=outputs(1.0, "m:out")))
    assert inside.passed  # only what the model returns is meant


def test_the_settings_and_the_command_line_both_tighten():
    report = stage(edge("m:out"), outputs=outputs(1e-3))
    assert not Gates(Settings(max_diff=5e-4), Thresholds(max_diff=1.0))(report).passed
    assert not Gates(Settings(max_diff=1.0), Thresholds(max_diff=5e-4))(report).passed


def test_thresholds_that_no_stage_would_look_at_are_refused():
    gates = Gates(thresholds=Thresholds(max_diff=1.0))
    assert gates.stages(["backward", "loss"]) == ["backward", "loss"]
    with pytest.raises(CannotCompareError, match="only forward and loss"):
        gates.stages(["backward"])


def test_skipped_stages_are_left_out_and_named():
    gates = Gates(Settings("plumbline.toml", skipped={"data": "no tokenizer"}))
    assert gates.stages(["forward", "data"]) == ["forward"]
    with pytest.raises(CannotCompareError, match="nothing is left to compare: the data stage is skipped: no tokenizer"):
        gates.stages(["data"])
    report = gates.finish(Report({"model": "m"}, {}, (stage(edge("m:out")),)))
    assert report.as_json()["case"]["overrides"] == ["the data stage is skipped: no tokenizer"]
    assert "override in plumbline.toml: the data stage is skipped: no tokenizer" in str(report)
    assert gates.mark == " (1 override in plumbline.toml)"


CASE = {"model": "m", "task": "t", "variant": "tiny", "seed": 0}


def baseline(tmp_path, *verdicts, factor=4.0, case=CASE):
    write_json(tmp_path / "old.json", Report(case, {}, (stage(*verdicts),)))
    return Baseline.read(tmp_path / "old.json", factor)


def test_a_ratio_may_not_outgrow_its_baseline(tmp_path):
    base = baseline(tmp_path, edge("a:out", 0.1), edge("b:out", 0.0001), edge("a@2:out", 0.5))
    assert Gates(baseline=base)(stage(edge("a:out", 0.39), edge("b:out", 0.05), edge("a@2:out", 0.9))).passed
    report = Gates(baseline=base)(stage(edge("a:out", 0.41), edge("b:out", 0.07), edge("a@2:out", 0.9)))
    assert [finding.module for finding in report.blame] == ["a", "b"]
    assert "ratio 0.41, in" in report.blame[0].why
    assert "at most 4 times that is allowed" in report.blame[0].why
    strict = baseline(tmp_path, edge("a:out", 0.1), factor=1.0)
    assert Gates(baseline=strict)(stage(edge("a:out", 0.1))).passed
    assert not Gates(baseline=strict)(stage(edge("a:out", 0.11))).passed


def test_what_is_gone_fails_and_what_is_new_is_named(tmp_path):
    base = baseline(tmp_path, edge("a:out"), edge("b:out"))
    report = Gates(baseline=base)(stage(edge("a:out"), edge("c:out")))
    assert "1 comparisons of" in report.blame[0].why
    assert "b:out (default, output)" in report.blame[0].why
    assert "1 comparisons are new" in report.notes[0]
    other = Gates(baseline=base)(stage(edge("a:out"), name="backward"))
    assert other.passed
    assert "has no backward stage" in other.notes[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no report that --json wrote"),
        ("[]", "no report that --json wrote"),
        ('{"schema": 2}', "a report of schema 2"),
        ('{"schema": 1, "passed": false, "case": {}, "stages": []}', "must have been green"),
        (
            '{"schema": 1, "passed": true, "case": {"model": "funnel"}, "stages": []}',
            "model is funnel there and electra",
        ),
    ],
)
def test_a_baseline_that_is_none_is_refused(capsys, tmp_path, content, said):
    (tmp_path / "old.json").write_text(content)
    assert said in refused(capsys, "step1", "--model", "electra", "--baseline", str(tmp_path / "old.json"))


def test_from_the_command_line(capsys, tmp_path, monkeypatch):
    """Green, then red by a threshold, green by its own baseline, red by one that was better; all in one project."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plumbline.toml").write_text(
        '[[models.electra.limits]]\nmodule = "electra.*"\nfactor = 2\nreason = "for this test"\n'
    )
    run = ["step1", "--model", "electra", "--in-process", "--quiet"]
    assert main([*run, "--json", "old.json", "--max-diff", "1e-3"]) == 0
    assert "(1 override in plumbline.toml)" in capsys.readouterr().out
    old = json.loads((tmp_path / "old.json").read_text())
    assert old["case"]["overrides"] == ["limits of electra.* in every stage × 2: for this test"]
    assert main([*run, "--baseline", "old.json", "--max-diff", "1e-12"]) == 1
    assert "first divergence at <root>:out.logits" in capsys.readouterr().out
    old["stages"][0]["diffs"].append({"name": "gone:out", "probe": "default", "kind": "output", "ratio": 0.1})
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert main([*run, "--baseline", "old.json", "--max-diff", "1e-3"]) == 1
    assert "gone:out" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--max-diff", "--mean-diff", "--baseline-factor"])
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "x"])
def test_bad_numbers_are_refused(capsys, option, value):
    assert repr(value) in refused(capsys, "step1", "--model", "electra", option, value)
