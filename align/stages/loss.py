"""The loss stage: do both models compute the same loss, from the same logits and from end to end?

The forward pass once more, now with the labels of the batch: so each loss is replayed on torch's own logits, and then
both models are run whole. The labels come in the situations that losses are known to part in: ignored in part, ignored
altogether, of a single class, and with logits so far apart that a clamp would show.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import fake_data
from align.errors import NotApplicableError
from align.gradients import LOSS
from align.record import Record, write_record
from align.stage import StageReport
from align.stages import Subject
from align.stages.forward import Probe, judge_probe, merge


def run(subject: Subject) -> StageReport:
    """Judge the loss on every probe and in every situation of the labels.

    Raises:
        NotApplicableError: the model returns no loss.
    """
    started = time.perf_counter()
    pair = replace(subject.pair, batch=subject.batch)
    results: list[Probe] = []
    for name, weights in subject.weights.items():
        results.append(judge_probe(pair, name, weights, subject.model))
        if not results[-1].found and not any(verdict.name == LOSS for verdict in results[-1].verdicts):
            raise NotApplicableError(
                f"the model returns no loss for this {_what(subject)}: choose a task that has labels"
            )
    default = next(iter(subject.weights.values()))
    for situation, batch in _situations(subject, pair.folder).items():
        varied = replace(pair, batch=batch)
        results.append(judge_probe(varied, situation, default, subject.model, float32=False))
    if subject.log and results[0].free_run:
        subject.log("loss", *results[0].free_run.sides({LOSS}))
    return StageReport(
        stage="loss",
        seconds=time.perf_counter() - started,
        verdicts=[verdict for result in results for verdict in result.verdicts],
        blame=merge(results),
        notes=list(dict.fromkeys(note for result in results for note in result.notes)),
        free_run=results[0].free_run,
    )


def _situations(subject: Subject, folder: Path) -> Mapping[str, Path]:
    """The batch with other labels, by name."""
    if not subject.case:
        return subject.labelled
    found = fake_data.label_situations(subject.case.model, subject.case.task, Record(subject.batch))
    return {name: write_record(folder / f"{name}.rec", batch) for name, batch in found.items()}


def _what(subject: Subject) -> str:
    return f"task ({subject.case.task})" if subject.case else "batch"
