"""The whole benchmark: every bug that fits, every harmless rewrite and a number of clean cases, in worker processes."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from align.errors import CannotCompareError
from align.selftest.outcome import ERROR, Clean, Outcome
from align.selftest.pool import Job, JobError, Pool

NAMED_SHARE = 0.95  # of the bugs, whose module is to be named first
SCHEMA = 1

_JUDGE, _CLEAN = "align.selftest.judge", "align.selftest.clean"


@dataclass(frozen=True)
class Request:
    """What is to be run. `only` is a pattern for names; `clean` the number of clean cases of each model."""

    models: Sequence[str]
    sides: Sequence[str] = ("paddle",)
    only: str = ""
    clean: int = 40
    jobs: int = 1
    all_stages: bool = False


@dataclass(frozen=True)
class Result:
    """What came of it all."""

    bugs: Sequence[Outcome]
    clean: Sequence[Clean]
    seconds: float

    @property
    def counted(self) -> list[Outcome]:
        """The bugs that change something."""
        return [outcome for outcome in self.bugs if outcome.counts]

    @property
    def alarms(self) -> list[Clean]:
        """Clean pairs that were not green."""
        return [case for case in self.clean if not case.is_green]

    @property
    def passed(self) -> bool:
        """All found by the stage that must, nearly all by name, and no false alarm."""
        counted = self.counted
        named = sum(outcome.is_named for outcome in counted)
        return all(o.is_found for o in counted) and not named < NAMED_SHARE * len(counted) and not self.alarms

    def of(self, model: str) -> "Result":
        """The part of one architecture."""
        mine = [outcome for outcome in self.bugs if outcome.model == model]
        return replace(self, bugs=mine, clean=[case for case in self.clean if case.model == model])

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "seconds": self.seconds,
            "bugs": [outcome.as_json() for outcome in self.bugs],
            "clean": [case.as_json() for case in self.clean],
        }


@dataclass(frozen=True)
class _Task:
    """A job, and what stands for its result if it comes to no end."""

    job: Job
    failed: Callable[[str], Outcome | Clean]


def listed(request: Request) -> tuple[list[Outcome], list[str]]:
    """The bugs and the harmless rewrites that a run would try."""
    with Pool(request.jobs) as pool:
        tasks = list(_tasks(request, pool))
    results = [task.failed("") for task in tasks]
    return [r for r in results if isinstance(r, Outcome)], [r.name for r in results if isinstance(r, Clean)]


def run(request: Request, visible: bool = False) -> Result:
    """Run it all.

    Raises:
        CannotCompareError: a pattern that matches nothing.
    """
    started = time.perf_counter()
    bugs: dict[int, Outcome] = {}
    clean: dict[int, Clean] = {}
    with Pool(request.jobs) as pool, _Watch(visible) as watch:
        tasks = list(_tasks(request, pool))
        for number, result in pool.run([task.job for task in tasks]):
            if isinstance(result, JobError):
                result = tasks[number].failed(str(result).splitlines()[-1])
            if isinstance(result, Outcome):
                bugs[number] = result
            else:
                clean[number] = result
            watch.show(len(tasks), len(bugs) + len(clean), result)
    in_order = [bugs[n] for n in sorted(bugs)], [clean[n] for n in sorted(clean)]
    return Result(*in_order, time.perf_counter() - started)


def _tasks(request: Request, pool: Pool) -> Iterator[_Task]:
    pattern, count = re.compile(request.only), 0
    for model in request.models:
        for task in _of_model(request, model, pool):
            standing = task.failed("")
            name = standing.name if isinstance(standing, Clean) else standing.identity
            if pattern.search(name):
                count += 1
                yield task
    if not count:
        raise CannotCompareError(
            f"--only {request.only!r} matches no name: `python -m align selftest --list` shows them"
        )


def _of_model(request: Request, model: str, pool: Pool) -> Iterator[_Task]:
    for side in request.sides:
        bugs, rewrites = _ask(pool, (_JUDGE, "outcomes", (model, side)), (_CLEAN, "rewrite_names", (model, side)))
        for n, bug in enumerate(bugs):
            job = Job(_JUDGE, "judge_number", (model, side, n, request.all_stages))
            yield _Task(job, _failed_bug(bug))
        for n, name in enumerate(rewrites):
            yield _Task(Job(_CLEAN, "judge_rewrite", (model, side, n)), _failed_clean(name, model))
    for n in range(request.clean):
        yield _Task(Job(_CLEAN, "judge_clean", (model, n)), _failed_clean(f"clean {n}:", model))


def _failed_bug(bug: Outcome) -> Callable[[str], Outcome]:
    return lambda why: replace(bug, status=ERROR, why=why)


def _failed_clean(name: str, model: str) -> Callable[[str], Clean]:
    return lambda why: Clean(name, model, f"python -m align selftest --model {model} --only '{name}'", error=why)


def _ask(pool: Pool, *questions: tuple[str, str, tuple[Any, ...]]) -> list[Any]:
    answers = dict(pool.run([Job(*question) for question in questions]))
    for answer in answers.values():
        if isinstance(answer, JobError):
            raise CannotCompareError(f"the bugs cannot be listed: {str(answer).splitlines()[-1]}")
    return [answers[n] for n in range(len(questions))]


class _Watch:
    """One bar over all, with what was done last; silent where nobody watches the terminal."""

    def __init__(self, visible: bool) -> None:
        console = Console(stderr=True)
        self._progress: Progress | None = None
        if visible and console.is_terminal:
            columns = (
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}"),
            )
            self._progress = Progress(*columns, console=console, transient=True)
            self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "_Watch":
        self._shown: AbstractContextManager[object] = self._progress or nullcontext()
        self._shown.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._shown.__exit__(*exception)

    def show(self, total: int, done: int, last: Outcome | Clean) -> None:
        if self._progress:
            name = last.name if isinstance(last, Clean) else f"{last.kind} {last.name}"
            self._progress.update(self._task, total=total, completed=done, description=f"{last.model} {name}")
