"""The stages: each proves one part of what two models do. One file, one stage; `STAGES` names them in order."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from align.case import Case
from align.errors import CannotCompareError, NotApplicableError
from align.stage import StageReport
from align.trial import Pair


@dataclass(frozen=True)
class Options:
    """What the command line lets the user choose of single stages."""

    steps: int = 20
    dropout: float | None = None
    optimizer: str | None = None


DEFAULT_OPTIONS = Options()
Arrays = Mapping[str, np.ndarray]
Log = Callable[[str, Arrays, Arrays], None]
Gate = Callable[[StageReport], StageReport]


def no_gate(report: StageReport) -> StageReport:
    """What a stage says, as it stands."""
    return report


@dataclass(frozen=True)
class Subject:
    """What a stage judges: both sides at work, the files of the case, and the user's choices.

    `batch` has the labels, `inputs` is the same batch without; `weights` names a record for each probe, or None for
    the weights that live modules have. `case` is None for live modules. `log` is given what the two sides have by name,
    for the files of reprod_log, if somebody asked for these; `gate` what a stage says, and decides how that stands.
    """

    pair: Pair
    inputs: Path
    batch: Path
    weights: Mapping[str, Path | None]
    case: Case | None = None
    options: Options = DEFAULT_OPTIONS
    log: Log | None = None
    gate: Gate = no_gate

    @property
    def model(self) -> str | None:
        """The architecture's name; None for live modules."""
        return self.case.model if self.case else None

    def registered(self, stage: str) -> Case:
        """The case, for a stage that builds models itself.

        Raises:
            CannotCompareError: live modules are compared.
        """
        if self.case is None:
            raise CannotCompareError(f"the {stage} stage builds models and needs a registered one: use --model")
        return self.case


@dataclass(frozen=True)
class Stage:
    """One entry of the table: `alias` is its place in the staged method."""

    summary: str
    alias: str | None = None

    def names(self, name: str) -> tuple[str, ...]:
        return (self.alias, name) if self.alias else (name,)


STAGES: Mapping[str, Stage] = {
    "forward": Stage("the same values, module by module", "step1"),
    "init": Stage("the same distribution of initial weights, and the same structure", "step2"),
    "loss": Stage("the same loss, on the same logits and from end to end", "step3"),
    "metric": Stage("the same predictions and scores, and the scores are what they are defined to be"),
    "backward": Stage("the same gradients, module by module", "step4"),
    "optimizer": Stage("the same update from the same gradients, by every optimizer and schedule"),
    "training": Stage("the same losses, gradients and weights over many updates", "step5"),
    "data": Stage("the same batches of the same text: tokens, padding, order, masks"),
    "invariance": Stage("the same outputs of one model, whatever else is in the batch"),
}


def run_stages(names: Sequence[str], subject: Subject, keep_going: bool = True) -> list[StageReport]:
    """Run stages in order; unless `keep_going`, only up to the first that is red: the later ones stand on it.

    Of several stages, those that have nothing to judge in this case are left out, and a note says so.
    """
    reports: list[StageReport] = []
    left_out: list[str] = []
    for name in names:
        try:
            reports.append(_run(name, subject))
        except NotApplicableError as reason:
            if len(names) == 1:
                raise
            left_out.append(f"{name} was left out: {reason}")
            continue
        if not (reports[-1].passed or keep_going):
            break
    if left_out and not reports:
        raise NotApplicableError("; ".join(left_out))
    if left_out:
        reports[-1] = replace(reports[-1], notes=[*reports[-1].notes, *left_out])
    return reports


def _run(name: str, subject: Subject) -> StageReport:
    """Run one stage in a folder of its own."""
    run: Callable[[Subject], StageReport] = importlib.import_module(f"align.stages.{name}").run
    folder = subject.pair.folder / name
    folder.mkdir(exist_ok=True)
    return subject.gate(run(replace(subject, pair=replace(subject.pair, folder=folder))))
