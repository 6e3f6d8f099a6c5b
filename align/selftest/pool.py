"""Jobs in worker processes: one at a time in each, and the death of one costs a job, not the run."""

import importlib
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

LIMIT = 600.0  # seconds for one job


@dataclass(frozen=True)
class Job:
    """A function of a module, by name, with arguments that can be pickled."""

    module: str
    function: str
    arguments: tuple[Any, ...] = ()


class JobError(Exception):
    """A job raised, took too long, or ended its process."""


class Pool:
    """A context in which jobs run; each worker has one thread of each numerical library.

    Temporary files of the workers are gone at its end, however those ended.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Pool":
        self._folder = tempfile.TemporaryDirectory(prefix="plumbline-")
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.end()
        self._folder.cleanup()

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
        """The number of each job and its result, or the JobError that came instead, as they are done."""
        waiting = list(range(len(jobs)))[::-1]
        while waiting or any(worker.job is not None for worker in self._workers):
            self._start(min(self._count, len(waiting)))
            for worker in self._workers:
                if worker.job is None and waiting:
                    worker.give(number := waiting.pop(), jobs[number])
            busy = [worker for worker in self._workers if worker.job is not None]
            ready = wait([worker.pipe for worker in busy], timeout=1.0)
            for worker in busy:
                if worker.pipe in ready or worker.is_late:
                    number, result = worker.take()
                    if worker.is_dead:
                        self._workers.remove(worker)
                    yield number, result

    def _start(self, wanted: int) -> None:
        idle = sum(worker.job is None for worker in self._workers)
        for _ in range(min(wanted - idle, self._count - len(self._workers))):
            self._workers.append(_Worker(self._folder.name))


class _Worker:
    def __init__(self, folder: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _environment(OMP_NUM_THREADS="1", GLOG_minloglevel="3", TMPDIR=folder):
            self._process.start()
        theirs.close()
        self.job: int | None = None
        self.is_dead = False
        self._since = 0.0

    @property
    def is_late(self) -> bool:
        return time.monotonic() - self._since > LIMIT

    def give(self, number: int, job: Job) -> None:
        self.job, self._since = number, time.monotonic()
        self.pipe.send(job)

    def take(self) -> tuple[int, Any]:
        assert self.job is not None
        number, self.job = self.job, None
        try:
            if not self.pipe.poll():
                raise TimeoutError
            return number, self.pipe.recv()
        except TimeoutError:
            result = JobError(f"took longer than {LIMIT:.0f} s")
        except EOFError:
            self._process.join()
            result = JobError(f"its process ended with code {self._process.exitcode}")
        self.end()
        return number, result

    def end(self) -> None:
        self.is_dead = True
        self._process.terminate()
        self._process.join()
        self.pipe.close()


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables that a child process is started with."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Connection) -> None:
    """Run jobs until the pipe is closed; what the frameworks print goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        try:
            result = getattr(importlib.import_module(job.module), job.function)(*job.arguments)
        except Exception:
            result = JobError(traceback.format_exc().strip())
        pipe.send(result)
