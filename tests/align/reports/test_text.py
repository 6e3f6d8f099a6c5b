"""The report in a terminal: the verdict first, one screen for a stage, no colours where nobody sees them."""

import io

import pytest
from rich.console import Console

from align.reports import text
from tests.align.reports import samples


def lines(report):
    return text.render(report).splitlines()


def test_the_verdict_comes_first_then_the_fault_with_its_cause_and_its_numbers():
    said = lines(samples.broken())
    assert said[1] == f"NO PARITY: first divergence at {samples.FAULTY}:out, blamed on {samples.FAULTY}"
    assert said[3] == "✗ forward  2 of 64 comparisons differ, in 1.2 s"
    assert said[4] == f"  first divergence: {samples.FAULTY}:out"
    assert "allowed 2.00e-12" in said[5]
    assert said[6] == "    explained: eps is 1e-05 instead of 1e-12 (which leaves 3.1e-10 of the difference)"
    assert any("1e+05" in line for line in said[7:12])
    assert "  This proves nothing yet: it stands on forward, to be mended first." in said


def test_a_green_stage_takes_one_line_and_its_notes_and_verbose_shows_every_edge():
    report = samples.clean()
    said = lines(report)
    assert said[1].startswith("PARITY: 102 comparisons agree; the worst stands at 0.2")
    assert sum(f"{samples.FAULTY}:out" in line for line in said) == 0
    assert "✓ backward  32 comparisons in 2.0 s; the worst stands at 0.0003 of its limit" in said
    stream = io.StringIO()
    text.show(report, Console(file=stream, width=text.WIDTH, color_system=None), verbose=True)
    assert stream.getvalue().count(f"{samples.FAULTY}:out") == 3
    assert stream.getvalue().rstrip().splitlines()[-1] == said[1]


@pytest.mark.parametrize("name", samples.ALL)
def test_no_screen_is_longer_than_a_stage_deserves(name):
    assert len(lines(samples.ALL[name]())) < 60


def test_what_was_not_judged_is_listed_with_the_reason():
    said = lines(samples.unfinished())
    reason = "the paddle model raised: no kernel for <float64> & co"
    assert said[1] == f"UNFINISHED: the init stage could not compare: {reason}"
    assert f"– init  could not compare: {reason}" in said
    assert "– metric  not run: init is not green" in said
    assert "– loss  nothing to judge: the model has no loss" in lines(samples.clean())


def test_many_findings_are_counted_not_listed():
    wrong = [f"{name}:out" for name in samples.names()]
    said = lines(samples.report(samples.forward(wrong)))
    assert f"  … and {len(wrong) - 8} more" in said


def test_colours_only_for_a_terminal(monkeypatch):
    for is_terminal in (False, True):
        stream = io.StringIO()
        text.show(samples.broken(), Console(file=stream, force_terminal=is_terminal, width=80))
        assert ("\x1b[" in stream.getvalue()) is is_terminal
