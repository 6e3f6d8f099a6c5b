"""The report as a comment under a pull request: the verdict, what is wrong and why, and a line for each stage."""

import re
import shlex
from collections.abc import Iterator, Sequence

from align.report import Report
from align.reports import words
from align.stage import NOT_COMPARED, Omission, StageReport
from align.verdict import Verdict

_FINDINGS, _ROWS, _NOTES = 10, 10, 20  # of one stage; comments may hold 65,536 characters
_LONGEST = 400  # characters of one text
_SPECIAL = re.compile(r"([\\`*_\[\]<>#!|~&$])")


def render(report: Report) -> str:
    """The whole summary."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    mark = "✅" if report.passed else "❌" if report.is_red else "⚠️"
    yield f"### {mark} {_plain(report.headline)}"
    yield ""
    yield f"{_plain(words.title(report))}, seed {report.case.get('seed', 0)} ({_plain(words.versions(report))})"
    yield ""
    yield "| | stage | result |"
    yield "|---|---|---|"
    yield from (_row(stage) for stage in words.in_order(report))
    for stage in report.stages:
        yield from _findings(stage)
    for stage in report.stages:
        yield from _details(stage)
    if report.command:
        yield ""
        yield from _code(shlex.join(report.command))


def _row(stage: StageReport | Omission) -> str:
    if isinstance(stage, Omission):
        mark = "⚠️" if stage.status == NOT_COMPARED else "➖"
        return f"| {mark} | {stage.stage} | {_plain(words.omitted(stage))} |"
    result = f"{words.result(stage)}. {words.proves_nothing(stage) or ''}".strip()
    return f"| {'✅' if stage.passed else '❌'} | {stage.stage} | {_plain(result)} |"


def _findings(stage: StageReport) -> Iterator[str]:
    if stage.blame:
        yield ""
        yield f"**{stage.stage}**"
        yield ""
    for number, finding in enumerate(stage.blame[:_FINDINGS], 1):
        cause = words.cause(finding)
        yield f"{number}. {_name(finding.module)}: {_plain(finding.why)}"
        if cause:
            yield f"   **Explained:** {_plain(cause)}"
    if len(stage.blame) > _FINDINGS:
        yield f"\n… and {len(stage.blame) - _FINDINGS} more"
    if stage.blame and words.is_replayed(stage):
        yield ""
        yield words.LOOK_AT_THE_FIRST


def _details(stage: StageReport) -> Iterator[str]:
    """What stands folded up: the comparisons that fail, and the notes and blind spots."""
    rows = [] if stage.passed else words.nearest([v for v in stage.verdicts if not v.passed], _ROWS)
    remarks = [*stage.notes, *(f"blind to: {kind}" for kind in stage.blind)]
    if not rows and not remarks:
        return
    yield ""
    told = " and ".join(name for name, there in (("largest differences", rows), ("notes", remarks)) if there)
    yield f"<details><summary>{stage.stage}: {told}</summary>"
    yield ""
    if rows:
        yield "| comparison | probe | max | noise | limit | ratio |"
        yield "|---|---|--:|--:|--:|--:|"
        yield from (_numbers(verdict) for verdict in rows)
        yield ""
    if remarks:
        yield from _listed(remarks)
        yield ""
    yield "</details>"


def _numbers(v: Verdict) -> str:
    ratio = f"{v.ratio:.2g}" if v.difference.status == "ok" else v.status
    numbers = " | ".join(f"{x:.1e}" for x in (v.difference.max_abs, v.noise, v.limit))
    return f"| {_name(v.name)} | {_plain(v.probe)} | {numbers} | {ratio} |"


def _listed(remarks: Sequence[str]) -> Iterator[str]:
    yield from (f"- {_plain(remark)}" for remark in remarks[:_NOTES])
    if len(remarks) > _NOTES:
        yield f"- … and {len(remarks) - _NOTES} more"


def _plain(text: str) -> str:
    """Text in which nothing is taken for markup, on one line and of bearable length."""
    text = " ".join(text.split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return _SPECIAL.sub(r"\\\1", text)


def _name(name: str) -> str:
    """A name as code, where it can be written so within a table."""
    return _plain(name) if re.search(r"[`|\s\\]", name) else f"`{name}`"


def _code(text: str) -> Iterator[str]:
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    yield from (fence, text, fence)
