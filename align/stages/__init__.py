"""The stages: each proves one part of what two models do. One file, one stage; `STAGES` names them in order."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from align.case import Case
from align.errors import CannotCompareError, NotApplicableError
from align.stage import NOT_APPLICABLE, NOT_COMPARED, NOT_RUN, Omission, StageReport
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
    the weights that live modules have. `situations` are other batches by name, which the forward stage judges with the
    first weights, and `labelled` those with other labels, for the loss stage. `case` is None for live modules. `log` is
    given what the two sides have by name, for the files of reprod_log, if somebody asked for these; `gate` what a stage
    says, and decides how that stands.
    """

    pair: Pair
    inputs: Path
    batch: Path
    weights: Mapping[str, Path | None]
    case: Case | None = None
    options: Options = DEFAULT_OPTIONS
    log: Log | None = None
    gate: Gate = no_gate
    situations: Mapping[str, Path] = field(default_factory=dict)
    labelled: Mapping[str, Path] = field(default_factory=dict)

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
    """One entry of the table: `alias` is its place in the staged method, `needs` the stages it stands on: while one
    of them is red, this one proves nothing.
    """

    summary: str
    alias: str | None = None
    needs: tuple[str, ...] = ()

    def names(self, name: str) -> tuple[str, ...]:
        return (self.alias, name) if self.alias else (name,)


STAGES: Mapping[str, Stage] = {
    "forward": Stage("the same values, module by module", "step1"),
    "init": Stage("the same distribution of initial weights, and the same structure", "step2"),
    "loss": Stage("the same loss, on the same logits and from end to end", "step3", ("forward",)),
    "metric": Stage(
        "the same predictions and scores, and the scores are what they are defined to be", needs=("forward",)
    ),
    "backward": Stage("the same gradients, module by module", "step4", ("forward", "loss")),
    "optimizer": Stage("the same update from the same gradients, by every optimizer and schedule"),
    "training": Stage(
        "the same losses, gradients and weights over many updates", "step5", ("loss", "backward", "optimizer")
    ),
    "data": Stage("the same batches of the same text: tokens, padding, order, masks"),
    "invariance": Stage("the same outputs of one model, whatever else is in the batch"),
}


def run_stages(
    names: Sequence[str], subject: Subject, keep_going: bool = True
) -> tuple[list[StageReport], list[Omission]]:
    """Run stages in order; unless `keep_going`, only up to the first that is red or that could not compare.

    Of several stages one that cannot be judged is left out, and the reason is returned.

    Raises:
        CannotCompareError: none could be judged.
    """
    reports: list[StageReport] = []
    omitted: list[Omission] = []
    for name in names:
        bad = [r.stage for r in reports if not r.passed] + [o.stage for o in omitted if o.status == NOT_COMPARED]
        if bad and not keep_going:
            omitted.append(Omission(name, NOT_RUN, _why_not(name, bad)))
            continue
        with subject.pair.steps.stage(name):
            try:
                reports.append(replace(_run(name, subject), red_before=_under(name, bad)))
            except CannotCompareError as reason:
                status = NOT_APPLICABLE if isinstance(reason, NotApplicableError) else NOT_COMPARED
                omitted.append(Omission(name, status, str(reason)))
    if omitted and not reports:
        raise _nothing([omission for omission in omitted if omission.status != NOT_RUN])
    return reports, omitted


def _nothing(tried: Sequence[Omission]) -> CannotCompareError:
    """Why no stage came to a verdict."""
    kind = NotApplicableError if all(o.status == NOT_APPLICABLE for o in tried) else CannotCompareError
    return kind(tried[0].reason if len(tried) == 1 else "; ".join(f"{o.stage}: {o.reason}" for o in tried))


def _under(name: str, bad: Sequence[str]) -> list[str]:
    """Those of the stages `bad` that a stage stands on, directly or through others."""
    below = {name}
    for lower in reversed(list(STAGES)):
        below |= set(STAGES[lower].needs) if lower in below else set()
    return [stage for stage in bad if stage in below - {name}]


def _why_not(name: str, bad: Sequence[str]) -> str:
    under = _under(name, bad)
    if under:
        return f"it stands on {' and '.join(under)}, which is not green, so it would prove nothing"
    return f"{bad[0]} is not green; it does not stand on that, so run it alone, or all with --keep-going"


def _run(name: str, subject: Subject) -> StageReport:
    """Run one stage in a folder of its own."""
    run: Callable[[Subject], StageReport] = importlib.import_module(f"align.stages.{name}").run
    folder = subject.pair.folder / name
    folder.mkdir(exist_ok=True)
    return subject.gate(run(replace(subject, pair=replace(subject.pair, folder=folder))))
