"""What the user sees: a bar while bytes are written, a summary of each conversion, a table of several."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from convert.command.job import Job

Advance = Callable[[int], object]


@contextmanager
def progress(jobs: Sequence[Job]) -> Iterator[Callable[[Job], Advance]]:
    """One bar over the bytes of all jobs; for a job that begins now, what is to be told its bytes.

    Silent where standard error is no terminal; rich is imported only there.
    """
    if not sys.stderr.isatty():
        yield lambda job: int
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.SpinnerColumn(),
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=sum(job.nbytes for job in jobs))

        def begin(job: Job) -> Advance:
            bar.update(task, description=job.source.name)
            return lambda count: bar.advance(task, count)

        yield begin


def plan_text(job: Job) -> str:
    """Every tensor of the plan, one a line."""
    steps = job.transfer.plan.steps if job.transfer else ()
    return "\n".join(f"{step.rule}  {step.source} → {step.target} {step.shape}" for step in steps)


def summary(job: Job) -> str:
    """What was done, in one line, and a line for each reason to drop tensors and for the agreement of both sides."""
    transfer = job.transfer
    if transfer is None:
        return job.error
    done = "would write" if job.status == "planned" else "wrote and verified" if job.options.verify else "wrote"
    used = ", ".join(f"{count} {kind}" for kind, count in sorted(transfer.plan.rules_used.items()))
    size = f"{len(transfer.tensors)} tensors, {transfer.nbytes / 1e6:.1f} MB"
    route = f"{job.model}, {transfer.source.layout} → {transfer.target}"
    lines = [f"{route}: {done} {size} in {job.seconds:.1f} s to {job.destination} (rules: {used})"]
    if transfer.source.derived:
        options = ", ".join(f"{name} {value}" for name, value in transfer.source.config.items())
        lines.append(f"derived config.json: {options}")
    for why, names in transfer.plan.reasons.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"dropped {names[0]}{others}: {why}")
    lines += [f"both sides on fake data: {job.agreement.verdict}"] if job.agreement else []
    return "\n".join(lines)


def table(jobs: Sequence[Job]) -> str:
    """One line a job, in columns, and the reasons of those that failed below."""
    rows = [("folder", "model", "from", "tensors", "MB", "s", "result")]
    for job in jobs:
        layout, count = (job.transfer.source.layout, len(job.transfer.tensors)) if job.transfer else ("", "")
        size = f"{job.nbytes / 1e6:.1f}" if job.transfer else ""
        rows.append((job.source.name, job.model, layout, f"{count}", size, f"{job.seconds:.1f}", job.status))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
