"""Recording one side of a case alone, and comparing with what was recorded.

A recording of torch is made by running the stages with torch on both sides: so every question that a comparison asks of
the reference is asked and answered, and a model that does not even agree with itself is noticed. A port is then run
*against* the recording, teacher-forced as ever, where torch need not be installed; and what the port answers may be
recorded too, so that both recordings give the same verdict again anywhere, with neither framework.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import convert
from align.case import PROBES, Case, make_batch, without_labels, write_weights
from align.client import Client, Pending
from align.compare import Interpreters, judge_case, open_client
from align.errors import CannotCompareError
from align.progress import Steps
from align.record import write_record
from align.recording import free
from align.recording.file import Recording, RecordingWriter, fingerprint
from align.recording.tape import RecordedClient, RecordingClient
from align.report import Report
from align.stage import NOT_APPLICABLE, Omission
from align.stages import Gate, Options, no_gate
from convert.manifest import version

RECORDABLE = ("forward", "loss", "metric", "backward", "optimizer", "training")
_LIVE = "it cannot be recorded: compare both sides live"
_TRAINING = {"optimizer": ("optimizer",), "training": ("steps", "dropout", "optimizer")}


@dataclass(frozen=True)
class Plan:
    """What is recorded or compared, and where it runs."""

    case: Case
    stages: Sequence[str]
    options: Options
    interpreters: Interpreters
    steps: Steps
    keep_going: bool = True

    def likeness(self) -> dict[str, Any]:
        """What two recordings must have in common, beside weights and batch."""
        case = self.case
        named: dict[str, Any] = {"model": case.model, "task": case.task, "variant": case.variant, "seed": case.seed}
        named |= {"batch_size": case.batch_size, "length": case.length}
        named |= {f"config.{key}": value for key, value in case.raw_config.items()}
        for stage in self.stages:
            named |= {key: getattr(self.options, key) for key in _TRAINING.get(stage, ())}
        return json.loads(json.dumps(named))  # as a recording has it


def record_alone(plan: Plan, framework: str, path: Path) -> Recording:
    """Record one framework, which alone need be installed, into a file.

    Of torch every stage that can be; of Paddle the forward pass on its own values.

    Raises:
        CannotCompareError: what cannot be recorded was asked for, or the model does not agree with itself.
    """
    stages = _recordable(plan.stages, framework)
    plan = replace(plan, case=_own_case(plan.case, framework))
    with ExitStack() as stack:
        stack.enter_context(plan.steps.shown())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-")))
        writer = stack.enter_context(RecordingWriter(path))
        client = open_client(framework, plan.interpreters)
        stack.callback(client.close)
        manifest: dict[str, Any] = {}
        if framework == "torch":
            taping = RecordingClient(client, writer, ahead=True)
            report = judge_case(plan.case, taping, _Called("paddle", client), plan.steps, None, stages, plan.options)
            _check_agrees(report)
            manifest["calls"] = taping.calls
        if "forward" in stages:
            manifest |= _record_free(plan.case, client, folder, writer)
        writer.close(_manifest(replace(plan, stages=stages), framework, None) | manifest)
    return Recording(path)


def _own_case(case: Case, framework: str) -> Case:
    """The case as one side alone has it: torch stands on both sides, so neither takes what is meant for Paddle."""
    if case.paddle_checkpoint and framework == "paddle":
        raise CannotCompareError(
            "alone, Paddle is recorded with the weights of --checkpoint: for --paddle-checkpoint use --against"
        )
    return replace(case, paddle_checkpoint=None)


def _check_agrees(report: Report) -> None:
    """CannotCompareError for a model that differs from itself, or of which a stage could not be recorded."""
    if report.blame:
        why = report.blame[0].why
        raise CannotCompareError(f"the torch model does not agree with itself, so it is no reference: {why}")
    if not report.passed:
        raise CannotCompareError(f"nothing was recorded: {report.headline}")


def compare_against(plan: Plan, expected: Recording, framework: str, gates: Gate, out: Path | None = None) -> Report:
    """Judge the live side of `framework` against a recording; with `out`, record what it answers.

    Of several stages those that cannot be recorded are left out, and the report says so.

    Raises:
        CannotCompareError: the recording is of something else, or no stage that can be recorded was asked for.
    """
    _check_reference(expected)
    _check_like(expected.path, expected.manifest["case"], "here", plan.likeness())
    held, asked = expected.manifest["stages"], _recordable(plan.stages, "torch")
    if missing := [stage for stage in asked if stage not in held]:
        raise CannotCompareError(f"{expected.path} holds {', '.join(held)}, not {', '.join(missing)}: record it anew")
    left_out = [Omission(stage, NOT_APPLICABLE, _LIVE) for stage in plan.stages if stage not in asked]
    plan = replace(plan, stages=asked)
    with ExitStack() as stack:
        client = open_client(framework, plan.interpreters)
        stack.callback(client.close)
        if out is None:
            report = _judge(plan, RecordedClient(expected), client, gates)
            return replace(report, omitted=[*report.omitted, *left_out])
        writer = stack.enter_context(RecordingWriter(out))
        taping = RecordingClient(client, writer)
        report = _judge(plan, RecordedClient(expected), taping, gates)
        writer.close(_manifest(plan, framework, expected.id) | {"calls": taping.calls})
        return replace(report, omitted=[*report.omitted, *left_out])


def compare_recordings(expected: Recording, actual: Recording, steps: Steps, gates: Gate = no_gate) -> Report:
    """The verdict on two recordings, for which no framework is needed.

    Raises:
        CannotCompareError: they are of unlike things.
    """
    _check_like(expected.path, expected.manifest["case"], f"in {actual.path}", actual.manifest["case"])
    if actual.manifest["against"] is None:
        return _apart(expected, actual, gates)
    if actual.manifest["against"] != expected.id:
        raise CannotCompareError(f"{actual.path} was recorded against another file than {expected.path}")
    _check_reference(expected)
    kept = actual.manifest["plan"]
    if kept["files"]:
        raise CannotCompareError(
            f"{actual.path}: its case needs {', '.join(kept['files'])}: run the port again --against {expected.path}"
        )
    try:
        case, options = Case(**kept["case"]), Options(**kept["options"])
    except TypeError as error:
        raise CannotCompareError(f"{actual.path}: not a whole recording ({error}): record it anew") from error
    plan = Plan(case, actual.manifest["stages"], options, Interpreters(), steps)
    return _judge(plan, RecordedClient(expected), RecordedClient(actual), gates)


def _judge(plan: Plan, expected: Client, actual: Client, gates: Gate) -> Report:
    sides = _Called("torch", expected), _Called("paddle", actual)
    with plan.steps.shown():
        return judge_case(plan.case, *sides, plan.steps, None, plan.stages, plan.options, plan.keep_going, gates)


def _apart(expected: Recording, actual: Recording, gates: Gate) -> Report:
    _check_version(expected)
    _check_version(actual)
    for what in ("batch", "weights"):
        if expected.manifest[what] != actual.manifest[what]:
            raise CannotCompareError(f"{expected.path} and {actual.path} were recorded with different arrays as {what}")
    case = {key: expected.manifest["case"].get(key) for key in ("model", "task", "variant", "seed")}
    environment = {
        "torch": expected.manifest["environment"],
        "paddle": actual.manifest["environment"],
    }
    return Report(case, environment, (gates(free.judge(expected, actual)),))


def _record_free(case: Case, client: Client, folder: Path, writer: RecordingWriter) -> dict[str, Any]:
    ask = {"model": case.model, "task_class": case.task_class, "config": dict(case.raw_config)}
    description = client.submit("build", **ask).result()
    description = {**description, "shapes": _torch_shapes(case, client.framework, description)}
    arrays = make_batch(case, description["config"])
    batch = write_record(folder / "inputs.rec", without_labels(case, arrays))
    weights = {probe: path for probe, path in write_weights(case, description, folder).items() if probe in PROBES}
    return {
        "free": free.record(client, batch, weights, case.model, writer),
        "batch": fingerprint(batch),
        "weights": {probe: fingerprint(path) for probe, path in weights.items()},
        "environment": f"{client.framework} {description['version']}",
    }


def _torch_shapes(case: Case, framework: str, description: Mapping[str, Any]) -> Mapping[str, Any]:
    """The shapes of the torch layout, in which weights are made, whatever framework described the model."""
    if framework == "torch":
        return description["shapes"]
    shapes = {n: tuple(s) for n, s in description["shapes"].items()}
    return convert.table(case.model, framework, "torch", description["config"]).plan(shapes).target_shapes


def _manifest(plan: Plan, side: str, against: str | None) -> dict[str, Any]:
    case = plan.case
    paths = ("checkpoint", "paddle_checkpoint", "batch", "text")
    plain = {key: value for key, value in vars(case).items() if key not in paths}
    return {
        "producer": _producer(),
        "side": side,
        "against": against,
        "stages": list(plan.stages),
        "case": plan.likeness(),
        "plan": {
            "case": plain,
            "options": vars(plan.options),
            "files": [str(getattr(case, key)) for key in paths if getattr(case, key)],
        },
        "batch": None,
        "weights": None,
        "environment": "",
        "calls": {},
    }


def _recordable(stages: Sequence[str], framework: str) -> list[str]:
    allowed = RECORDABLE if framework == "torch" else ("forward",)
    found = [stage for stage in stages if stage in allowed]
    if not found:
        if framework == "paddle" and stages[0] in RECORDABLE:
            raise CannotCompareError(f"alone, Paddle can only be recorded in forward: for {stages[0]} use --against")
        raise CannotCompareError(
            f"the {stages[0]} stage draws or reads on both sides at once and cannot be recorded; these can: "
            f"{', '.join(RECORDABLE)}"
        )
    return found


def _check_version(recording: Recording) -> None:
    """Another version may ask other questions, and mean something else by the same answers."""
    made, ours = recording.manifest["producer"], _producer()
    if made != ours:
        raise CannotCompareError(f"{recording.path} was recorded by {made}, and this is {ours}: record it anew")


def _producer() -> str:
    return f"plumbline {version()}"


def _check_reference(recording: Recording) -> None:
    _check_version(recording)
    if not recording.calls or recording.side != "torch" or recording.manifest["against"] is not None:
        raise CannotCompareError(f"{recording.path} is no reference: record one with --framework torch --record FILE")


def _check_like(here: Path, expected: Mapping[str, Any], there: str, actual: Mapping[str, Any]) -> None:
    """CannotCompareError with all that differs; the options of a stage that only one side has do not count."""
    keys = [key for key in {**expected, **actual} if key.startswith("config.") or (key in expected and key in actual)]
    other = [
        f"{key} is {expected.get(key)} in {here} and {actual.get(key)} {there}"
        for key in keys
        if expected.get(key) != actual.get(key)
    ]
    if other:
        raise CannotCompareError(f"unlike things: {'; '.join(other)}")


class _Called:
    """A client under the name of the side that it stands for."""

    def __init__(self, framework: str, client: Client) -> None:
        self.framework = framework
        self._client = client
        self.submit: Callable[..., Pending] = client.submit

    def close(self) -> None:
        self._client.close()
