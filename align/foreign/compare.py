"""The comparison of two foreign modules from start to verdict: named targets in two workers, or live modules here."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from align.backends import backend_of
from align.client import Client, InProcessClient
from align.compare import Interpreters, environment, modules, sides
from align.edges import ROOT, is_input, module_of
from align.errors import CannotCompareError
from align.foreign import probes
from align.foreign.batches import make_batch, make_labels
from align.foreign.configs import Words, tiny
from align.foreign.weights import make_weights
from align.foreign.workbench import Found, Workbench
from align.gradients import LOSS
from align.mapping.links import Map
from align.mapping.text import module_notes, read_map, summary
from align.operations import foreign
from align.progress import Steps
from align.record import Record, write_record
from align.report import Report
from align.sides import SIDES
from align.stage import StageReport
from align.stages import DEFAULT_OPTIONS, Gate, Options, Subject, no_gate, run_stages
from align.trial import Pair

# Words that a forward may know, and what is said to it: results by name, nothing kept for later.
_CONSTANTS: Mapping[str, Any] = {"return_dict": True, "use_cache": False}
_LABELS = "labels"
_SHARPNESS = (1.3, 0.9, 0.6, 0.4)  # of drawn matrices, tried in this order …
_UNDROPPED = "where and what is dropped in training (all dropout is 0 in the small configurations)"
_LARGE = 300.0  # … until no value is as large
# What is left out of a batch that one side cannot run on, in this order.
_OPTIONAL = ((), ("decoder_attention_mask",), ("attention_mask",), ("decoder_attention_mask", "attention_mask"))


@dataclass(frozen=True)
class Targets:
    """What is compared: `package.module:Class` or a factory on either side, with the words each is built with.

    Without words, classes with a configuration get a small one that is made for both.
    """

    torch: str
    paddle: str
    words: Mapping[str, Mapping[str, Any]] | None = None
    batch: Mapping[str, np.ndarray] | None = None
    weight_map: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """A report with the map that it rests on."""

    report: Report
    found: Found


def compare_targets(
    targets: Targets,
    interpreters: Interpreters | None = None,
    steps: Steps | None = None,
    stages: Sequence[str] = ("forward",),
    options: Options = DEFAULT_OPTIONS,
    keep_going: bool = True,
    gate: Gate = no_gate,
) -> Comparison:
    """Build both targets, find what corresponds, and run the stages.

    `gate` is given what each stage says, and decides how that stands.

    Raises:
        CannotCompareError: a target cannot be built or run, or the map stays ambiguous; the message says what to do.
    """
    steps = steps or Steps()
    with (
        steps.shown(),
        sides(interpreters or Interpreters()) as (torch, paddle),
        tempfile.TemporaryDirectory(prefix="plumbline-") as name,
    ):
        with steps.step("building both models"):
            built = _built(targets, torch, paddle, Path(name))
        return _judge(targets, built, torch, paddle, Path(name), steps, stages, options, keep_going, gate)


def compare_modules(
    torch_module: Any,
    paddle_module: Any,
    batch: Mapping[str, np.ndarray],
    stages: Sequence[str] = ("forward",),
    weight_map: str | Path = "auto",
) -> Comparison:
    """Compare two live modules whose names differ: the Paddle module computes with torch's weights.

    The map is found with drawn weights, since those of a fresh model are alike; the stages then use torch's own. Both
    are given back unchanged.

    Raises:
        CannotCompareError: a module does not run on the batch, or the map stays ambiguous.
    """
    torch, paddle = (InProcessClient(backend_of(module)) for module in (torch_module, paddle_module))
    adopted = []
    with tempfile.TemporaryDirectory(prefix="plumbline-") as name:
        try:
            descriptions = {}
            for role, side, module in zip(SIDES, (torch, paddle), (torch_module, paddle_module), strict=True):
                adopted.append(side.session)
                descriptions[role] = foreign.adopt(side.session, module)
            bench = prepare(torch, paddle, descriptions, dict(batch), Path(name))
            known = None if weight_map == "auto" else read_map(Path(weight_map), *bench.sides)
            found = bench.find(known)
            subject = _subject(bench, found, torch, paddle, Path(name), Steps(), DEFAULT_OPTIONS)
            foreign.fill_own(torch.session)
            own = Path(name) / "own.rec"
            torch.session.export(str(own))
            bench.fill(found.weights, own)
            reports, omitted = run_stages(stages, subject)
        finally:
            for session in adopted:
                foreign.release(session)
    classes = {"torch_class": type(torch_module).__name__, "paddle_class": type(paddle_module).__name__}
    notes = [*summary(found.weights), *module_notes(found, *bench.sides)]
    case = {"model": classes["torch_class"], **classes}
    report = Report(case, environment(descriptions), _noted(reports, notes), omitted, modules(bench.descriptions))
    return Comparison(report, found)


@dataclass
class _Built:
    """Both models at work, each having run once on the batch."""

    words: Words
    descriptions: dict[str, dict[str, Any]]
    bench: Workbench
    batch: dict[str, np.ndarray]


def _built(targets: Targets, torch: Client, paddle: Client, folder: Path) -> _Built:
    asked = torch.submit("foreign.look", target=targets.torch), paddle.submit("foreign.look", target=targets.paddle)
    looks = asked[0].result(), asked[1].result()
    failure: CannotCompareError | None = None
    for words in _candidates(targets, looks):
        try:
            return _run_once(targets, words, looks, torch, paddle, folder)
        except CannotCompareError as error:
            failure = error  # that of the tamest configuration is raised
    assert failure is not None
    raise failure


def _candidates(targets: Targets, looks: tuple[dict[str, Any], dict[str, Any]]) -> list[Words]:
    """The configurations to be tried in order: the user's, or small ones, the freest first."""
    if targets.words is not None:
        return [Words(dict(targets.words.get("torch", {})), dict(targets.words.get("paddle", {})))]
    if all(look["config"] is not None for look in looks):
        return [tiny(*looks), tiny(*looks, tied=True)]
    for side, look in zip(("torch", "paddle"), looks, strict=True):
        due = [word["name"] for word in look["words"] if word["required"]]
        if due:
            raise CannotCompareError(
                f'the {side} side needs {", ".join(due)}: say them with --config FILE, {{"{side}": {{"{due[0]}": …}}}}'
            )
    return [Words({}, {})]


def _run_once(
    targets: Targets,
    words: Words,
    looks: tuple[dict[str, Any], dict[str, Any]],
    torch: Client,
    paddle: Client,
    folder: Path,
) -> _Built:
    """Build both and run both, if need be without some masks: one side may take them in another form, or not at all."""
    pending = [
        side.submit("foreign.build", target=target, words=chosen, seed=targets.seed)
        for side, target, chosen in ((torch, targets.torch, words.torch), (paddle, targets.paddle, words.paddle))
    ]
    descriptions = {"torch": pending[0].result(), "paddle": pending[1].result()}
    batch = targets.batch or make_batch(
        descriptions["torch"]["forward"],
        descriptions["paddle"]["forward"],
        descriptions["torch"]["config"],
        targets.seed,
    )
    failure: CannotCompareError | None = None
    for left_out in _OPTIONAL if targets.batch is None else ((),):
        fields = {name: value for name, value in batch.items() if name not in left_out}
        if not fields or (left_out and len(fields) == len(batch)):
            continue
        try:
            bench = prepare(torch, paddle, descriptions, fields, folder, targets.seed)
        except CannotCompareError as error:
            failure = failure or error
            continue
        if failure:
            words.notes.append(f"compared without {' and '.join(left_out)}: with it {failure}")
        return _Built(words, descriptions, bench, fields)
    assert failure is not None
    raise failure


def prepare(
    torch: Client,
    paddle: Client,
    descriptions: dict[str, dict[str, Any]],
    batch: dict[str, np.ndarray],
    folder: Path,
    seed: int = 0,
) -> Workbench:
    """Give torch drawn weights and run both sides once."""
    for name, side in (("torch", torch), ("paddle", paddle)):
        known = {word["name"] for word in descriptions[name]["forward"]}
        constants = {word: value for word, value in _CONSTANTS.items() if word in known and word not in batch}
        descriptions[name]["wiring"] = {"constants": constants}
        side.submit("foreign.wire", **descriptions[name]["wiring"]).result()
    torch.submit("foreign.fill_own").result()
    torch.submit("export", out=str(folder / "initial.rec")).result()
    file = write_record(folder / "batch.rec", batch)
    weights = _calm_weights(torch, descriptions["torch"], folder, file, seed)
    return Workbench(torch, paddle, descriptions, folder, file, weights)


def _calm_weights(torch: Client, description: Mapping[str, Any], folder: Path, batch: Path, seed: int) -> Path:
    """Weights with which no value grows beyond what masks are made for: drawn once more, smaller, if need be."""
    initial, weights = Record(folder / "initial.rec"), folder / "drawn.rec"
    for sharpness in _SHARPNESS:
        write_record(weights, make_weights(initial, description, seed, sharpness))
        torch.submit("foreign.fill", weights=str(weights)).result()
        out = folder / "tried.rec"
        facts = torch.submit("record", batch=str(batch), dtype="float64", out=str(out)).result()
        if facts["error"] or _largest(Record(out)) < _LARGE:
            break
    return weights


def _largest(record: Record) -> float:
    """The largest value of the reference's pass; masks and numbers are none."""
    values = (record[edge] for edge in record if record.entry(edge).facts["role"] == "value")
    return max((float(np.abs(v).max()) for v in values if v.size and v.dtype.kind == "f"), default=0.0)


def _judge(
    targets: Targets,
    built: _Built,
    torch: Client,
    paddle: Client,
    folder: Path,
    steps: Steps,
    stages: Sequence[str],
    options: Options,
    keep_going: bool,
    gate: Gate,
) -> Comparison:
    with steps.step("matching weights, modules and outputs"):
        known = read_map(targets.weight_map, *built.bench.sides) if targets.weight_map else None
        found = built.bench.find(known)
        bench, found = _with_labels(targets, built, found, folder)
    with steps.step("making the probes"):
        subject = replace(_subject(bench, found, torch, paddle, folder, steps, options), gate=gate)
        subject = _with_probes(subject, bench, targets)
    reports, omitted = run_stages(stages, subject, keep_going)
    notes = [*summary(found.weights), *module_notes(found, *bench.sides), *built.words.notes]
    case = {"model": targets.torch, "paddle": targets.paddle, "seed": targets.seed}
    words = {"torch": built.words.torch, "paddle": built.words.paddle}
    blind = [_UNDROPPED] if targets.words is None else []
    told = environment(bench.descriptions), _noted(reports, notes, blind), omitted, modules(bench.descriptions)
    return Comparison(Report(case | {"config": words}, *told), found)


def _noted(reports: Sequence[StageReport], notes: Sequence[str], blind: Sequence[str] = ()) -> list[StageReport]:
    first = replace(reports[0], notes=[*reports[0].notes, *notes], blind=[*reports[0].blind, *blind])
    return [first, *reports[1:]]


def _with_labels(targets: Targets, built: _Built, found: Found, folder: Path) -> tuple[Workbench, Found]:
    """The same with labels in the batch, if both sides know them and return something that they fit."""
    bench = built.bench
    both = all(any(w["name"] == _LABELS for w in d["forward"]) for d in bench.descriptions.values())
    if not both or _LABELS in built.batch:
        return bench, found
    returned = {edge.partition(":")[2]: bench.reference[edge] for edge in bench.reference if _is_output(edge)}
    labels = make_labels(returned, targets.seed)
    if labels is None:
        return bench, found
    file = write_record(folder / "labelled.rec", built.batch | {_LABELS: labels})
    try:
        labelled = replace(bench, batch=file)
        return labelled, labelled.wired(found.weights)
    except CannotCompareError as error:
        built.words.notes.append(f"compared without labels: with them {error}")
        return bench, bench.wired(found.weights)


def _is_output(edge: str) -> bool:
    return module_of(edge) == ROOT and not is_input(edge)


def _subject(
    bench: Workbench, found: Found, torch: Client, paddle: Client, folder: Path, steps: Steps, options: Options
) -> Subject:
    """Both sides seen alike, as the stages expect them."""
    bench.see(found)
    edges = {name: name for name in found.edges.values()}
    if LOSS in bench.reference:  # a loss that only torch returns is no detail
        edges[LOSS] = LOSS
    torch.submit("foreign.wire", edges=edges, **bench.descriptions["torch"]["wiring"]).result()
    outputs = [edge for edge in found.edges.values() if _is_output(edge)]
    if not outputs:
        raise CannotCompareError("no output of one model has the shape of an output of the other")
    kinds = paddle.submit("foreign.describe").result()
    plain = bench.descriptions["torch"]
    descriptions = {
        "torch": {key: value for key, value in plain.items() if key != "config"},
        "paddle": _translated(bench.descriptions["paddle"], found.weights) | kinds,
    }
    fill = partial(bench.fill, found.weights)
    pair = _Pair(torch, paddle, folder, bench.batch, descriptions, steps, silent=(ROOT,), fill=fill)
    return Subject(pair, bench.batch, bench.batch, {"default": None}, options=options)


@dataclass
class _Pair(Pair):
    """A pair of which Paddle takes torch's weights through a map."""

    fill: Callable[[Path], None] = lambda _: None

    def load(self, weights: Path, model: str | None) -> list[str]:
        self.torch.submit("foreign.fill", weights=str(weights)).result()
        self.fill(weights)
        return []


def _with_probes(subject: Subject, bench: Workbench, targets: Targets) -> Subject:
    """The same with what is tried besides (see `probes`): of our own batch, and only what torch has a result for."""
    weights: dict[str, Path | None] = {"default": bench.weights}
    sharper = probes.saturated(dict(Record(bench.weights).items()))
    if sharper:
        weights["saturated"] = write_record(subject.pair.folder / "saturated.rec", sharper)
    situations: dict[str, Path] = {}
    labelled: dict[str, Path] = {}
    if targets.batch is None:
        batch = dict(Record(subject.batch).items())
        for made, name, change in (
            (situations, "holes in the mask", probes.with_holes),
            (labelled, "labels ignored in part", probes.with_ignored),
        ):
            changed = change(batch, targets.seed)
            file = changed and write_record(subject.pair.folder / f"{name.replace(' ', '-')}.rec", changed)
            if file and _defined(subject.pair, bench.weights, file):
                made[name] = file
    return replace(subject, weights=weights, situations=situations, labelled=labelled)


def _defined(pair: Pair, weights: Path, batch: Path) -> bool:
    """Whether torch runs on this batch, and everything that it returns is finite."""
    pair.torch.submit("foreign.fill", weights=str(weights)).result()
    out = pair.folder / "tried.rec"
    facts = pair.torch.submit("record", batch=str(batch), dtype="float64", out=str(out)).result()
    if facts["error"]:
        return False
    record = Record(out)
    return all(np.isfinite(record[edge]).all() for edge in record if _is_output(edge))


def _translated(description: Mapping[str, Any], weights: Map) -> dict[str, Any]:
    """The Paddle side's facts by torch's names, where tensors correspond one to one; facts of others are left out."""
    names = {link.paddle[0]: link.torch[0] for link in weights.links if len(link.torch) == len(link.paddle) == 1}
    return {
        "framework": description["framework"],
        "version": description["version"],
        "threads": description["threads"],
        "shapes": {names[n]: s for n, s in description["shapes"].items() if n in names},
        "tied": {names[n]: names[o] for n, o in description["tied"].items() if n in names and o in names},
        "trainable": {names[n]: t for n, t in description["trainable"].items() if n in names},
    }
