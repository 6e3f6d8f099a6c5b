"""`python -m align diff EXPECTED ACTUAL`: two files that were recorded apart."""

import argparse
import time
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from align.errors import CannotCompareError
from align.files import check_file, refusal, write_text
from align.gates import Gates, read_settings
from align.gates.options import limit
from align.recording.arrays import read_arrays
from align.recording.file import is_recording
from align.recording.reprod import THRESHOLD, log_text
from align.recording.tolerance import Tolerance, findings, judge_arrays
from align.report import Report, write_json
from align.stage import StageReport

SUMMARY = "two files that were recorded apart: reprod_log's .npy, .npz, or recordings of ours"
_SHOWN = 20  # rows of the table

EXAMPLES = """\
examples:
  python -m align diff forward_torch.npy forward_paddle.npy
      two files of reprod_log, held to its own 1e-6 on the mean, but with nothing broadcast, transposed or forgiven
  python -m align diff expected.npz actual.npz --atol 1e-6 --rtol 1e-5
  python -m align diff forward_torch.npy forward_paddle.npy --mean-atol 1e-6 --log diff.log --json diff.json
      with the lines that reprod_log would have logged
  python -m align diff funnel.torch funnel.paddle
      two recordings of --record: the verdict again, with neither framework installed. One that was recorded --against
      the other is judged module by module on the same inputs; of two made apart each ran on its own values

The files are read without unpickling anything: what asks for more than arrays is refused.
exit code: 0 they agree, 1 they do not, 2 could not compare (one line says why)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("expected", type=Path, metavar="EXPECTED", help="the reference's file")
    parser.add_argument("actual", type=Path, metavar="ACTUAL", help="the port's file")
    limits = parser.add_argument_group("what floats may differ by (default: --mean-atol 1e-6, as reprod_log)")
    for name, text in (
        ("--mean-atol", "mean |actual − expected| of each array"),
        ("--atol", "|actual − expected| of each element, beside --rtol"),
        ("--rtol", "the same for each unit of |expected|"),
    ):
        limits.add_argument(name, type=limit, metavar="X", help=text)
    output = parser.add_argument_group("what is written")
    output.add_argument("--json", type=Path, metavar="FILE", help="the whole report for programs")
    output.add_argument("--log", type=Path, metavar="FILE", help="the lines that reprod_log would have logged")
    output.add_argument("--quiet", action="store_true", help="only the verdict, in one line")


def run(options: argparse.Namespace) -> bool:
    """Compare, print and write; whether the two files agree."""
    check_file("--json", options.json)
    check_file("--log", options.log)
    recorded = [is_recording(path) for path in (options.expected, options.actual)]
    if any(recorded) and not all(recorded):
        one, other = (options.expected, options.actual) if recorded[0] else (options.actual, options.expected)
        raise CannotCompareError(f"{one} is a recording and {other} is none: compare two of a kind")
    report = _of_recordings(options) if all(recorded) else _of_arrays(options)
    if options.json:
        with refusal("--json", options.json):
            write_json(options.json, report)
    return report.passed


def _of_recordings(options: argparse.Namespace) -> Report:
    """Two recordings of ours: judged by noise floors, so no tolerance is asked for."""
    from align.progress import Steps
    from align.recording.apart import compare_recordings
    from align.recording.file import Recording
    from align.reports.text import headline, show, terminal

    named = [name for name in ("mean_atol", "atol", "rtol", "log") if getattr(options, name) is not None]
    if named:
        raise CannotCompareError(
            f"--{named[0].replace('_', '-')}: recordings are judged by their noise floors; leave it out"
        )
    expected, actual = Recording(options.expected), Recording(options.actual)
    gates = Gates(read_settings(str(expected.manifest["case"].get("model"))))
    report = gates.finish(compare_recordings(expected, actual, Steps(visible=not options.quiet), gates))
    if options.quiet:
        terminal().print(headline(report).append(gates.mark), soft_wrap=True)
    else:
        show(report, terminal())
    return report


def _of_arrays(options: argparse.Namespace) -> Report:
    started = time.perf_counter()
    expected, actual = read_arrays(options.expected), read_arrays(options.actual)
    allowed = Tolerance.of(options.mean_atol, options.atol, options.rtol)
    verdicts = judge_arrays(expected, actual, allowed)
    stage = StageReport("diff", time.perf_counter() - started, verdicts, findings(verdicts))
    case = {"expected": str(options.expected), "actual": str(options.actual), "tolerance": allowed.as_json()}
    report = Report(case, {"numpy": np.__version__}, (stage,))
    _show(report, options.quiet)
    if options.log:
        text = log_text(expected, actual, THRESHOLD if allowed.mean_atol is None else allowed.mean_atol)
        with refusal("--log", options.log):
            write_text(options.log, text)
    return report


def _show(report: Report, quiet: bool) -> None:
    from align.reports.text import terminal

    console, stage = terminal(), report.stages[0]
    if not quiet:
        table = Table(box=None, pad_edge=False)
        table.add_column("array", overflow="fold")
        for column in ("shape", "judged", "difference", "allowed", "worst at"):
            table.add_column(column, justify="right")
        rows = sorted(stage.verdicts, key=lambda v: (v.passed, -v.ratio))
        for v in rows[:_SHOWN]:
            d = v.difference
            numbers = [f"{d.max_abs:.2e}", f"{v.limit:.2e}"] if d.status == "ok" else [v.status, ""]
            where = "" if d.worst_at is None else str(d.worst_at)
            style = None if v.passed else "red"
            table.add_row(escape(v.name), str(d.shape), v.kind, *numbers, where, style=style)
        console.print(table)
        if len(rows) > _SHOWN:
            console.print(f"… and {len(rows) - _SHOWN} more, nearer to what is expected (--json has all)")
        for found in stage.blame:
            console.print(f"[red]✗ {escape(found.module)}[/red]: {escape(found.why)}", highlight=False, soft_wrap=True)
    console.print(_verdict(stage), highlight=False, soft_wrap=True)


def _verdict(stage: StageReport) -> Text:
    """The verdict in one line."""
    count = len({v.name for v in stage.verdicts})
    if not stage.blame:
        worst = max(v.ratio for v in stage.verdicts)
        return Text(f"SAME: {count} arrays agree; the worst stands at {worst:.2g} of its limit", style="green")
    first = stage.blame[0]
    text = f"DIFFERENT: {len(stage.blame)} of {count} arrays differ, the first is {first.module}: {first.why}"
    return Text(text, style="red")
