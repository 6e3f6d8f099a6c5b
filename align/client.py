"""How the harness reaches a session: in a worker process of its own, or in this process for debuggers and live
modules.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from align.errors import CannotCompareError
from align.operations import find

_ROOT = Path(__file__).resolve().parent.parent
OnProgress = Callable[[int], None]


class Pending(Protocol):
    """An answer that may still be on its way."""

    def result(self, on_progress: OnProgress = lambda _: None) -> Any: ...


class Client(Protocol):
    """A session reached by the names of its operations (see `operations.find`); calls are answered in order."""

    framework: str

    def submit(self, method: str, **arguments: Any) -> Pending: ...
    def close(self) -> None: ...


class InProcessClient:
    """Runs the session here and now."""

    def __init__(self, framework: str) -> None:
        from align.session import Session

        self.framework = framework
        self.session = Session(framework)

    def submit(self, method: str, **arguments: Any) -> Pending:
        return _Ready(find(self.session, method)(**arguments))

    def close(self) -> None:
        pass


class _Ready:
    def __init__(self, value: Any) -> None:
        self._value = value

    def result(self, on_progress: OnProgress = lambda _: None) -> Any:
        return self._value


class WorkerClient:
    """Runs the session in a worker process, with its own interpreter if `python` names one."""

    def __init__(self, framework: str, python: str | None = None, threads: int | None = None) -> None:
        self.framework = framework
        self._python = python or sys.executable
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 — closed by close()
        self._count = 0
        self._answers: dict[int, dict[str, Any]] = {}
        count = str(threads or os.cpu_count() or 1)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
            "OMP_NUM_THREADS": count,  # Paddle reads it at import and runs on one thread without it
            "OMP_WAIT_POLICY": "PASSIVE",  # two workers share the cores
        }
        try:
            self._process = subprocess.Popen(
                [self._python, "-m", "align.worker", framework],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._errors.close()
            raise CannotCompareError(f"--{framework}-python {self._python}: {error.strerror}") from error

    def submit(self, method: str, **arguments: Any) -> Pending:
        self._count += 1
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"id": self._count, "method": method, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return _Answer(self, self._count)

    def wait(self, request: int, on_progress: OnProgress) -> Any:
        """The answer to one request; answers to others that come first are kept."""
        while request not in self._answers:
            answer = self._read()
            if "progress" not in answer:
                self._answers[answer["id"]] = answer
            elif answer["id"] == request:
                on_progress(answer["progress"])
        answer = self._answers.pop(request)
        if "error" not in answer:
            return answer["result"]
        if answer["kind"] == "user":
            raise CannotCompareError(answer["error"])
        raise CannotCompareError(
            f"the {self.framework} worker failed: {_last_line(answer['error'])}\n{answer['error']}"
        )

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        return json.loads(line)

    def _died(self) -> CannotCompareError:
        self._process.wait()
        self._errors.seek(0)
        last = _last_line(self._errors.read().decode("utf-8", "replace"))
        hint = " (killed: out of memory? try a smaller variant or batch)" if self._process.returncode == -9 else ""
        return CannotCompareError(
            f"the {self.framework} worker ({self._python}) ended with code {self._process.returncode}{hint}: {last}"
        )

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Answer:
    def __init__(self, client: WorkerClient, request: int) -> None:
        self._client = client
        self._request = request

    def result(self, on_progress: OnProgress = lambda _: None) -> Any:
        return self._client.wait(self._request, on_progress)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
