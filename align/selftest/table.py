"""The result of the benchmark as people read it: a table of each stage, the counts, and the false alarms."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from align.selftest.outcome import ERROR, MISSED, SKIPPED, Clean, Outcome
from align.selftest.runner import Result
from align.stages import STAGES

_NAMES = 30  # columns at least for the names of bugs, and as many for those of modules
_YES, _NO, _NOTHING = "[green]yes[/green]", "[red]NO[/red]", "[dim]–[/dim]"


def show(result: Result, console: Console, quiet: bool = False) -> None:
    """Print the whole result, or only the counts."""
    for model in dict.fromkeys([*(o.model for o in result.bugs), *(c.model for c in result.clean)]):
        part = result.of(model)
        for stage in [] if quiet else _stages(part.bugs):
            console.print(_table(f"{model}: {stage}", [o for o in part.bugs if o.stage == stage]))
        for line in _counts(model, part):
            console.print(line, highlight=False, soft_wrap=True)
    verdict = "[green]ALL FOUND[/green]" if result.passed else "[red]NOT PROVED[/red]"
    console.print(f"{verdict} in {result.seconds:.0f} s", highlight=False)


def show_list(bugs: Sequence[Outcome], rewrites: Sequence[str], console: Console) -> None:
    """Print what would be tried."""
    table = Table("kind", "bug", "blamed on", "stage", box=None)
    for o in bugs:
        table.add_row(o.kind, escape(o.name), escape(o.blamed), o.stage)
    console.print(table)
    console.print(f"{len(bugs)} bugs; harmless and clean: {len(rewrites)}", highlight=False)


def _stages(bugs: Sequence[Outcome]) -> list[str]:
    present = {o.stage for o in bugs}
    return [stage for stage in STAGES if stage in present] + sorted(present - STAGES.keys())


def _table(title: str, bugs: Sequence[Outcome]) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("kind")
    for column in ("bug", "where"):
        table.add_column(column, overflow="fold", min_width=_NAMES)
    for column in ("found", "named first", "explained"):
        table.add_column(column, overflow="fold")
    table.add_column("ratio", justify="right", no_wrap=True)
    for o in bugs:
        where = escape(o.blamed) + "".join(f" [dim]{k}={v}[/dim]" for k, v in o.circumstances.items())
        ratio = "" if o.ratio is None else f"{o.ratio:.1e}"
        style = "dim" if o.status == SKIPPED else None
        table.add_row(o.kind, escape(o.name), where, _found(o), _named(o), _explained(o), ratio, style=style)
    return table


def _found(o: Outcome) -> str:
    others = {SKIPPED: "no effect", ERROR: "[red]ERROR[/red]", MISSED: _NO}
    return _YES if o.is_found else others.get(o.status, f"[red]by {o.found_by}[/red]")


def _named(o: Outcome) -> str:
    if not o.named:
        return _NO if o.is_found else _NOTHING
    return _YES if o.is_named else f"[red]{escape(o.named)}[/red]"


def _explained(o: Outcome) -> str:
    if o.explained is None:
        return _NOTHING
    return _YES if o.explained else f"[red]WRONG: {escape(o.explanation)}[/red]"


def _counts(model: str, part: Result) -> list[str]:
    lines = []
    if part.counted:
        n, found, named, explained, wrong = counts(part.counted)
        skipped = len(part.bugs) - n
        lines.append(
            f"[bold]{model}[/bold]: {n} bugs, {found} found ({_share(found, n)}), {named} by the right module "
            f"({_share(named, n)}), {explained} explained ({_share(explained, n)}), {wrong} wrongly; "
            f"{skipped} more have no effect here"
        )
    for o in [o for o in part.counted if not o.is_named]:
        what = f"names {o.named} first" if o.is_found else "found by another stage" if o.found_by else o.status
        lines += [f"  [red]{escape(what)}[/red] {escape(o.identity)}: {escape(o.why)}"]
    for what, cases in _sorts(part.clean):
        green = sum(case.is_green and not case.skipped for case in cases)
        tried = sum(not case.skipped for case in cases)
        lines.append(f"[bold]{model}[/bold]: {what} green: {green} of {tried}")
    for case in part.alarms:
        lines += [f"  [red]false alarm[/red] {escape(case.name)}: {escape(case.error or '; '.join(case.alarms))}"]
        lines += [f"    {escape(case.command)}"]
    return lines


def _sorts(clean: Sequence[Clean]) -> list[tuple[str, list[Clean]]]:
    rewrites = [case for case in clean if case.name.startswith("rewrite")]
    others = [case for case in clean if case not in rewrites]
    return [(what, cases) for what, cases in (("harmless rewrites", rewrites), ("clean cases", others)) if cases]


def counts(bugs: Sequence[Outcome]) -> tuple[int, int, int, int, int]:
    """How many bugs there are, are found, are named, are explained, and are explained wrongly."""
    return (
        len(bugs),
        sum(o.is_found for o in bugs),
        sum(o.is_named for o in bugs),
        sum(o.explained is True for o in bugs),
        sum(o.explained is False for o in bugs),
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if part == whole else f"{100 * part / whole:.1f} %"


def markdown(result: Result) -> str:
    """The counts of each architecture and stage, as a table for a README."""
    rows = ["| model | stage | bugs | found | right module first | explained |", "|---|---|---|---|---|---|"]
    models = list(dict.fromkeys(o.model for o in result.counted))
    for model in models:
        part = result.of(model).counted
        rows += [_row(model, stage, [o for o in part if o.stage == stage]) for stage in _stages(part)]
        rows.append(_row(f"**{model}**", "**all**", part))
    lines = [
        f"{what} green: {sum(c.is_green for c in cases)} of {len(cases)}" for what, cases in _sorts(_tried(result))
    ]
    return "\n".join([*rows, "", *(f"{line}.\n" for line in lines)])


def _tried(result: Result) -> list[Clean]:
    return [case for case in result.clean if not case.skipped]


def _row(model: str, stage: str, bugs: Sequence[Outcome]) -> str:
    n, found, named, explained, _ = counts(bugs)
    return f"| {model} | {stage} | {n} | {found} | {named} | {explained} |"
