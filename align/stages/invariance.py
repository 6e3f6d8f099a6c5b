"""The invariance stage: what a bug that both sides share would hide from every comparison of the two.

Each model is compared with itself. What it returns for an example must not depend on how much padding there is, on what
stands under the padding, on the order of the batch, on the other examples in it, or on batches before. A second run
returns the same bits, and one whose modules are all listened to, as in every other stage, the same but for rounding:
a model may have a shorter way, such as one kernel for an attention, that it only takes when nobody looks on.
Nothing is dropped in evaluation, and in training every dropout does its work.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from align.blame import Finding
from align.client import Client
from align.difference import Difference, difference
from align.edges import ROOT, is_input
from align.errors import CannotCompareError
from align.invariants import ALONE, ORDER, PADDING, UNDER_PADDING, Examples, Variation
from align.progress import Steps
from align.record import Record, write_record
from align.stage import StageReport
from align.stages import Subject
from align.trial import Trial
from align.verdict import PERTURBED_RUNS, Verdict, limit_of
from fake_data.variations import Axes, axes_of, classes_are_positions, longest, variable_by_design

REPETITION, CALLS, TRAINING, WATCHED = "repetition", "call order", "training mode", "unwatched"
_DOES = {
    REPETITION: "a second run changes",
    ORDER: "the order of the batch changes",
    ALONE: "the other examples of the batch change",
    PADDING: "padding changes",
    UNDER_PADDING: "the tokens under the padding change",
    CALLS: "the batches that ran before change",
    WATCHED: "it takes another way where nobody looks on (a fused kernel?), which changes",
}
_DROPOUTS = {
    "evaluation": ("it drops values in evaluation", "dropout is active in evaluation"),
    "unused": ("it drops nothing in training, though its probability is above 0", "it never runs"),
    "silent": ("what it drops in training changes nothing that the model returns", "what it drops is not used"),
}
_FEW = 2  # examples on which each dropout is tried
_SHOWS = 1e-9  # relative: the first inner value that differs by more is where a difference is first seen


def run(subject: Subject) -> StageReport:
    """Judge each side on the default probe, in float64.

    Raises:
        CannotCompareError: no example of the batch has a token in every sequence, or a model does not run on it.
    """
    started = time.perf_counter()
    everything = _examples(subject)
    rows = everything.attended()
    if not rows:
        raise CannotCompareError("no example of the batch has an attended token in every sequence: give one that has")
    case, pair = subject.case, subject.pair
    config = pair.descriptions["torch"]["config"] if case else {}
    examples = everything.take(rows)
    todo = list(examples.variations(longest(case.model, config) if case else None))
    name, weights = next(iter(subject.weights.items()))
    if weights is not None:
        Trial(pair, name, "float64").load(weights, subject.model)
    reasons = variable_by_design(case.model, config) if case else {}
    sides = [_Side(client, pair.folder, examples, rows, reasons, pair.steps) for client in (pair.torch, pair.paddle)]
    for side in sides:
        side.judge_dropouts()
        side.judge_batches(todo)
    verdicts, found = _probabilities(pair.descriptions)
    done = {REPETITION, CALLS, WATCHED, *(variation.name for variation in todo)}
    return StageReport(
        stage="invariance",
        seconds=time.perf_counter() - started,
        verdicts=[verdict for side in sides for verdict in side.verdicts] + verdicts,
        blame=[finding for side in sides for finding in side.found.values()] + found,
        notes=list(dict.fromkeys(note for side in sides for note in side.notes)),
        blind=[f"what {does} (this batch leaves no room)" for what, does in _DOES.items() if what not in done]
        + [kind for side in sides for kind in side.blind],
    )


def _examples(subject: Subject) -> Examples:
    """The batch and what its arrays are laid out along; of live modules that is read off their shapes."""
    batch, case = Record(subject.batch), subject.case
    if case:
        what = case.model, case.task, subject.pair.descriptions["torch"]["config"]
        axes = axes_of(*what)
        return Examples(batch, {name: axes[name] for name in batch}, classes_are_positions(*what))
    mask = batch.get("attention_mask", np.empty(0))
    count = max((len(array) for array in batch.values() if array.ndim), default=0)
    return Examples(batch, {name: Axes(tuple(_guess(array, count, mask))) for name, array in batch.items()})


def _guess(array: np.ndarray, count: int, mask: np.ndarray) -> Iterator[str]:
    for axis in range(array.ndim):
        if axis == 0:
            yield "batch" if len(array) == count else "other"
        else:
            yield "length" if axis + 1 == mask.ndim and array.shape[: axis + 1] == mask.shape else f"axis {axis}"


def _same(yes: bool, why: str = "") -> Difference:
    return Difference("ok", (), "bool", *(float(not yes),) * 3, scale=1.0, detail=why)


class _Side:
    """One model, compared with itself on the examples of a batch.

    `rows` are the numbers that the examples have in the user's batch, `reasons` those of the architecture to depend on
    something by design.
    """

    def __init__(
        self,
        client: Client,
        folder: Path,
        examples: Examples,
        rows: Sequence[int],
        reasons: Mapping[str, str],
        steps: Steps,
    ) -> None:
        self._client, self._name, self._folder = client, client.framework, folder
        self._examples, self._rows, self._reasons, self._steps = examples, rows, reasons, steps
        self.verdicts: list[Verdict] = []
        self.found: dict[str, Finding] = {}
        self.notes: list[str] = []
        self.blind: list[str] = []

    def judge_batches(self, todo: Sequence[Variation]) -> None:
        """Run the batch twice, then every variation of it, then the batch again; and disturbed, for the noise floor.

        Of a model that returns something else each time, nothing more can be said.
        """
        first = self._outputs("first")
        if not self._repeat(REPETITION, first):
            return
        varied = [(variation, self._varied(variation)) for variation in todo]
        self._repeat(CALLS, first)
        disturbed = [self._outputs(f"disturbed {seed}", perturb=seed) for seed in PERTURBED_RUNS]
        noise = {n: max(difference(value, run[n]).max_abs for run in disturbed) for n, value in first.items()}
        for variation, outputs in varied:
            if outputs is not None:
                for name, expected in first.items():
                    self._judge_output(variation, name, expected, outputs.get(name, np.empty(0)), noise[name])
        self._judge_unwatched(first, noise)

    def _judge_unwatched(self, first: Mapping[str, np.ndarray], noise: Mapping[str, float]) -> None:
        """What the model returns on its own is what it returns while every module is listened to."""
        with self._steps.step(f"{self._name}: watched"):
            watched = self._edges(None)
        for name, actual in first.items():
            expected = watched.get(f"{ROOT}:out" if name == "output" else f"{ROOT}:out.{name}")
            if expected is None:
                continue
            found = difference(expected, actual)
            limit = limit_of(noise[name], found.scale) if expected.dtype.kind == "f" else 0.0
            if not self._judge(name, WATCHED, WATCHED, found, noise[name], limit):
                self._blame(WATCHED, name, f"{_DOES[WATCHED]} {name} {_by(found)}", max_abs=found.max_abs, limit=limit)

    def judge_dropouts(self) -> None:
        """Nothing is dropped in evaluation; in training every dropout changes what is returned, and nothing else
        does.
        """
        few = self._examples.take(range(min(self._examples.count, _FEW)))
        with self._steps.step(f"{self._name}: every dropout alone"):
            path = write_record(self._folder / "few.rec", few.batch)
            told = self._client.submit("dropouts.survey", batch=str(path)).result()
        wrong = [(module, what) for what in _DROPOUTS for module in told[what]]
        self.blind += [f"what {module} drops in {self._name} (values are saturated)" for module in told["saturated"]]
        for module in told["asked"]:
            if (module, "silent") not in wrong and module not in told["saturated"]:
                self._judge(module, "dropout", module, _same(True))
        for module, what in wrong:
            why, cause = _DROPOUTS[what]
            self._judge(module, "dropout", module, _same(False, why))
            self._blame(module, module, why, explanation={"text": cause})
        for output in told["outputs"]:
            if not self._judge(output, TRAINING, TRAINING, _same(output not in told["training"])):
                self._blame(TRAINING, output, f"training changes {output} even where nothing is dropped")

    def _batch(self, variation: Variation | None = None) -> Path:
        path = self._folder / f"{variation.name if variation else 'batch'}.rec"
        return write_record(path, variation.batch if variation else self._examples.batch)

    def _outputs(self, name: str, variation: Variation | None = None, perturb: int | None = None) -> Record:
        out = self._folder / f"{self._name} {name} outputs.rec"
        ask = {"batch": str(self._batch(variation)), "dtype": "float64", "out": str(out), "perturb": perturb}
        with self._steps.step(f"{self._name}: {name}"):
            self._client.submit("predict.outputs", **ask).result()
        return Record(out)

    def _varied(self, variation: Variation) -> Record | None:
        """What the model returns for a variation; None where it fails, and for that it is blamed."""
        try:
            return self._outputs(variation.name, variation)
        except CannotCompareError as error:
            self._judge("outputs", variation.name, variation.name, Difference("missing", (), "", detail=str(error)))
            self._find(variation.name, "outputs", f"{variation.name}: {error}")
            return None

    def _repeat(self, what: str, expected: Record) -> bool:
        """The same batch again returns the same bits."""
        actual = self._outputs(what)
        for name in expected:
            found = difference(expected[name], actual.get(name, np.empty(0)))
            if not self._judge(name, what, what, found):
                self._blame(what, name, f"{_DOES[what]} {name} {_by(found)}")
        return what not in self.found

    def _judge_output(
        self, variation: Variation, name: str, expected: np.ndarray, actual: np.ndarray, noise: float
    ) -> None:
        """An example returns the same in another batch, but for rounding."""
        matched = self._examples.match(expected, actual, variation)
        if matched is None:
            return
        found = difference(matched.expected, matched.actual)
        limit = limit_of(noise, found.scale) if expected.dtype.kind == "f" else 0.0
        if self._judge(name, variation.name, variation.name, found, noise, limit):
            return
        row, *position = matched.place(found.worst_at or ()) or (None,)
        where = {} if row is None else {"example": self._rows[row], "position": position}
        text = f"{_DOES[variation.name]} {name}{' at real positions' if position else ''} {_by(found)}"
        if row is not None:
            text += f", most in example {self._rows[row]}" + "".join(f" at position {at}" for at in position[-1:])
        seen = None if variation.name in self._reasons else self._first_seen(variation)
        evidence = where | ({"first_seen": seen} if seen else {})
        self._blame(
            variation.name,
            name,
            text + (f"; first seen at {seen}" if seen else ""),
            max_abs=found.max_abs,
            limit=limit,
            **evidence,
        )

    def _first_seen(self, variation: Variation) -> str | None:
        """The first value inside the model at which a variation shows."""
        expected, actual = (self._edges(which) for which in (None, variation))
        for edge in expected:
            matched = self._examples.match(expected[edge], actual[edge], variation) if edge in actual else None
            if matched is not None and not is_input(edge):
                found = difference(matched.expected, matched.actual)
                if found.status != "ok" or found.max_abs > _SHOWS * found.scale:
                    return edge
        return None

    def _edges(self, variation: Variation | None) -> Record:
        out = self._folder / f"{self._name} {variation.name if variation else 'batch'} edges.rec"
        self._client.submit("record", batch=str(self._batch(variation)), dtype="float64", out=str(out)).result()
        return Record(out)

    def _judge(
        self, name: str, what: str, piece: str, found: Difference, noise: float = 0.0, limit: float = 0.0
    ) -> bool:
        self.verdicts.append(Verdict(f"{self._name}: {name}", what, "invariance", piece, found, noise, limit))
        return self.verdicts[-1].passed

    def _blame(self, module: str, name: str, why: str, **evidence: Any) -> None:
        """A finding, or a note where the architecture has it so."""
        if module in self._reasons:
            self.notes.append(f"{_DOES[module]} what is returned, as the architecture has it: {self._reasons[module]}")
        else:
            self._find(module, name, why, **evidence)

    def _find(self, module: str, name: str, why: str, **evidence: Any) -> None:
        found = Finding(module, f"{self._name}: {why}", f"{self._name}: {name}", {"side": self._name, **evidence})
        self.found.setdefault(module, found)


def _by(found: Difference) -> str:
    return f"by {found.max_abs:.1e}" if found.status == "ok" else f"({found.detail})"


def _probabilities(descriptions: Mapping[str, Mapping[str, Any]]) -> tuple[list[Verdict], list[Finding]]:
    """Both sides drop with the same probability: in evaluation nothing shows it."""
    torch, paddle = (
        {n: facts["p"] for n, facts in descriptions[side]["kinds"].items() if "p" in facts}
        for side in ("torch", "paddle")
    )
    verdicts, found = [], []
    for name in torch.keys() & paddle.keys():
        same = bool(np.isclose(torch[name], paddle[name], rtol=1e-6, atol=0))
        verdicts.append(Verdict(name, "probability", "invariance", name, _same(same), 0.0, 0.0))
        if not same:
            why = f"drops with probability {paddle[name]:g} in paddle, {torch[name]:g} in torch"
            found.append(Finding(name, why, name, {"explanation": {"text": why}}))
    return verdicts, found
