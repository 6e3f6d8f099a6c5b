"""The two clients of recordings: one that keeps every answer of the client behind it, one that gives them again.

An answer is found by what was asked: the operation, the weights that the side held, and the arguments, of which files
count by the arrays in them. So a recording answers for the same arrays only, and for nothing that was not asked.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from align.client import Client, OnProgress, Pending
from align.edges import ROOT
from align.errors import CannotCompareError
from align.record import Record, RecordWriter
from align.recording.file import Recording, RecordingWriter, fingerprint
from align.recording.levels import composed, native_levels, slim
from align.verdict import PERTURBED_RUNS

_OUTPUTS = {"out", "gradients_out"}
_BUILD = ("model", "task_class")  # the configuration is compared with the case


class NotRecordedError(CannotCompareError):
    """The recording has no answer to what is asked."""


class _Asked:
    """What was asked of one side, in words that hold on any machine."""

    def __init__(self) -> None:
        self.weights: str | None = None
        self._seen: dict[tuple[str, int, int], str] = {}

    def key(self, method: str, arguments: Mapping[str, Any]) -> str:
        """The same for the same question. Loading weights changes the state in which later ones are asked."""
        if method == "build":
            return json.dumps([method, {name: arguments[name] for name in _BUILD}])
        if method == "load":
            self.weights = self.fingerprint(arguments["weights"])
        outputs = outputs_of(method, arguments)
        told = {name: "out" if name in outputs else self._word(value) for name, value in arguments.items()}
        return json.dumps([method, self.weights, told], sort_keys=True)

    def fingerprint(self, path: str) -> str:
        stat = Path(path).stat()
        seen = path, stat.st_mtime_ns, stat.st_size
        if seen not in self._seen:
            self._seen[seen] = fingerprint(Path(path))
        return self._seen[seen]

    def _word(self, value: Any) -> Any:
        if isinstance(value, str) and Path(value).is_absolute() and Path(value).is_file():
            return f"file {self.fingerprint(value)}"
        if isinstance(value, Mapping):
            return {key: self._word(item) for key, item in value.items()}
        return [self._word(item) for item in value] if isinstance(value, (list, tuple)) else value


def outputs_of(method: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The files that an operation is to write, by the argument that names them."""
    names = _OUTPUTS | ({"gradients"} if method == "record" else set())
    return {name: arguments[name] for name in names & arguments.keys() if arguments[name]}


class _Later:
    def __init__(self, get: Callable[[OnProgress], Any]) -> None:
        self._get = get

    def result(self, on_progress: OnProgress = lambda _: None) -> Any:
        return self._get(on_progress)


class RecordingClient:
    """Asks the client behind it and keeps the answers.

    With `ahead`, as for a reference that is recorded before the other side is known, it also asks what a comparison may
    come to ask: the noise floors of composites, the way forward without dropout, and the way back in float32.
    """

    def __init__(self, client: Client, writer: RecordingWriter, ahead: bool = False) -> None:
        self.framework = client.framework
        self.calls: dict[str, list[dict[str, Any]]] = {}
        self._client, self._writer, self._ahead = client, writer, ahead
        self._asked = _Asked()
        self._levels: list[list[str]] = []

    def submit(self, method: str, **arguments: Any) -> Pending:
        key = self._asked.key(method, arguments)
        place = self.calls.setdefault(key, [])
        kept: dict[str, Any] = {}
        place.append(kept)
        pending = self._client.submit(method, **arguments)

        def finish(on_progress: OnProgress) -> Any:
            answer = pending.result(on_progress)
            if "files" not in kept:
                self._keep(kept, method, arguments, answer)
            return answer

        return _Later(finish)

    def close(self) -> None:
        self._client.close()

    def _keep(self, kept: dict[str, Any], method: str, arguments: dict[str, Any], answer: Any) -> None:
        floor = self._ahead and method == "replay"
        kept["answer"] = slim(answer) if floor else answer
        kept["files"] = {
            name: self._writer.add(Path(path))
            for name, path in outputs_of(method, arguments).items()
            if Path(path).is_file()
        }
        if method == "build":
            self._levels = native_levels(answer["kinds"])
            kept["attributes"] = self._client.submit("audit.attributes").result()
        if floor and not arguments.get("native"):
            kept["levels"] = [
                slim(self._client.submit(method, **{**arguments, "native": level}).result()) for level in self._levels
            ]
        training = arguments.get("training")
        is_first = method == "record" and arguments["dtype"] == "float64" and training and not training["silent"]
        if self._ahead and is_first:
            self._record_silent(arguments)
            self._record_in_float32(arguments)

    def _record_silent(self, arguments: Mapping[str, Any]) -> None:
        """The way forward in training mode with nothing dropped, which a difference inside a composite asks for."""
        out = Path(arguments["out"]).with_suffix(".silent.rec")
        ask = {name: arguments[name] for name in ("batch", "dtype")}
        ask["training"] = {**arguments["training"], "silent": [ROOT]}
        self.submit("record", **ask, out=str(out)).result()
        for seed in PERTURBED_RUNS:
            self.submit("replay", **ask, perturb=seed, reference=str(out), native=[]).result()

    def _record_in_float32(self, arguments: Mapping[str, Any]) -> None:
        """The way there and back in float32, which gradients that the other side computes in float32 ask for."""
        ask = {name: arguments[name] for name in ("batch", "training")}
        out, back = (str(Path(arguments["out"]).with_suffix(f".float32{part}.rec")) for part in ("", "-gradients"))
        self.submit("record", **ask, dtype="float32", out=out, gradients=back).result()
        self.submit("replay", **ask, dtype="float64", reference=out, gradients=back, native=[]).result()


class RecordedClient:
    """Answers as the recorded side did.

    Raises:
        NotRecordedError: by `submit`, for what was not asked then.
    """

    def __init__(self, recording: Recording) -> None:
        self.framework = recording.side
        self._recording = recording
        self._asked = _Asked()
        self._given: Counter[str] = Counter()
        self._weights: Path | None = None
        self._build: Mapping[str, Any] = {}

    def submit(self, method: str, **arguments: Any) -> Pending:
        answer = self._answer(method, arguments)
        return _Later(lambda _: answer)

    def close(self) -> None:
        pass

    def _answer(self, method: str, arguments: dict[str, Any]) -> Any:
        key = self._asked.key(method, arguments)
        if key not in self._recording.calls and method.startswith("audit."):
            return self._unasked(method, arguments)
        kept = self._find(key, method, arguments)
        for name, path in outputs_of(method, arguments).items():
            if name in kept["files"]:
                self._recording.extract(kept["files"][name], Path(path))
        if method == "build":
            self._build = kept
        if method == "load":
            self._weights = Path(arguments["weights"])
        return kept["answer"]

    def _unasked(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """What explanations ask of a reference that nobody had asked for one."""
        if method == "audit.attributes":
            return self._build["attributes"]
        if method == "audit.own":
            return self._write(arguments["out"], self._parameters(arguments["dtype"]))
        if method == "audit.what_if":
            return self._write(arguments["out"], iter(()))  # nobody is there to say
        raise NotRecordedError(self._why_not(method, arguments))

    def _find(self, key: str, method: str, arguments: dict[str, Any]) -> Mapping[str, Any]:
        """What was kept of this question; asked again and again, what was answered then and then."""
        kept = [k for k in self._recording.calls.get(key, []) if "files" in k]
        if kept:
            self._given[key] += 1
            return kept[min(self._given[key], len(kept)) - 1]
        native = arguments.get("native")
        if method == "replay" and native:
            base = self._find(self._asked.key(method, {**arguments, "native": []}), method, {})
            if "levels" in base:
                return {"answer": composed(base["answer"], base["levels"], native), "files": {}}
        raise NotRecordedError(self._why_not(method, arguments))

    def _why_not(self, method: str, arguments: Mapping[str, Any]) -> str:
        path = self._recording.path
        if method == "load":
            return f"{path} was recorded with other weights: give it the seed, variant or checkpoint of then"
        if method == "build":
            return f"{path} is of another model or task"
        known = "".join(self._recording.calls)
        for name, value in arguments.items():
            is_file = isinstance(value, str) and Path(value).is_absolute() and Path(value).is_file()
            if is_file and self._asked.fingerprint(value) not in known and name == "batch":
                return f"{path} was recorded with another batch: give it the seed, sizes or file of then"
        return (
            f"{path} cannot tell what the {self.framework} side would do there ({method}): "
            "compare both sides live to find out"
        )

    def _parameters(self, dtype: str) -> Iterator[tuple[str, np.ndarray]]:
        """The recorded side's parameters: what it was given, under all of their names."""
        weights = Record(self._weights) if self._weights else {}
        tied = self._build["answer"]["tied"]
        for name in self._build["answer"]["shapes"]:
            if (first := tied.get(name, name)) in weights:
                value = weights[first]
                yield name, value.astype(dtype) if value.dtype.kind == "f" else value

    def _write(self, out: str, arrays: Iterator[tuple[str, np.ndarray]]) -> None:
        with RecordWriter(out) as writer:
            for name, value in arrays:
                writer.add(name, value)
