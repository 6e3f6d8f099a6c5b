"""A comparison from start to verdict: of a registered case in two workers, or of two live modules in this process."""

import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from align.backends import backend_of
from align.case import (
    PROBES,
    Case,
    make_batch,
    paddle_config,
    without_labels,
    write_paddle_weights,
    write_weights,
)
from align.client import Client, InProcessClient, WorkerClient
from align.errors import CannotCompareError
from align.progress import Steps
from align.record import write_record
from align.recording.reprod import write_pair
from align.report import Report
from align.stages import DEFAULT_OPTIONS, Gate, Options, Subject, no_gate, run_stages
from align.trial import Pair


@dataclass(frozen=True)
class Interpreters:
    """Where the two sides run: in this process, or in workers with their own Python (None: this one)."""

    in_process: bool = False
    torch: str | None = None
    paddle: str | None = None


def compare_case(
    case: Case,
    interpreters: Interpreters = Interpreters(),
    steps: Steps | None = None,
    reprod_log: Path | None = None,
    stages: Sequence[str] = ("forward",),
    options: Options = DEFAULT_OPTIONS,
    keep_going: bool = True,
    gate: Gate = no_gate,
) -> Report:
    """Compare both implementations of a registered architecture, each side where `interpreters` says.

    `stages` are run in order, unless `keep_going` is false only up to the first that is red.

    Raises:
        CannotCompareError: the case cannot be built; the message says what to change.
    """
    steps = steps or Steps()
    with steps.shown(), sides(interpreters) as (torch, paddle):
        return judge_case(case, torch, paddle, steps, reprod_log, stages, options, keep_going, gate)


def judge_case(
    case: Case,
    torch: Client,
    paddle: Client,
    steps: Steps,
    reprod_log: Path | None = None,
    stages: Sequence[str] = ("forward",),
    options: Options = DEFAULT_OPTIONS,
    keep_going: bool = True,
    gate: Gate = no_gate,
) -> Report:
    """Build both sides, make the batch and the weights of every probe, and run the stages.

    With `reprod_log`, a folder, what both sides have is written there as reprod_log reads it. `gate` is given what each
    stage says, and decides how that stands.
    """
    with tempfile.TemporaryDirectory(prefix="plumbline-") as name:
        folder = Path(name)
        with steps.step("building both models"):
            ask = {"model": case.model, "task_class": case.task_class}
            pending = (
                torch.submit("build", config=dict(case.raw_config), **ask),
                paddle.submit("build", config=dict(paddle_config(case)), **ask),
            )
            descriptions = {"torch": pending[0].result(), "paddle": pending[1].result()}
        with steps.step("making the batch and the weights"):
            arrays = make_batch(case, descriptions["torch"]["config"])
            batch = write_record(folder / "batch.rec", arrays)
            inputs = write_record(folder / "inputs.rec", without_labels(case, arrays))
            weights = write_weights(case, descriptions["torch"], folder)
            own = write_paddle_weights(case, descriptions["torch"], folder)
        replaced = {weights[probe]: path for probe, path in own.items()}
        pair = Pair(torch, paddle, folder, inputs, descriptions, steps, paddle_weights=replaced)
        subject = Subject(pair, inputs, batch, {probe: weights[probe] for probe in PROBES}, case, options)
        subject = replace(subject, log=partial(write_pair, reprod_log) if reprod_log else None, gate=gate)
        reports, omitted = run_stages(stages, subject, keep_going)
    return Report(case.as_json(), environment(descriptions), reports, omitted, modules(descriptions))


def compare(
    torch_module: Any,
    paddle_module: Any,
    batch: Mapping[str, np.ndarray],
    stages: Sequence[str] = ("forward",),
    weight_map: str | Path | None = None,
) -> Report:
    """Compare two live modules, on the keyword arguments `batch` of their forward.

    The first is the reference. Either may be of any framework that has a backend (see `align.backends`).

    Without `weight_map` each computes with its own weights, and modules are matched by dotted name. With "auto", or the
    file of a map, the Paddle module computes with torch's weights, and what corresponds follows from the map (see
    `align.foreign`). Both are given back unchanged, in the dtype they came in.

    Raises:
        CannotCompareError: the batch is empty, the torch module does not run on it, or the map stays ambiguous.
    """
    if not batch:
        raise CannotCompareError("the batch is empty: give the keyword arguments of forward as arrays")
    if weight_map is not None:
        from align.foreign.compare import compare_modules  # which stands on this file

        return compare_modules(torch_module, paddle_module, batch, stages, weight_map).report
    with tempfile.TemporaryDirectory(prefix="plumbline-") as name:
        torch, paddle = (InProcessClient(backend_of(module)) for module in (torch_module, paddle_module))
        descriptions = {"torch": torch.session.adopt(torch_module), "paddle": paddle.session.adopt(paddle_module)}
        try:
            file = write_record(Path(name) / "batch.rec", batch)
            pair = Pair(torch, paddle, Path(name), file, descriptions, Steps())
            reports, omitted = run_stages(stages, Subject(pair, file, file, {"default": None}))
        finally:
            torch.session.release()
            paddle.session.release()
    classes = {"torch_class": type(torch_module).__name__, "paddle_class": type(paddle_module).__name__}
    case = {"model": classes["torch_class"], **classes}
    return Report(case, environment(descriptions), reports, omitted, modules(descriptions))


def assert_parity(
    torch_module: Any,
    paddle_module: Any,
    batch: Mapping[str, np.ndarray],
    stages: Sequence[str] = ("forward",),
    weight_map: str | Path | None = None,
) -> Report:
    """Like `compare`, for tests: raises AssertionError with the whole report unless there is parity."""
    report = compare(torch_module, paddle_module, batch, stages, weight_map)
    if not report.passed:
        raise AssertionError(str(report))
    return report


def open_client(framework: str, interpreters: Interpreters) -> Client:
    """A client of one framework, which the caller has to close."""
    python = {"torch": interpreters.torch, "paddle": interpreters.paddle}[framework]
    return InProcessClient(framework) if interpreters.in_process else WorkerClient(framework, python)


@contextmanager
def sides(interpreters: Interpreters) -> Iterator[tuple[Client, Client]]:
    """A client of either framework, as long as the context lasts."""
    clients: list[Client] = []
    try:
        for framework in ("torch", "paddle"):
            clients.append(open_client(framework, interpreters))
        yield clients[0], clients[1]
    finally:
        for client in clients:
            client.close()


def environment(descriptions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    called = {side: description.get("framework", side) for side, description in descriptions.items()}
    facts: dict[str, Any] = {side: f"{called[side]} {d['version']}" for side, d in descriptions.items()}
    facts |= {"numpy": np.__version__, "python": platform.python_version(), "machine": platform.machine()}
    return facts | {"threads": {name: d["threads"] for name, d in descriptions.items()}}


def modules(descriptions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The modules of both sides in the order of their registration, with the classes that either side gives them."""
    found: dict[str, dict[str, str]] = {}
    for side, description in descriptions.items():
        for name, facts in description["kinds"].items():
            found.setdefault(name, {})[side] = facts["class"]
    return found
