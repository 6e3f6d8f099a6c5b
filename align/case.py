"""A case: what is compared, on which batch, with which weights. Preparing one is framework-free."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import convert
import fake_data
from align import registry
from align.errors import CannotCompareError
from align.record import RecordWriter

PROBES = ("default", "saturated")
Weights = Iterable[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """One comparison of a registered architecture, as the command line names it.

    `layout` is the checkpoint's where its files do not tell, `part` what to take of an original one. With
    `paddle_checkpoint`, the Paddle side takes its configuration and weights from there.
    """

    model: str
    task: str
    variant: str
    seed: int = 0
    checkpoint: Path | None = None
    layout: str | None = None
    part: str | None = None
    paddle_checkpoint: Path | None = None
    batch: Path | None = None
    text: Path | None = None
    batch_size: int | None = None
    length: int | None = None
    raw_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task_class(self) -> str:
        return registry.architecture(self.model).tasks[self.task]

    def as_json(self) -> dict[str, Any]:
        named = {"checkpoint": self.checkpoint, "paddle_checkpoint": self.paddle_checkpoint}
        named |= {"batch": self.batch, "text": self.text}
        paths = {key: str(path) for key, path in named.items() if path is not None}
        return {"model": self.model, "task": self.task, "variant": self.variant, "seed": self.seed, **paths}


def resolve(
    model: str,
    task: str | None = None,
    variant: str | None = None,
    checkpoint: Path | None = None,
    layout: str | None = None,
    part: str | None = None,
    **rest: Any,
) -> Case:
    """A case with its defaults filled in: the architecture's first task or the checkpoint's, and the tiny variant.

    Raises:
        CannotCompareError: an unknown name, or a checkpoint that cannot be read.
    """
    architecture = registry.architecture(model)
    if variant is not None and checkpoint is not None:
        raise CannotCompareError("--variant and --checkpoint both name a configuration: leave one out")
    if checkpoint is None:
        if rest.get("paddle_checkpoint"):
            raise CannotCompareError("--paddle-checkpoint is compared with another: name that one with --checkpoint")
        variant = registry.known(variant or "tiny", architecture.variants, f"variant of {model}")
        raw: Mapping[str, Any] = architecture.variants[variant]
    else:
        variant, raw = "checkpoint", _open(checkpoint, layout, part).options(model)
        task = task or architecture.task_of(raw.get("architectures") or ())
    task = registry.known(task or next(iter(architecture.tasks)), architecture.tasks, f"task of {model}")
    return Case(model, task, variant, checkpoint=checkpoint, layout=layout, part=part, raw_config=raw, **rest)


def paddle_config(case: Case) -> Mapping[str, Any]:
    """The configuration of the Paddle side: torch's, unless it has a checkpoint of its own."""
    return case.raw_config if case.paddle_checkpoint is None else _open(case.paddle_checkpoint).options(case.model)


def make_batch(case: Case, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The case's batch with its labels: the user's own, tokenised text, or fake data."""
    sizes = {k: v for k, v in (("batch_size", case.batch_size), ("length", case.length)) if v is not None}
    try:
        if case.batch is not None:
            batch = fake_data.load_batch(case.batch, case.model, case.task, config)
        elif case.text is not None:
            if case.checkpoint is None:
                raise CannotCompareError("--text needs --checkpoint: the vocabulary that tokenises it stands there")
            batch = fake_data.tokenize_file(
                case.text, case.checkpoint, case.model, case.task, config, seed=case.seed, **sizes
            )
        else:
            batch = fake_data.make_batch(case.model, case.task, config, seed=case.seed, **sizes)
    except fake_data.BatchError as error:
        raise _refused(error) from error
    return batch


def without_labels(case: Case, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch as the forward stage has it: without the labels that the forward pass can do without."""
    return {key: value for key, value in batch.items() if key not in fake_data.label_names(case.model, case.task)}


def write_weights(case: Case, description: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Write one weights record for each probe, in the torch layout, and return their paths.

    `description` is the torch session's: names, shapes, tied names. A tied tensor is written once, under its first
    name.

    Raises:
        CannotCompareError: a checkpoint whose keys or shapes are not exactly the model's, or with values that are not
            finite.

    """
    if case.checkpoint is not None:
        checkpoint = _open(case.checkpoint, case.layout, case.part)
        return _write_probes(case, _stored(checkpoint, case, description), folder, "weights")
    shapes = {name: tuple(shape) for name, shape in description["shapes"].items() if name not in description["tied"]}
    return _write_probes(case, fake_data.make_weights(case.model, shapes, seed=case.seed), folder, "weights")


def write_paddle_weights(case: Case, description: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """As `write_weights`, what the Paddle side has for itself: nothing, or the weights of `paddle_checkpoint`."""
    if case.paddle_checkpoint is None:
        return {}
    return _write_probes(case, _stored(_open(case.paddle_checkpoint), case, description), folder, "paddle-weights")


def _write_probes(case: Case, source: Weights, folder: Path, stem: str) -> dict[str, Path]:
    paths = {probe: folder / f"{stem}-{probe}.rec" for probe in PROBES}
    with RecordWriter(paths["default"]) as plain, RecordWriter(paths["saturated"]) as saturated:
        for name, value in source:
            plain.add(name, value)
            saturated.add(name, fake_data.saturate(case.model, name, value))
    return paths


def _stored(checkpoint: convert.Checkpoint, case: Case, description: Mapping[str, Any]) -> Weights:
    shapes = {name: tuple(shape) for name, shape in description["shapes"].items()}
    try:
        rules = convert.table(case.model, checkpoint.layout, "torch", checkpoint.options(case.model))
        plan = rules.plan(checkpoint.shapes)
        where = str(checkpoint.weights.parent)
        convert.check_state(plan.target_shapes, shapes, where, convert.spare(case.model))
        checkpoint.check_finite()
        for name, value in plan.convert(lambda name: checkpoint.read(name, dtype="float32")):
            if name in shapes and name not in description["tied"]:
                yield name, value
    except convert.ConvertError as error:
        raise _refused(error) from error


def _open(directory: Path, layout: str | None = None, part: str | None = None) -> convert.Checkpoint:
    try:
        return convert.open_checkpoint(directory, layout, part=part)
    except convert.ConvertError as error:
        raise _refused(error) from error


def _refused(error: ValueError) -> CannotCompareError:
    """All that is wrong, in one line."""
    return CannotCompareError("; ".join(line.strip() for line in str(error).splitlines()))
