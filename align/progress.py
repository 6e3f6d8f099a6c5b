"""Progress on standard error: one bar over the passes of a comparison, with what is being done now."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Steps:
    """Shows each step with a bar over its module calls; silent when `visible` is false or nobody watches the
    terminal.
    """

    def __init__(self, visible: bool = False) -> None:
        console = Console(stderr=True)
        self.calls = 0  # module calls in one pass, known after the first
        self._stage = ""
        self._progress: Progress | None = None
        if visible and console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
            self._progress = Progress(*columns, console=console, transient=True)

    def shown(self) -> AbstractContextManager[object]:
        """Keep the display open for the duration of a stage."""
        return self._progress or nullcontext()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name the stage that the steps inside belong to."""
        self._stage = f"{name}: "
        try:
            yield
        finally:
            self._stage = ""

    @contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """One step; the value is a callback that takes the number of module calls done, or what else `total` counts."""
        if self._progress is None:
            yield lambda done: None
            return
        progress = self._progress
        task = progress.add_task(self._stage + description, total=total or self.calls or None)
        try:
            yield lambda done: progress.update(task, completed=done)
        finally:
            progress.remove_task(task)
