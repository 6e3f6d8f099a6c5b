"""The report as JUnit XML, which CI servers show as tests: a suite for each stage, a test case for each module.

A module fails if it is blamed. A stage that could not compare is an error, one that was left out is skipped.
"""

import re
from collections.abc import Sequence
from xml.etree import ElementTree as Tree

from align.blame import Finding
from align.report import Report
from align.reports import words
from align.stage import NOT_COMPARED, Omission, StageReport
from align.verdict import Verdict

# What XML 1.0 has no way to write, not even escaped.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LISTED = 20  # comparisons that differ, in one test case


def render(report: Report) -> str:
    """The whole report."""
    root = Tree.Element("testsuites", name="plumbline")
    for stage in words.in_order(report):
        prefix = f"{report.case.get('model', 'model')}.{stage.stage}"
        suite = _element(root, "testsuite", name=prefix)
        if isinstance(stage, Omission):
            _omission(suite, prefix, stage)
        else:
            _stage(suite, prefix, stage)
        _count([suite], suite)
    _count(root.findall("testsuite"), root)
    Tree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Tree.tostring(root, encoding="unicode")}\n'


def _stage(suite: Tree.Element, prefix: str, stage: StageReport) -> None:
    suite.set("time", f"{stage.seconds:.3f}")
    modules: dict[str, list[Verdict]] = {}
    for verdict in stage.verdicts:
        modules.setdefault(verdict.piece, []).append(verdict)
    for finding in stage.blame:
        modules.setdefault(finding.module, [])
    blamed: dict[str, list[Finding]] = {}
    for finding in stage.blame:
        blamed.setdefault(finding.module, []).append(finding)
    for module, verdicts in modules.items():
        _module(_case(suite, prefix, module), verdicts, blamed.get(module, []))
    if not modules:
        _text(_case(suite, prefix, "comparison"), "failure", "nothing was compared", message="nothing was compared")
    remarks = [warning for warning in [words.proves_nothing(stage)] if warning]
    remarks += [f"note: {note}" for note in stage.notes] + [f"blind to: {kind}" for kind in stage.blind]
    if remarks:
        _text(suite, "system-out", "\n".join(remarks))


def _module(case: Tree.Element, verdicts: Sequence[Verdict], found: Sequence[Finding]) -> None:
    wrong = "\n".join(_told(verdict) for verdict in words.nearest([v for v in verdicts if not v.passed], _LISTED))
    if found:
        lines = [found[0].why, *(f.why for f in found[1:])]
        lines += [f"explained: {cause}" for finding in found if (cause := words.cause(finding))]
        _text(case, "failure", "\n".join([*lines, wrong]).strip(), message=found[0].why, type=found[0].edge)
    elif wrong:
        _text(case, "system-out", f"differs, and is not to blame:\n{wrong}")


def _told(verdict: Verdict) -> str:
    d = verdict.difference
    numbers = f"{d.max_abs:.2e}, allowed {verdict.limit:.2e}, noise {verdict.noise:.1e}"
    return f"{verdict.name} ({verdict.probe}): {numbers if d.status == 'ok' else d.detail}"


def _omission(suite: Tree.Element, prefix: str, omission: Omission) -> None:
    case = _case(suite, prefix, omission.stage)
    _element(case, "error" if omission.status == NOT_COMPARED else "skipped", message=words.omitted(omission))


def _case(suite: Tree.Element, prefix: str, name: str) -> Tree.Element:
    return _element(suite, "testcase", classname=prefix, name=name)


def _element(parent: Tree.Element, tag: str, **attributes: str) -> Tree.Element:
    return Tree.SubElement(parent, tag, {key: _writable(value) for key, value in attributes.items()})


def _text(parent: Tree.Element, tag: str, text: str, **attributes: str) -> None:
    _element(parent, tag, **attributes).text = _writable(text)


def _writable(text: str) -> str:
    """The text with every character that XML forbids written out, as \\x07."""
    return _UNWRITABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def _count(suites: Sequence[Tree.Element], onto: Tree.Element) -> None:
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        onto.set(attribute, str(sum(len(list(suite.iter(tag))) for suite in suites)))
