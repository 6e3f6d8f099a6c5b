"""The options of the command line that name files for reports."""

import argparse
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from align.errors import CannotCompareError
from align.files import write_text
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
        CannotCompareError: a file in a folder that does not exist.
    """
    for kind in _FILES:
        file: Path | None = getattr(options, kind)
        if file and file.is_dir():
            raise CannotCompareError(f"--{kind} {file}: this is a folder, name a file")
        if file and not file.resolve().parent.is_dir():
            raise CannotCompareError(f"--{kind} {file}: there is no folder {file.resolve().parent}, make it first")


def write(report: Report, options: argparse.Namespace) -> None:
    """Write the reports that were asked for.

    Raises:
        CannotCompareError: a file that cannot be written.
    """
    for kind in _FILES:
        if file := getattr(options, kind):
            render = importlib.import_module(f"align.reports.{kind}").render  # what nobody asks for costs no time
            with _refusal(f"--{kind} {file}"):
                write_text(file, render(report))
    if options.out:
        with _refusal(f"--out {options.out}"):
            report.save(options.out)


@contextmanager
def _refusal(option: str) -> Iterator[None]:
    """Say by what the user has named, not by the temporary file beside it, what could not be written."""
    try:
        yield
    except OSError as error:
        raise CannotCompareError(f"{option}: cannot be written: {error.strerror}, choose another place") from error
