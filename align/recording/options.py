"""Recording and comparing apart, on the command line."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.errors import CannotCompareError
from align.files import check_file
from align.gates import options as gates
from align.reports import options as reports

if TYPE_CHECKING:
    from align.report import Report

EXAMPLES = """\
  python -m align step1 --model funnel --framework torch --record funnel.torch
      where only torch is installed: what the comparison needs of it, into one file
  python -m align step1 --model funnel --against funnel.torch
      where only Paddle is installed: the same verdict as with both
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    apart = parser.add_argument_group("recorded apart (`python -m align diff --help`)")
    apart.add_argument("--framework", choices=("torch", "paddle"), help="the one framework that runs here")
    apart.add_argument("--record", type=Path, metavar="FILE", help="write what it answers, for another machine")
    apart.add_argument("--against", type=Path, metavar="FILE", help="a recording of torch that takes torch's place")


def check(options: argparse.Namespace) -> None:
    """Refuse combinations that mean nothing, and files that could not be written.

    Raises:
        CannotCompareError: it says what to leave out, or to add.
    """
    record, against = options.record, options.against
    if record and not (options.framework or against):
        raise CannotCompareError(
            "--record FILE records one side: name it with --framework, or the other with --against"
        )
    if options.framework and not (record or against):
        raise CannotCompareError(
            f"--framework {options.framework} runs one side alone: add --record FILE or --against FILE"
        )
    if options.reprod_log and (record or against):
        raise CannotCompareError("--reprod-log writes what two live sides have: leave out --record and --against")
    if record and not against and (unused := [*reports.named(options), *gates.named(options)]):
        raise CannotCompareError(
            f"{', '.join(unused)}: one side alone comes to no verdict; leave that out, or add --against FILE"
        )
    check_file("--record", record)


def is_named(options: argparse.Namespace) -> bool:
    """Whether only one side runs here."""
    return bool(options.framework or options.record or options.against)


def compare(options: argparse.Namespace, *plan: Any) -> "Report | None":
    """The report on a live side against a recording; None where one side is only recorded.

    `plan` is what `apart.Plan` takes, and the gates.
    """
    from align.recording.apart import Plan, compare_against, record_alone
    from align.recording.file import Recording
    from align.reports.text import terminal

    *parts, gates = plan
    planned = Plan(*parts)
    if options.against:
        expected = Recording(options.against)
        return compare_against(planned, expected, options.framework or "paddle", gates, options.record)
    made = record_alone(planned, options.framework, options.record)
    held, size = ", ".join(made.manifest["stages"]), options.record.stat().st_size / 2**20
    left = [stage for stage in planned.stages if stage not in made.manifest["stages"]]
    text = f"RECORDED: {held} of {options.framework} in {options.record} ({size:.1f} MiB)"
    terminal().print(text + (f"; not {', '.join(left)}" if left else ""), soft_wrap=True, highlight=False)
    return None
