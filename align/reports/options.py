"""The options of the command line that name files for reports."""

import argparse
import importlib
from pathlib import Path

from align.files import check_file, refusal, write_text
from align.report import Report

_FILES = {
    "json": "the whole report for programs",
    "html": "the whole report as one page for a browser",
    "junit": "the report as JUnit XML, which CI servers show as tests",
    "markdown": "a summary for a pull request",
}


def add_options(group: argparse._ArgumentGroup) -> None:
    """One option for each kind of report, and one for a folder."""
    for kind, what in _FILES.items():
        group.add_argument(f"--{kind}", type=Path, metavar="FILE", help=what)
    group.add_argument("--out", type=Path, metavar="DIR", help="report.txt, report.json and report.html in a folder")


def check(options: argparse.Namespace) -> None:
    """Refuse before the work, not after it, what could not be written.

    Raises:
        CannotCompareError: a file that is a folder, or in a folder that does not exist.
    """
    for kind in _FILES:
        check_file(f"--{kind}", getattr(options, kind))


def named(options: argparse.Namespace) -> list[str]:
    """The options that ask for a report."""
    return [f"--{kind}" for kind in (*_FILES, "out") if getattr(options, kind)]


def write(report: Report, options: argparse.Namespace) -> None:
    """Write the reports that were asked for.

    Raises:
        CannotCompareError: a file that cannot be written.
    """
    for kind in _FILES:
        if file := getattr(options, kind):
            render = importlib.import_module(f"align.reports.{kind}").render  # what nobody asks for costs no time
            with refusal(f"--{kind}", file):
                write_text(file, render(report))
    if options.out:
        with refusal("--out", options.out):
            report.save(options.out)
