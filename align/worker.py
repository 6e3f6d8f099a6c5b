"""The worker process: one session, driven by JSON lines.

A request is `{"id", "method", "arguments"}`; answers are `{"id", "progress"}` any number of times and then `{"id",
"result"}` or `{"id", "error", "kind"}`. What the frameworks print goes to standard error, so that nothing but answers
is on the pipe.
"""

import json
import os
import sys
import time
import traceback
from typing import Any, TextIO

from align.errors import CannotCompareError

_SECONDS_BETWEEN_PROGRESS = 0.1


class _Answers:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = 0.0
        self.request = 0

    def send(self, **answer: Any) -> None:
        self._stream.write(json.dumps({"id": self.request, **answer}) + "\n")
        self._stream.flush()

    def progress(self, done: int) -> None:
        if time.monotonic() - self._last > _SECONDS_BETWEEN_PROGRESS:
            self._last = time.monotonic()
            self.send(progress=done)


def main(framework: str) -> None:
    answers = _Answers(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        answers.request = request["id"]
        try:
            if session is None:
                from align.operations import find
                from align.session import Session

                session = Session(framework, answers.progress)
            answers.send(result=find(session, request["method"])(**request["arguments"]))
        except CannotCompareError as error:
            answers.send(error=str(error), kind="user")
        except Exception:
            answers.send(error=traceback.format_exc(), kind="defect")


if __name__ == "__main__":
    main(sys.argv[1])
