"""The report as people read it in a terminal: the verdict first, then what is wrong, stage by stage."""

import io
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from align.edges import ROOT, module_of
from align.report import Report
from align.reports import words
from align.stage import NOT_COMPARED, FreeRun, Omission, StageReport
from align.verdict import Verdict

WIDTH = 110
_SHOWN = 5
_FINDINGS = 8  # of one stage; the others are counted


def render(report: Report) -> str:
    """A report as plain text."""
    stream = io.StringIO()
    show(report, Console(file=stream, width=WIDTH, color_system=None))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def terminal() -> Console:
    """Standard output; where nobody's terminal says how wide, wide enough for the names of modules."""
    return _Terminal(width=None if sys.stdout.isatty() else WIDTH)


class _Terminal(Console):
    """Standard output, which may not be read to its end, as in `… | head`: the exit code still tells the verdict."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def show(report: Report, console: Console, verbose: bool = False) -> None:
    """Print a report; with `verbose` every edge, not only those nearest to their limit."""
    versions = f"({escape(words.versions(report))})"
    console.print(
        f"[bold]{escape(words.title(report))}[/bold]  seed {report.case.get('seed', 0)}  {versions}", highlight=False
    )
    console.print(headline(report), highlight=False, soft_wrap=True)
    before: StageReport | Omission | None = None
    for stage in words.in_order(report):
        if not (isinstance(before, Omission) and isinstance(stage, Omission)):
            console.print()
        if isinstance(stage, Omission):
            _show_omission(stage, console)
        else:
            _show_stage(stage, console, verbose)
        before = stage
    if verbose:
        console.print()
        console.print(headline(report), highlight=False, soft_wrap=True)


def headline(report: Report) -> Text:
    """The verdict in one line."""
    style = "green" if report.passed else "red" if report.is_red else "yellow"
    return Text(report.headline, style=style)


def _show_omission(omission: Omission, console: Console) -> None:
    colour = "yellow" if omission.status == NOT_COMPARED else "dim"
    line = f"[{colour}]–[/{colour}] [bold]{omission.stage}[/bold]  {escape(words.omitted(omission))}"
    console.print(line, highlight=False, soft_wrap=True)


def _show_stage(stage: StageReport, console: Console, verbose: bool) -> None:
    mark = "[green]✓[/green]" if stage.passed else "[red]✗[/red]"
    _line(console, f"{mark} [bold]{stage.stage}[/bold]  {words.result(stage)}")
    warning = words.proves_nothing(stage)
    if warning:
        _line(console, f"  [yellow]{escape(warning)}[/yellow]")
    _show_findings(stage, console)
    if verbose or not stage.passed:
        shown = stage.verdicts if verbose else words.nearest(stage.verdicts, _SHOWN)
        console.print(_edges(shown, "every edge" if verbose else "nearest to the limit"))
    if stage.free_run and (verbose or not stage.passed):
        console.print(_free_run(stage.free_run, verbose))
    elif stage.free_run:
        _line(console, f"  {escape(_end_to_end(stage.free_run))}")
    for note in stage.notes:
        _line(console, f"  [yellow]note[/yellow] {escape(note)}")
    if stage.blind:
        console.print(f"  These probes are blind to: {escape('; '.join(stage.blind))}", highlight=False)


def _show_findings(stage: StageReport, console: Console) -> None:
    for number, finding in enumerate(stage.blame[:_FINDINGS]):
        if number == 0:
            _line(console, f"  first divergence: {escape(finding.edge)}")
        _line(console, f"  [red]✗ {escape(finding.module)}[/red]: {escape(finding.why)}")
        cause = words.cause(finding)
        if cause:
            _line(console, f"    explained: {escape(cause)}")
    if len(stage.blame) > _FINDINGS:
        _line(console, f"  … and {len(stage.blame) - _FINDINGS} more")
    if stage.blame and words.is_replayed(stage):
        _line(console, f"    {words.LOOK_AT_THE_FIRST}")


def _line(console: Console, markup: str) -> None:
    console.print(markup, highlight=False, soft_wrap=True)


def _edges(verdicts: Sequence[Verdict], title: str) -> Table:
    table = _table(title, "module edge", "probe", "max", "noise", "limit", "ratio")
    for v in verdicts:
        numbers = (f"{x:.1e}" for x in (v.difference.max_abs, v.noise, v.limit))
        ratio = f"{v.ratio:.2g}" if v.difference.status == "ok" else v.status
        table.add_row(escape(v.name), escape(v.probe), *numbers, ratio, style=None if v.passed else "red")
    return table


def _free_run(run: FreeRun, verbose: bool) -> Table:
    """What the model returns, and with `verbose` every module, in plain float32."""
    table = _table("float32 from end to end", "output", "mean", "max", "largest value")
    for edge, d in run.differences.items():
        if verbose or module_of(edge) == ROOT:
            table.add_row(escape(edge), f"{d.mean_abs:.2e}", f"{d.max_abs:.2e}", f"{d.scale:.2e}")
    return table


def _end_to_end(run: FreeRun) -> str:
    """The same in one line."""
    outputs = [
        f"{edge.partition(':')[2]} {d.max_abs:.1e} of {d.scale:.1e}"
        for edge, d in run.differences.items()
        if module_of(edge) == ROOT
    ]
    more = f" and {len(outputs) - 3} more" if len(outputs) > 3 else ""
    return f"float32 from end to end, largest difference: {', '.join(outputs[:3])}{more}"


def _table(title: str, name: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="dim", box=None, pad_edge=True)
    table.add_column(name, overflow="fold", min_width=52)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
