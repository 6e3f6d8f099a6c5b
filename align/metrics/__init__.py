"""Scores of predictions, without any framework: which task is scored by what, and the definitions.

    metrics = metrics_of("sequence_classification", {"num_labels": 3})
    for outputs, batch in …:                            # arrays by name, batches of any size
        for metric in metrics.values():
            metric.update(outputs, batch)
    scores = {f"{name}.{score}": value for name, metric in metrics.items() for score, value in metric.compute().items()}

Labels of −100 are not scored. Ties go to the first class (see `metric.first_largest`). What is undefined, such as the
correlation with a constant, is 0.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from align.metrics.answers import AnswerMetric, squad_scores, squad_v2_scores
from align.metrics.classes import ChoiceMetric, ClassMetric
from align.metrics.correlation import CorrelationMetric
from align.metrics.entities import EntityMetric, numbered_tags
from align.metrics.metric import Metric
from align.metrics.tokens import ReplacedTokenMetric, WordMetric

__all__ = ["Metric", "metrics_of", "squad_scores", "squad_v2_scores"]

Config = Mapping[str, Any]


def _of_sequences(config: Config) -> dict[str, Metric]:
    single = config.get("num_labels", 2)
    if (config.get("problem_type") or ("regression" if single == 1 else "")) == "regression":
        return {"numbers": CorrelationMetric()}
    return {"classes": ClassMetric(single)}


def _of_tokens(config: Config) -> dict[str, Metric]:
    return {"tokens": ClassMetric(config.get("num_labels", 2)), "entities": EntityMetric(tags_of(config))}


def tags_of(config: Config) -> Sequence[str]:
    """The BIO tags that the configuration's `id2label` names, or numbered ones."""
    classes = config.get("num_labels", 2)
    named = {int(key): str(tag) for key, tag in (config.get("id2label") or {}).items()}
    tags = [named.get(number, "") for number in range(classes)]
    return tags if all(tag == "O" or tag[:2] in ("B-", "I-") for tag in tags) else numbered_tags(classes)


TASKS: Mapping[str, Callable[[Config], dict[str, Metric]]] = {
    "sequence_classification": _of_sequences,
    "token_classification": _of_tokens,
    "multiple_choice": lambda _: {"choices": ChoiceMetric(0)},
    "question_answering": lambda _: {"answers": AnswerMetric()},
    "masked_lm": lambda _: {"words": WordMetric()},
    "replaced_token": lambda _: {"replaced": ReplacedTokenMetric()},
    "pretraining": lambda _: {"words": WordMetric("generator_logits"), "replaced": ReplacedTokenMetric(sampled=True)},
    "next_sentence": lambda _: {"sentences": ClassMetric(2)},
    "masked_lm_and_next_sentence": lambda _: {
        "words": WordMetric("prediction_logits"),
        "sentences": ClassMetric(2, "seq_relationship_logits", "next_sentence_label"),
    },
}


def metrics_of(task: str, config: Config) -> dict[str, Metric]:
    """Fresh metrics by name for a task of a model with this configuration; none for a task without labels."""
    return TASKS[task](config) if task in TASKS else {}
