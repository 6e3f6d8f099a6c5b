"""Several stages in order: which are run, which are left out, and what is said of those that prove nothing."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

import align.stages
from align.errors import CannotCompareError, NotApplicableError
from align.progress import Steps
from align.report import Report
from align.stage import NOT_APPLICABLE, NOT_COMPARED, NOT_RUN
from align.stages import STAGES, run_stages
from tests.align.reports import samples

SUBJECT = SimpleNamespace(pair=SimpleNamespace(steps=Steps()))


@pytest.fixture
def outcomes(monkeypatch):
    """What each stage comes to: green, unless it is named here as red or with the error that it raises."""
    outcomes = {}

    def run(name, subject):
        outcome = outcomes.get(name)
        if isinstance(outcome, Exception):
            raise outcome
        return replace(samples.forward([f"{samples.FAULTY}:out"] if outcome == "red" else ()), stage=name)

    monkeypatch.setattr(align.stages, "_run", run)
    return outcomes


def run(keep_going):
    reports, omitted = run_stages(tuple(STAGES), SUBJECT, keep_going)
    return Report({}, {}, reports, omitted), {o.stage: (o.status, o.reason) for o in omitted}


def test_all_stages_are_run_while_they_are_green(outcomes):
    report, omitted = run(keep_going=False)
    assert [stage.stage for stage in report.stages] == list(STAGES)
    assert omitted == {}
    assert report.passed
    assert not report.is_red


def test_the_first_red_stage_ends_it_and_each_later_one_says_what_it_stands_on(outcomes):
    outcomes["forward"] = "red"
    report, omitted = run(keep_going=False)
    assert [stage.stage for stage in report.stages] == ["forward"]
    assert {status for status, _ in omitted.values()} == {NOT_RUN}
    assert list(omitted) == [name for name in STAGES if name != "forward"]
    assert {n for n, (_, why) in omitted.items() if "it stands on forward" in why} == {
        "loss",
        "metric",
        "backward",
        "training",
    }
    assert "--keep-going" in omitted["data"][1]
    assert report.is_red


def test_going_on_marks_the_stages_that_stand_on_a_red_one(outcomes):
    outcomes |= {"loss": "red", "optimizer": "red"}
    report, omitted = run(keep_going=True)
    assert omitted == {}
    marked = {stage.stage: stage.red_before for stage in report.stages if stage.red_before}
    assert marked == {"backward": ["loss"], "training": ["loss", "optimizer"]}


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_stage_that_could_not_compare_is_no_parity_but_no_fault_either(outcomes, keep_going):
    outcomes |= {"loss": CannotCompareError("no kernel"), "init": NotApplicableError("no weights")}
    report, omitted = run(keep_going)
    assert omitted["init"] == (NOT_APPLICABLE, "no weights")
    assert omitted["loss"] == (NOT_COMPARED, "no kernel")
    assert ("metric" in omitted) is not keep_going
    assert not report.passed
    assert not report.is_red
    assert report.headline == "UNFINISHED: the loss stage could not compare: no kernel"
    if keep_going:
        assert [s.stage for s in report.stages if s.red_before] == ["backward", "training"]


def test_where_nothing_could_be_judged_the_reason_is_raised(outcomes):
    outcomes["forward"] = CannotCompareError("no kernel")
    with pytest.raises(CannotCompareError, match=r"^no kernel$"):
        run_stages(tuple(STAGES), SUBJECT, keep_going=False)
    outcomes["metric"] = NotApplicableError("no labels")
    with pytest.raises(NotApplicableError, match="no labels"):
        run_stages(("metric",), SUBJECT)
    with pytest.raises(CannotCompareError, match="forward: no kernel; metric: no labels"):
        run_stages(("forward", "metric"), SUBJECT)
