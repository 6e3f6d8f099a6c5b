"""The report as people read it in a terminal."""

import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from align.edges import ROOT, module_of
from align.stage import FreeRun, StageReport
from align.verdict import Verdict

WIDTH = 110
_SHOWN = 5
Facts = Mapping[str, Any]


def render(case: Facts, environment: Facts, stages: Sequence[StageReport]) -> str:
    """A report as plain text."""
    stream = io.StringIO()
    show(case, environment, stages, Console(file=stream, width=WIDTH, color_system=None))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def terminal() -> Console:
    """Standard output; where nobody's terminal says how wide, wide enough for the names of modules."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def show(
    case: Facts, environment: Facts, stages: Sequence[StageReport], console: Console, verbose: bool = False
) -> None:
    """Print a report; with `verbose` every edge, not only those nearest to their limit."""
    title = " ".join(str(case[key]) for key in ("model", "task", "variant") if key in case)
    versions = " against ".join(str(environment[key]) for key in ("torch", "paddle") if key in environment)
    console.print(f"[bold]{escape(title)}[/bold]  seed {case.get('seed', 0)}  ({escape(versions)})", highlight=False)
    for stage in stages:
        _show_stage(stage, console, verbose)
    console.print(headline(stages), highlight=False)


def headline(stages: Sequence[StageReport]) -> Text:
    """The verdict in one line."""
    blame = next((stage.blame[0] for stage in stages if stage.blame), None)
    if blame is not None:
        return Text(f"NO PARITY: first divergence at {blame.edge}, blamed on {blame.module}", style="red")
    verdicts = [verdict for stage in stages for verdict in stage.verdicts]
    if not all(stage.passed for stage in stages) or not verdicts:
        return Text("NO PARITY: nothing was compared", style="red")
    agreeing = [verdict.ratio for verdict in verdicts if verdict.passed]
    others = len(verdicts) - len(agreeing)
    count = f"{len(agreeing)} comparisons agree" + (f", {others} differ harmlessly" if others else "")
    return Text(f"PARITY: {count}; the worst stands at {max(agreeing, default=0.0):.2g} of its limit", style="green")


def _show_stage(stage: StageReport, console: Console, verbose: bool) -> None:
    console.print(
        f"\n[bold]{stage.stage}[/bold]  {len(stage.verdicts)} comparisons in {stage.seconds:.1f} s", highlight=False
    )
    for finding in stage.blame:
        console.print(
            f"  [red]✗ {escape(finding.module)}[/red]: {escape(finding.why)}", highlight=False, soft_wrap=True
        )
        if "explanation" in finding.evidence:
            console.print(f"    {escape(_cause(finding.evidence['explanation']))}", highlight=False, soft_wrap=True)
    if stage.blame and any(verdict.kind in ("input", "gradient") for verdict in stage.verdicts):
        console.print(
            "    Look at the first: its inputs were the reference's own, so the fault is in its code or weights."
        )
    shown = stage.verdicts if verbose else _worst(stage.verdicts)
    console.print(_edges(shown, "every edge" if verbose else "nearest to the limit"))
    if stage.free_run:
        console.print(_free_run(stage.free_run, verbose))
    for note in stage.notes:
        console.print(f"  [yellow]note[/yellow] {escape(note)}", highlight=False, soft_wrap=True)
    if stage.blind:
        console.print(f"  These probes are blind to: {escape('; '.join(stage.blind))}", highlight=False)


def _cause(explanation: Facts) -> str:
    """The cause, and what it leaves of the difference where that was measured."""
    left = f"{explanation['residual']:.1e}" if explanation.get("residual") else "nothing"
    measured = f" (which leaves {left} of the difference)" if "residual" in explanation else ""
    return f"explained: {explanation['text']}{measured}"


def _worst(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return sorted(verdicts, key=lambda v: (v.difference.status == "ok", -v.ratio))[:_SHOWN]


def _edges(verdicts: Sequence[Verdict], title: str) -> Table:
    table = _table(title, "module edge", "probe", "max", "noise", "limit", "ratio")
    for v in verdicts:
        numbers = (f"{x:.1e}" for x in (v.difference.max_abs, v.noise, v.limit))
        ratio = f"{v.ratio:.2g}" if v.difference.status == "ok" else v.status
        table.add_row(escape(v.name), v.probe, *numbers, ratio, style=None if v.passed else "red")
    return table


def _free_run(run: FreeRun, verbose: bool) -> Table:
    """What the model returns, and with `verbose` every module, in plain float32."""
    table = _table("float32 from end to end", "output", "mean", "max", "largest value")
    for edge, d in run.differences.items():
        if verbose or module_of(edge) == ROOT:
            table.add_row(escape(edge), f"{d.mean_abs:.2e}", f"{d.max_abs:.2e}", f"{d.scale:.2e}")
    return table


def _table(title: str, name: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="dim", box=None, pad_edge=True)
    table.add_column(name, overflow="fold", min_width=52)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
