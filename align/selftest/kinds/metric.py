"""Bugs in how predictions are scored: the model and its outputs are right."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.stats import pearsonr

from align.metrics.metric import IGNORED, Arrays, Metric
from align.selftest.mutation import Mutation
from align.selftest.site import Site
from align.session import Session

Change = Callable[[Metric], Any]
Given = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]  # a batch's outputs, and the batch

# The score of each task that shows how examples were dealt into batches.
_FIRST = {
    "sequence_classification": "classes.accuracy",
    "token_classification": "tokens.accuracy",
    "multiple_choice": "choices.accuracy",
    "masked_lm": "words.accuracy",
    "replaced_token": "replaced.accuracy",
    "pretraining": "words.accuracy",
    "masked_lm_and_next_sentence": "words.accuracy",
    "next_sentence": "sentences.accuracy",
    "question_answering": "answers.exact",
}
_UPPER_CASE = {ord("A") + i: chr(0x100 + 2 * i + 1) for i in range(26)}  # lower-case letters that nothing else uses


def mutations(site: Site) -> list[Mutation]:
    """Every way of scoring wrongly, in the tasks where it shows."""
    return [mutation for mutation in _all() if mutation.task in site.tasks]


def _all() -> Iterator[Mutation]:
    for task, first in _FIRST.items():
        yield _mutation("ME01", f"averages of batches, {task}", task, first, _MeanOfBatches)
        yield _mutation("ME02", f"the last batch dropped, {task}", task, first, _DropLast)
    for task in ("sequence_classification", "token_classification", "multiple_choice", "question_answering"):
        yield _mutation("ME03", f"of equal scores the last, {task}", task, _FIRST[task], _before(_last_of_equals))
    yield _mutation("ME03", "a logit of 0 says replaced", "replaced_token", "replaced.accuracy", _before(_zero_is_one))
    yield _mutation(
        "ME03", "tied ranks in order", "sequence_classification", "numbers.spearman", _OrdinalRanks, num_labels=1
    )
    for task, name, score in (
        ("sequence_classification", "f1_of_means", "f1_macro"),
        ("sequence_classification", "f1_micro", "f1_macro"),
        ("token_classification", "f1_macro", "f1_of_means"),
    ):
        metric = _FIRST[task].partition(".")[0]
        yield _mutation("ME04", f"{name} for {score}, {task}", task, f"{metric}.{score}", _renamed(name, score))
    for task in ("sequence_classification", "token_classification", "masked_lm"):
        yield _mutation("ME04", f"ignored labels counted, {task}", task, _FIRST[task], _before(_ignored_counted))
    yield _mutation("ME04", "padding counted", "replaced_token", "replaced.accuracy", _before(_padding_counted))
    for name, change, score in (
        ("upper case kept", _upper_case_kept, "answers.exact"),
        ("articles kept", _articles_kept, "answers.exact"),
        ("unanswerable questions left out", _unanswerable_left_out, "answers.v2_exact"),
    ):
        yield _mutation("ME04", name, "question_answering", score, _before(change))
    yield _mutation("ME05", "offsets + 1", "question_answering", "answers.exact", _before(_offsets_shifted))


def _mutation(kind: str, name: str, task: str, blamed: str, change: Change, **config: Any) -> Mutation:
    def apply(session: Session) -> None:
        make = session.metrics

        def metrics(task: str, config: Mapping[str, Any]) -> dict[str, Any]:
            return {name: change(metric) for name, metric in make(task, config).items()}

        session.metrics = metrics  # type: ignore[method-assign]

    return Mutation(kind, name, "metric", blamed, apply, task=task, config=config)


class _MeanOfBatches:
    """The plain mean of each batch's own score."""

    def __init__(self, metric: Metric) -> None:
        self._fresh, self._scores = metric, list[dict[str, float]]()

    def update(self, outputs: Arrays, batch: Arrays) -> None:
        metric = copy.deepcopy(self._fresh)
        metric.update(outputs, batch)
        self._scores.append(metric.compute())

    def compute(self) -> dict[str, float]:
        return {name: float(np.mean([scores[name] for scores in self._scores])) for name in self._scores[0]}


class _DropLast:
    """Only batches as large as the first count."""

    def __init__(self, metric: Metric) -> None:
        self._metric, self._rows = metric, 0
        self.compute = metric.compute

    def update(self, outputs: Arrays, batch: Arrays) -> None:
        rows = len(batch["input_ids"])
        self._rows = self._rows or rows
        if rows == self._rows:
            self._metric.update(outputs, batch)


class _OrdinalRanks:
    """Spearman's correlation of ranks that are all different."""

    def __init__(self, metric: Metric) -> None:
        self._examples = metric.examples
        self._kept: list[dict[str, np.ndarray]] = []

    def update(self, outputs: Arrays, batch: Arrays) -> None:
        self._kept.append(self._examples(outputs, batch))

    def compute(self) -> dict[str, float]:
        values = [np.concatenate([kept[name] for kept in self._kept]) for name in ("prediction", "label")]
        ranks = [side.argsort(kind="stable").argsort() for side in values]
        pearson, spearman = (float(pearsonr(*pair).statistic) for pair in (values, ranks))
        return {"pearson": pearson, "spearman": spearman, "pearson_spearman": (pearson + spearman) / 2}


def _before(alter: Callable[[dict[str, Any], dict[str, Any]], None]) -> Change:
    """What the metric is given is altered, in place, before it sees it."""

    def change(metric: Metric) -> Metric:
        update = metric.update

        def altered(outputs: Arrays, batch: Arrays) -> None:
            given: Given = {k: v.copy() for k, v in outputs.items()}, {k: v.copy() for k, v in batch.items()}
            alter(*given)
            update(*given)

        metric.update = altered  # type: ignore[method-assign]
        return metric

    return change


def _renamed(name: str, score: str) -> Change:
    """One score is computed as another."""

    def change(metric: Metric) -> Metric:
        compute = metric.compute
        metric.compute = lambda: (found := compute()) | ({score: found[name]} if name in found else {})  # type: ignore[method-assign]
        return metric

    return change


def _last_of_equals(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
    for name in outputs:
        if name.endswith("logits"):
            outputs[name] = outputs[name] + 1e-9 * np.arange(outputs[name].shape[-1])


def _zero_is_one(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
    outputs["logits"] = np.where(outputs["logits"] == 0, 1.0, outputs["logits"])


def _ignored_counted(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
    batch["labels"] = np.where(batch["labels"] == IGNORED, 0, batch["labels"])


def _padding_counted(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
    batch["attention_mask"] = np.ones_like(batch["attention_mask"])


def _upper_case_kept(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
    for name in ("context", "answers"):
        batch[name] = np.array([str(text).translate(_UPPER_CASE) for text in batch[name].flat]).reshape(
            batch[name].shape
        )


def _articles_kept(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
    batch["answers"] = np.char.replace(batch["answers"], "The ", "This ")


def _unanswerable_left_out(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
    kept = (batch["answers"] != "").any(1)
    for arrays in (outputs, batch):
        for name in arrays:
            arrays[name] = arrays[name][kept]


def _offsets_shifted(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
    batch["offset_mapping"] += batch["offset_mapping"] >= 0
