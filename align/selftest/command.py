"""`python -m align selftest`: its options, and what it prints and writes."""

import argparse
import os
import re
from pathlib import Path

from align import registry
from align.errors import CannotCompareError

SIDES = {"torch": ("torch",), "paddle": ("paddle",), "both": ("paddle", "torch")}

SUMMARY = "inject every kind of porting bug and see that it is found, named and explained, and nothing else is"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--model", metavar="NAME", help="one architecture; default: all of them")
    parser.add_argument("--side", choices=SIDES, default="paddle", help="where the bugs are put; default: paddle")
    parser.add_argument("--only", default="", metavar="PATTERN", help="a regular expression for the names of --list")
    parser.add_argument("--list", action="store_true", help="show what would be tried, and try nothing")
    parser.add_argument("--clean", type=_count, default=40, metavar="N", help="clean cases of each model; default: 40")
    parser.add_argument("--all-stages", action="store_true", help="run all stages in order up to the first red one")
    parser.add_argument("--jobs", type=_count, metavar="N", help="processes at a time; default: one for each core")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the whole result for programs")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the counts as a table for a README")
    parser.add_argument("--quiet", action="store_true", help="only the counts")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def run(options: argparse.Namespace) -> bool:
    """Run the benchmark as the options say; whether it proves what it should.

    Raises:
        CannotCompareError: an unknown model, a bad pattern, or a file that could not be written.
    """
    from align.files import check_file, refusal, write_text
    from align.report import write_json
    from align.reports.text import terminal
    from align.selftest import runner, table

    check_file("--json", options.json)
    check_file("--markdown", options.markdown)
    request = runner.Request(
        models=_models(options.model),
        sides=SIDES[options.side],
        only=_pattern(options.only),
        clean=options.clean,
        jobs=options.jobs or os.cpu_count() or 1,
        all_stages=options.all_stages,
    )
    if options.list:
        table.show_list(*runner.listed(request), terminal())
        return True
    result = runner.run(request, visible=not options.quiet)
    table.show(result, terminal(), options.quiet)
    if options.json:
        with refusal("--json", options.json):
            write_json(options.json, result)
    if options.markdown:
        with refusal("--markdown", options.markdown):
            write_text(options.markdown, table.markdown(result))
    return result.passed


def _models(name: str | None) -> tuple[str, ...]:
    return registry.names() if name is None else (registry.known(name, registry.names(), "model"),)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise CannotCompareError(f"--only {text!r} is no regular expression: {error}") from error
    return text
