"""The passes that a verdict is made of: one pair, one probe, one dtype."""

import copy
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from align.client import Client
from align.edges import ROOT, is_input, module_of
from align.errors import CannotCompareError
from align.gradients import GradientRecord
from align.progress import Steps
from align.record import Record
from align.sides import names
from align.stage import FreeRun
from align.verdict import PERTURBED_RUNS, noise_floor


@dataclass
class Pair:
    """Both sides at work on one case: the two sessions, the files of the case, and what each says of its model."""

    torch: Client
    paddle: Client
    folder: Path
    batch: Path
    descriptions: Mapping[str, Mapping[str, Any]]
    steps: Steps
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))  # of its trials
    paddle_weights: Mapping[Path, Path] = field(default_factory=dict)  # what Paddle takes in place of a record
    silent: Collection[str] = ()  # modules inside which nothing is dropped in training

    @property
    def common(self) -> list[str]:
        """The modules that both sides have."""
        paddle = self.descriptions["paddle"]["kinds"]
        return [name for name in self.descriptions["torch"]["kinds"] if name in paddle]

    @property
    def names(self) -> dict[str, str]:
        """What to call the sides."""
        return names(self.descriptions)

    def load(self, weights: Path, model: str | None) -> list[str]:
        """Have both sides take the record `weights`; what does not fit is returned, one line each."""
        sides = (self.torch, weights), (self.paddle, self.paddle_weights.get(weights, weights))
        pending = [side.submit("load", weights=str(path), model=model) for side, path in sides]
        return [line for answer in pending for line in answer.result()]


class Trial:
    """One probe's passes. Calls go to both workers at once where neither waits for the other.

    With `backward` every pass is one of training, with dropout except inside the modules `silent`, and goes forward and
    back; `gradients` is the reference's record of the way back.
    """

    def __init__(
        self, pair: Pair, probe: str, dtype: str, backward: bool = False, silent: Collection[str] = ()
    ) -> None:
        self.pair = pair
        self.dtype = dtype
        number = next(pair.numbers)
        self._path = pair.folder / f"{number}-{dtype}.rec"
        self._training = (
            {"training": {"common": pair.common, "silent": sorted({*silent, *pair.silent})}} if backward else {}
        )
        self._back = pair.folder / f"{number}-{dtype}-gradients.rec" if backward else None
        self.probe = probe
        self._torch, self._paddle = pair.names.values()
        self.reference: Record
        self.gradients: GradientRecord

    def load(self, weights: Path, model: str | None) -> list[str]:
        with self.pair.steps.step(f"{self.probe}: loading weights"):
            return self.pair.load(weights, model)

    def weights(self, given: Path | None) -> Record:
        """The reference's weights: those given, or the live model's own."""
        path = given or self.pair.folder / "weights.rec"
        if given is None:
            self.pair.torch.submit("export", out=str(path)).result()
        return Record(path)

    def record(self) -> None:
        steps, pair = self.pair.steps, self.pair
        with steps.step(f"{self.probe}: {self._torch}, {self.dtype}, recorded") as moved:
            ask = {"batch": str(pair.batch), "dtype": self.dtype, "out": str(self._path)}
            facts = pair.torch.submit("record", **ask, **self._behind).result(moved)
        if facts["error"]:
            raise CannotCompareError(
                f"the {self._torch} model raised in {facts['error']['module']}: {facts['error']['message']}"
            )
        self.reference = Record(self._path)
        if self._back:
            self.gradients = GradientRecord(self._back)
        _check_finite(self.reference, self._torch)
        steps.calls = sum(":out" in edge for edge in self.reference)

    @property
    def _behind(self) -> dict[str, Any]:
        return self._training | ({"gradients": str(self._back)} if self._back else {})

    def of_values(self) -> "Trial":
        """The same trial with passes that go forward only."""
        twin = copy.copy(self)
        twin._back = None
        return twin

    def replay(
        self, native: frozenset[str] = frozenset(), constants: int = 0, masks: bool = False, noise: bool = True
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """The port's replay and, beside it, the reference's perturbed ones: the noise floor of every edge.

        That of the gradients stands in the replay, as "gradient_noise".
        """
        seeds = PERTURBED_RUNS if noise else ()
        ask: dict[str, Any] = {"batch": str(self.pair.batch), "reference": str(self._path), "native": sorted(native)}
        ask |= self._behind
        actual = self.pair.paddle.submit("replay", dtype=self.dtype, constants=constants, masks=masks, **ask)
        floors = [self.pair.torch.submit("replay", dtype=self.dtype, perturb=seed, **ask) for seed in seeds]
        with self.pair.steps.step(f"{self.probe}: {self._paddle}, {self.dtype}, replayed") as moved:
            replay = actual.result(moved) | {"names": self.pair.names}
        with self.pair.steps.step(f"{self.probe}: {self._torch}, noise floor") as moved:
            runs = [floor.result(moved) for floor in floors]
        if self._back:
            replay["gradient_noise"] = noise_floor(runs, "gradients")
        return replay, noise_floor(runs)

    def rounding_error(self, native: frozenset[str], of: str = "differences") -> dict[str, float]:
        """The reference's own rounding error at every edge: float64 on this record's inputs, against the record.

        `of` may be "gradients" instead, in a trial that goes back.
        """
        ask: dict[str, Any] = {"batch": str(self.pair.batch), "reference": str(self._path), "native": sorted(native)}
        with self.pair.steps.step(f"{self.probe}: {self._torch}, float64 on float32's inputs") as moved:
            exact = self.pair.torch.submit("replay", dtype="float64", **ask, **self._behind).result(moved)
        return noise_floor([exact], of)

    def actual(self, edges: Sequence[str]) -> Record:
        """The port's own values at some edges of the replay, each computed from the reference's inputs."""
        path = self._path.with_suffix(".actual.rec")
        ask = {"batch": str(self.pair.batch), "reference": str(self._path), "keep": list(edges), "out": str(path)}
        with self.pair.steps.step(f"{self.probe}: {self._paddle}, {self.dtype}, its own values") as moved:
            self.pair.paddle.submit("replay", dtype=self.dtype, **ask, **self._behind).result(moved)
        return Record(path)

    def actual_gradients(self, names: Sequence[str]) -> Record:
        """The port's own gradients of some edges and parameters, each made from the reference's gradients."""
        path = self._path.with_suffix(".actual-gradients.rec")
        ask: dict[str, Any] = {"batch": str(self.pair.batch), "reference": str(self._path), **self._behind}
        ask |= {"keep_gradients": list(names), "gradients_out": str(path)}
        with self.pair.steps.step(f"{self.probe}: {self._paddle}, {self.dtype}, its own gradients") as moved:
            self.pair.paddle.submit("replay", dtype=self.dtype, **ask).result(moved)
        return Record(path)

    def free_pass(self) -> tuple[Record, GradientRecord]:
        """The port's own values and gradients, of one pass from end to end and back in a trial that goes back."""
        out, back = (self.pair.folder / f"paddle-free{part}.rec" for part in ("", "-gradients"))
        with self.pair.steps.step(f"{self.probe}: {self._paddle}, {self.dtype}, there and back") as moved:
            ask = {"batch": str(self.pair.batch), "dtype": self.dtype, "out": str(out), "gradients": str(back)}
            self.pair.paddle.submit("record", **ask, **self._training).result(moved)
        return Record(out), GradientRecord(back)

    def free_run(self) -> FreeRun:
        """The port from end to end on its own values, against this record."""
        path = self.pair.folder / "paddle-free.rec"
        with self.pair.steps.step(f"{self.probe}: {self._paddle}, {self.dtype}, end to end") as moved:
            ask = {"batch": str(self.pair.batch), "dtype": self.dtype, "out": str(path)}
            self.pair.paddle.submit("record", **ask).result(moved)
        return FreeRun.of(self.reference, Record(path))


def _check_finite(reference: Record, called: str) -> None:
    """Refuse a reference that returns nothing finite: NaN agrees with NaN, and that proves nothing."""
    for edge in reference:
        if module_of(edge) == ROOT and not is_input(edge) and reference[edge].dtype.kind == "f":
            values = reference[edge]
            if values.size and not np.isfinite(values).any():
                name = edge.partition(":")[2]
                raise CannotCompareError(
                    f"the {called} model returns no finite value in {name}: look for NaN in its weights and the batch"
                )
