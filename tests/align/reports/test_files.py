"""The reports that programs read: JSON by its schema, JUnit XML, Markdown, and the page as text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest

import align.reports.json
from align.drawn import Histogram
from align.edges import ROOT
from align.gates.thresholds import Thresholds, tighten
from align.report import Report
from align.reports import charts, html, junit, markdown, words
from align.stage import FreeRun
from tests.align.reports import samples

SCHEMA = align.reports.json.schema()


@pytest.mark.parametrize("name", samples.ALL)
def test_json_is_as_its_schema_says_and_strict(name):
    report = samples.ALL[name]()
    read = json.loads(align.reports.json.render(report), parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(SCHEMA).validate(read)
    assert read["passed"] is report.passed
    assert [stage["stage"] for stage in read["stages"]] == [stage.stage for stage in report.stages]
    assert read["verdict"] == report.headline


def test_the_schema_knows_every_field_and_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    read = json.loads(align.reports.json.render(samples.broken()))
    read["stages"][0]["diffs"][0]["more"] = 1
    with pytest.raises(jsonschema.ValidationError, match="more"):
        jsonschema.Draft202012Validator(SCHEMA).validate(read)


def suites(report):
    return {suite.get("name"): suite for suite in ElementTree.fromstring(junit.render(report))}


def counts(element):
    return tuple(int(element.get(key)) for key in ("tests", "failures", "errors", "skipped"))


def test_junit_fails_the_blamed_module_and_no_other():
    found = suites(samples.broken())
    assert counts(found["toy.forward"]) == (len(samples.names()), 1, 0, 0)
    (failed,) = [case for case in found["toy.forward"].iter("testcase") if case.find("failure") is not None]
    failure = failed.find("failure")
    assert failed.get("name") == samples.FAULTY
    assert failed.get("classname") == "toy.forward"
    assert "allowed 2.00e-12" in failure.get("message")
    assert "explained: eps is 1e-05 instead of 1e-12" in failure.text
    assert "note: a note" in found["toy.forward"].find("system-out").text
    assert counts(found["toy.backward"])[1:] == (0, 0, 0)
    root = ElementTree.fromstring(junit.render(samples.broken()))
    assert counts(root) == tuple(sum(n) for n in zip(*(counts(suite) for suite in found.values()), strict=True))


def test_junit_tells_an_error_from_what_was_skipped_and_a_comparison_of_nothing_fails():
    found = suites(samples.unfinished())
    assert counts(found["toy.init"]) == (1, 0, 1, 0)
    assert counts(found["toy.backward"]) == (1, 0, 0, 1)
    assert "no kernel for <float64> & co" in found["toy.init"].find("testcase/error").get("message")
    nothing = replace(samples.forward(), verdicts=())
    assert counts(suites(samples.report(nothing))["toy.forward"]) == (1, 1, 0, 0)


def test_junit_is_xml_whatever_the_names_are():
    text = junit.render(samples.nasty(f"{samples.NASTY}\udc80"))
    failed = ElementTree.fromstring(text.encode()).find(".//testcase/failure")
    assert "\\x07" in failed.text
    assert "\\udc80" in failed.text
    assert "<img src=x onerror='window.pwned=1'>&" in failed.text


def test_markdown_says_what_is_wrong_and_why():
    text = markdown.render(samples.broken())
    assert text.startswith(f"### ❌ NO PARITY: first divergence at {samples.FAULTY}:out")
    assert "| ❌ | forward | 2 of 64 comparisons differ, in 1.2 s. |" in text
    assert f"1. `{samples.FAULTY}`: its output" in text
    assert "**Explained:** eps is 1e-05 instead of 1e-12" in text
    assert f"| `{samples.FAULTY}:out` | default | 2.0e-07 | 3.0e-15 | 2.0e-12 | 1e+05 |" in text
    assert "python -m align all --model toy" in text
    green = markdown.render(samples.clean())
    assert green.startswith("### ✅ PARITY")
    assert "| ➖ | loss | nothing to judge: the model has no loss |" in green
    assert markdown.render(samples.unfinished()).startswith("### ⚠️ UNFINISHED")


def test_markdown_stays_within_a_comment_and_no_name_is_markup():
    wrong = [f"{name}:{leaf}" for name in samples.names(400) for leaf in ("in0", "out")]
    text = markdown.render(samples.report(samples.forward(wrong, 400)))
    assert len(text) < 60_000
    assert "more" in text
    text = markdown.render(samples.nasty())
    assert not re.search(r"(?<!\\)<(?!/?(details|summary)>)", text.rpartition("```\n")[0].rpartition("```")[0])


class Page(HTMLParser):
    """The text of a page, and what it would load or run."""

    def __init__(self, source):
        super().__init__()
        self.text, self.scripts, self.loads, self._inside = "", [], [], None
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self._inside = tag
        if tag == "script":
            self.scripts.append("")
        self.loads += [
            (tag, name, value)
            for name, value in attributes
            if name in ("src", "href", "data", "srcset") or name.startswith("on")
        ]

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def handle_endtag(self, tag):
        self._inside = None


@pytest.mark.parametrize("name", samples.ALL)
def test_the_page_stands_alone(name):
    source = html.render(samples.ALL[name]())
    page = Page(source)
    assert page.loads == [("link", "href", "data:,")]
    assert len(page.scripts) == 2
    assert not re.search(r"https?://(?!www\.w3\.org/)", source)
    assert json.loads(page.scripts[0])["rows"]


def test_the_page_tells_the_fault_without_scripts():
    text = " ".join(Page(html.render(samples.broken())).text.split())
    for said in (
        "No parity",
        f"Where the fault is {samples.FAULTY} Norm Why: eps is 1e-05 instead of 1e-12",
        "That is 100,000 times what is allowed.",
        "Its inputs were PyTorch's own values",
        "This proves nothing yet: it stands on forward",
        "This run could not have shown: a lost batch axis",
        "python -m align all --model toy",
        "torch 2.13.0",
    ):
        assert said in text
    assert "Where the fault is" not in Page(html.render(samples.clean())).text
    unfinished = " ".join(Page(html.render(samples.unfinished())).text.split())
    assert "Unfinished" in unfinished
    assert "could not compare: the paddle model raised: no kernel for <float64> & co" in unfinished


def test_what_ran_from_end_to_end_does_not_point_at_one_module():
    """A NaN at the end or a threshold exceeded, and no piece that differs; where one does, that is told of."""
    outputs = ({f"{ROOT}:out": np.full(2, value)} for value in (1.0, np.nan))
    undefined_end = replace(samples.forward(), blame=FreeRun.of(*outputs).undefined)
    exceeded, beside = (
        tighten(samples.forward(wrong), Thresholds(max_diff=1e-7)) for wrong in ((), (f"{samples.FAULTY}:out",))
    )
    for stage, wrong in ((undefined_end, False), (exceeded, False), (beside, True)):
        report = samples.report(stage)
        assert report.blame[-1].module == ROOT
        jsonschema.validate(json.loads(align.reports.json.render(report)), SCHEMA)
        for text in (str(report), markdown.render(report)):
            assert (words.LOOK_AT_THE_FIRST in text) is wrong
        page = " ".join(Page(html.render(report)).text.split())
        assert ("Its inputs were PyTorch's own values" in page) is wrong
        assert (words.ERRORS_ADD_UP in page) is not wrong


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0.0, 0.02, 1e17])
@pytest.mark.parametrize("apart", [0, 1, 29, 61])
def test_a_histogram_of_values_that_hardly_differ(dtype, size, apart):
    values = dtype(size) + np.spacing(dtype(size)) * np.array([0, apart], dtype)
    histogram = Histogram.of("w", values, values[:1])
    assert (sum(histogram.expected), sum(histogram.actual)) == (2, 1)
    assert charts.draw_histogram(histogram)


def test_a_large_report_stays_small_and_keeps_all_that_differs():
    report = samples.report(samples.forward([f"{samples.FAULTY}:out"], 400), modules=samples.modules(400))
    assert len(report.stages[0].verdicts) > 6000
    source = html.render(report)
    assert len(source.encode()) < 700_000
    data = json.loads(Page(source).scripts[0])
    assert data["total"] == len(report.stages[0].verdicts)
    assert len(data["rows"]["name"]) == 3000
    assert [data["texts"][n] for n in data["rows"]["status"]].count("mismatch") == 2


def test_a_name_that_utf8_cannot_hold_is_written_nevertheless(tmp_path):
    samples.nasty(f"{samples.NASTY}\udc80").save(tmp_path)
    assert "\\udc80" in (tmp_path / "report.html").read_text("utf-8")
    assert "\\udc80" in (tmp_path / "report.txt").read_text("utf-8")


def test_a_report_without_anything_is_rendered_too(tmp_path):
    empty = Report({"model": "toy"}, {})
    assert not empty.passed
    assert "Nothing was compared" in html.render(empty)
    assert "nothing was compared" in markdown.render(empty)
    assert counts(ElementTree.fromstring(junit.render(empty))) == (0, 0, 0, 0)
    samples.broken().save(tmp_path / "new")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["report.html", "report.json", "report.txt"]
