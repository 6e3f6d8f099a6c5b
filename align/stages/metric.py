"""The metric stage: do the predictions of both models score the same, and are the scores what they are defined to be?

An evaluation set of batches of unequal size runs through both models in float64, nothing substituted, and each side
scores its own outputs where it runs. Judged are the predictions, equal except where torch's own stand nearer to another
prediction than rounding moves them; every score of either side against its definition, computed once more from the same
outputs in plain loops; and the scores of the two sides. A second probe gives both sides the same made-up outputs, full
of ties, so that the metrics show themselves whatever the models predict.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import fake_data
from align import evaluation
from align.case import Case, without_labels
from align.difference import Difference, difference
from align.edges import ROOT
from align.errors import CannotCompareError, NotApplicableError
from align.ledger import Ledger
from align.metrics import Metric, metrics_of
from align.metrics.definitions import scores_by_definition
from align.record import Record, write_record
from align.stage import StageReport
from align.stages import Subject
from align.trial import Pair
from align.verdict import PERTURBED_RUNS, Verdict, limit_of

Arrays = Mapping[str, np.ndarray]
Scores = dict[str, float]
SIDES = ("torch", "paddle")

_LOGITS_IN_A_MARGIN = 4  # the score of a span is the sum of two, and a margin is the difference of two scores


def run(subject: Subject) -> StageReport:
    """Judge predictions, scores and metrics.

    Raises:
        NotApplicableError: the task has no labels, or the user's batch has none.
    """
    started = time.perf_counter()
    case = subject.registered("metric")
    config = dict(subject.pair.descriptions["torch"]["config"], id2label=case.raw_config.get("id2label"))
    evaluated = _Evaluation(subject.pair, case, config)
    if weights := next(iter(subject.weights.values())):
        subject.pair.load(weights, case.model)
    evaluated.judge(Record(subject.batch))
    if subject.log and evaluated.scored:
        subject.log("metric", *({k: np.array(v) for k, v in evaluated.scored[side].items()} for side in SIDES))
    found = evaluated.ledger
    return StageReport("metric", time.perf_counter() - started, found.verdicts, found.findings(), found.notes)


@dataclass
class _Evaluation:
    """One case on its evaluation set, and what has been found."""

    pair: Pair
    case: Case
    config: Mapping[str, Any]
    ledger: Ledger = field(default_factory=Ledger)
    scored: Mapping[str, Scores] = field(default_factory=dict)  # what each side scores on its own outputs

    def judge(self, given: Arrays) -> None:
        task, seed, own = self.case.task, self.case.seed, self.case.batch is not None
        if not self.metrics() or not {"labels", "start_positions"} & set(given):
            raise NotApplicableError(f"{task} has no labels here, and without them there is nothing to score")
        parts = evaluation.make_parts(self.case, self.config, given)
        files = self.write("pilot", [self.inputs(part) for part in parts])
        pilot = self.run("torch", files, "float64")
        _check_finite(pilot)
        tied = evaluation.tied(pilot, seed)
        labelled = evaluation.label(task, parts, pilot, seed, own)
        if not all(len(decided) for _, decided, _ in self.decisions(pilot, labelled)):
            raise NotApplicableError("every label is −100, and without labels there is nothing to score")
        self.judge_models(labelled)
        self.judge_metrics("ties", dict.fromkeys(SIDES, tied), evaluation.label(task, parts, tied, seed, own))

    def judge_models(self, batches: Sequence[Arrays]) -> None:
        """Both models on their own outputs."""
        files = self.write("inputs", [self.inputs(batch) for batch in batches])
        own = {side: self.run(side, files, "float64") for side in SIDES}
        if self.differ_in_structure(own["torch"][0], own["paddle"][0]):
            return
        perturbed = [self.run("torch", files, "float64", seed) for seed in PERTURBED_RUNS]
        flipped = self.judge_predictions(own, batches, _slack(own["torch"], perturbed))
        self.scored = scores = self.judge_metrics("default", own, batches)
        moved = [self.scores(run, batches) for run in perturbed]
        for name, expected in scores["torch"].items():
            if name.partition(".")[0] not in flipped:
                noise = max(abs(run.get(name, expected) - expected) for run in moved)
                found = _scalar(expected, scores["paddle"].get(name), "torch scores {}, paddle {}")
                self.add(name, "default", "score", name, found, noise)
        self.ledger.notes.append(
            "torch scores " + ", ".join(f"{name} {value:.6g}" for name, value in scores["torch"].items())
        )
        self.note_float32(files, batches, own["torch"])

    def judge_metrics(
        self, probe: str, outputs: Mapping[str, Sequence[Arrays]], batches: Sequence[Arrays]
    ) -> dict[str, Scores]:
        """The scores that each side gives to some outputs; each is judged by its definition."""
        files = self.write(f"{probe}-batch", batches)
        pending = {}
        for side, arrays in outputs.items():
            returned = self.write(f"{probe}-{side}", arrays)
            ask = {"task": self.case.task, "config": self.config, "batches": files, "outputs": returned}
            pending[side] = getattr(self.pair, side).submit("metric.score", **ask)
        with self.pair.steps.step(f"{probe}: scoring"):
            scores = {side: answer.result() for side, answer in pending.items()}
        for side, arrays in outputs.items():
            defined = self.defined(arrays, batches)
            for name in defined | scores[side]:
                text = f"by its definition the score of the same outputs is {{}}, {side} computes {{}}"
                found = _scalar(defined.get(name), scores[side].get(name), text)
                self.add(f"{side} {name}", probe, "definition", name, found)
        return scores

    def judge_predictions(
        self, outputs: Mapping[str, Sequence[Arrays]], batches: Sequence[Arrays], slack: float
    ) -> set[str]:
        """Judge the predictions of both models; return the metrics whose predictions differ, but harmlessly."""
        harmless = set()
        both = (self.decisions(outputs[side], batches) for side in SIDES)
        for (name, expected, margins), (_, actual, _) in zip(*both, strict=True):
            other = _differ(expected, actual)
            wrong = np.flatnonzero(other & ~(margins <= slack))
            if other.sum() > wrong.size:
                harmless.add(name)
                self.ledger.notes.append(
                    f"{other.sum() - wrong.size} of {len(other)} predictions ({name}) differ in near ties: torch's "
                    f"own margin is below {slack:.0e}, which rounding moves; these scores are not compared"
                )
            detail = ""
            if wrong.size:
                i = int(wrong[0])
                detail = (
                    f"{wrong.size} of {len(other)} predictions ({name}) differ; of example {i} torch predicts "
                    f"{expected[i]}, paddle {actual[i]}, by a margin of {margins[i]:.1e} (forward names the module)"
                )
            self.ledger.exact(f"{name}.prediction", "default", "prediction", ROOT, wrong.size, len(other), detail)
        return harmless

    def note_float32(self, files: Sequence[str], batches: Sequence[Arrays], exact: Sequence[Arrays]) -> None:
        """Say what becomes of the predictions in float32."""
        runs = [exact, *(self.run(side, files, "float32") for side in SIDES)]
        for (name, wanted, _), (_, torch, _), (_, paddle, _) in zip(
            *(self.decisions(r, batches) for r in runs), strict=True
        ):
            count, own = _differ(torch, paddle).sum(), _differ(wanted, torch).sum()
            self.ledger.notes.append(
                f"in float32 {count} of {len(torch)} predictions ({name}) differ between the sides, and {own} of "
                "torch's from its own in float64"
            )

    def differ_in_structure(self, expected: Arrays, actual: Arrays) -> bool:
        """Whether the models return arrays of other names, shapes or kinds, which fails the stage."""
        facts = [{name: (array.shape, array.dtype.kind) for name, array in side.items()} for side in (expected, actual)]
        for name in sorted(facts[0].keys() ^ facts[1].keys() | {n for n in expected if facts[0][n] != facts[1].get(n)}):
            seen = ["nothing" if name not in side else f"shape {side[name][0]}" for side in facts]
            found = Difference("shape", (), "", detail=f"as {name} torch returns {seen[0]}, paddle {seen[1]}")
            self.add(f"{ROOT}:out.{name}", "default", "output", ROOT, found)
        return facts[0] != facts[1]

    def add(self, name: str, probe: str, kind: str, piece: str, found: Difference, noise: float = 0.0) -> None:
        self.ledger.verdicts.append(
            Verdict(name, probe, kind, piece, found, noise, limit_of(noise, max(1.0, found.scale)))
        )

    def metrics(self) -> dict[str, Metric]:
        return metrics_of(self.case.task, self.config)

    def decisions(
        self, outputs: Sequence[Arrays], batches: Sequence[Arrays]
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Of each metric its name, what is predicted and the margins."""
        for name, metric in self.metrics().items():
            yield name, *metric.decisions(zip(outputs, batches, strict=True))

    def scores(self, outputs: Sequence[Arrays], batches: Sequence[Arrays]) -> Scores:
        """What this process's own metrics say."""
        scores: Scores = {}
        for name, metric in self.metrics().items():
            for pair in zip(outputs, batches, strict=True):
                metric.update(*pair)
            scores |= {f"{name}.{key}": value for key, value in metric.compute().items()}
        return scores

    def defined(self, outputs: Sequence[Arrays], batches: Sequence[Arrays]) -> Scores:
        """What the definitions say."""
        run = list(zip(outputs, batches, strict=True))
        return {
            f"{name}.{key}": value
            for name in self.metrics()
            for key, value in scores_by_definition(name, self.config, run).items()
        }

    def write(self, name: str, arrays: Sequence[Arrays]) -> list[str]:
        """Write one record for each batch; the names of the files."""
        return [
            str(write_record(self.pair.folder / f"{name}-{number}.rec", part)) for number, part in enumerate(arrays)
        ]

    def inputs(self, batch: Arrays) -> Arrays:
        """What the model takes of a batch."""
        keys = fake_data.batch_keys(self.case.model, self.case.task)
        return without_labels(self.case, {key: batch[key] for key in keys if key in batch})

    def run(self, side: str, files: Sequence[str], dtype: str, perturb: int | None = None) -> list[Record]:
        """What one model returns for each batch."""
        name = f"{side}-{dtype}" if perturb is None else f"{side}-perturbed-{perturb}"
        paths = [str(Path(file).with_name(f"{name}-{Path(file).name}")) for file in files]
        ask: dict[str, Any] = {"dtype": dtype, "perturb": perturb}
        client = getattr(self.pair, side)
        with self.pair.steps.step(f"{side}, {dtype}, {len(files)} batches"):
            pairs = zip(files, paths, strict=True)
            pending = [client.submit("predict.outputs", batch=file, out=out, **ask) for file, out in pairs]
            for answer in pending:
                answer.result()
        return [Record(path) for path in paths]


def _differ(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """(N,) bool: which of N predictions, whatever each consists of, are not the same."""
    return (expected != actual).reshape(len(expected), -1).any(1)


def _slack(outputs: Sequence[Arrays], perturbed: Sequence[Sequence[Arrays]]) -> float:
    """The largest margin that rounding may take away: four times the limit of the least certain output."""
    limits = [0.0]
    for number, batch in enumerate(outputs):
        for name, values in batch.items():
            if values.dtype.kind == "f" and values.size:
                moved = max(float(np.abs(run[number][name] - values).max()) for run in perturbed)
                limits.append(limit_of(moved, float(np.abs(values).max())))
    return _LOGITS_IN_A_MARGIN * max(limits)


def _check_finite(outputs: Sequence[Arrays]) -> None:
    for batch in outputs:
        for name, values in batch.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise CannotCompareError(
                    f"the torch model returns values in {name} that are not finite: look for NaN in its weights"
                )


def _scalar(expected: float | None, actual: float | None, text: str) -> Difference:
    """The difference of two scores, either of which may not be there."""
    detail = text.format(*("none" if value is None else f"{value:.15g}" for value in (expected, actual)))
    if expected is None or actual is None:
        return Difference("missing" if actual is None else "unexpected", (), "float64", detail=detail)
    return replace(difference(np.array(expected, np.float64), np.array(actual, np.float64)), detail=detail)
