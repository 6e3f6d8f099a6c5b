"""Every score once more: from its definition, in plain loops over the raw outputs, without the libraries.

They take what `Metric.update` has been given, all batches at once, and prove the metrics.
"""

import math
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from align.metrics import tags_of
from align.metrics.metric import IGNORED, Arrays
from align.metrics.spans import MAX_LENGTH, N_BEST

Run = Sequence[tuple[Arrays, Arrays]]  # (outputs, batch) of each batch
Config = Mapping[str, Any]
Scores = dict[str, float]


def scores_by_definition(name: str, config: Config, run: Run) -> Scores:
    """The scores that the metric of this name (see `metrics_of`) must compute."""
    return _DEFINITIONS[name](run, config)


def _argmax(values: Any) -> int:
    best = 0
    for index, value in enumerate(values):
        if value > values[best]:
            best = index
    return best


def _predicted(run: Run, logits: str = "logits", labels: str = "labels") -> Iterator[tuple[int, int]]:
    """(label, predicted class) of everything that has a label."""
    for outputs, batch in run:
        rows = outputs[logits].reshape(-1, outputs[logits].shape[-1])
        for label, row in zip(batch[labels].reshape(-1).tolist(), rows.tolist(), strict=True):
            if label != IGNORED:
                yield label, _argmax(row)


def _share(count: float, total: float) -> float:
    return count / total if total else 0.0


def _harmonic(a: float, b: float) -> float:
    return _share(2 * a * b, a + b)


def _choices(run: Run, config: Config) -> Scores:
    pairs = list(_predicted(run))
    return {"accuracy": _share(sum(label == found for label, found in pairs), len(pairs))}


def _classes(run: Run, config: Config) -> Scores:
    return _of_classes(list(_predicted(run)), config.get("num_labels", 2))


def _sentences(run: Run, config: Config) -> Scores:
    """Whether one text follows another, alone or learned together with masked words."""
    together = "seq_relationship_logits" in run[0][0]
    names = ("seq_relationship_logits", "next_sentence_label") if together else ("logits", "labels")
    return _of_classes(list(_predicted(run, *names)), 2)


def _of_classes(pairs: Sequence[tuple[int, int]], classes: int) -> Scores:
    occurring = sorted({c for pair in pairs for c in pair})
    rates = [_rates(pairs, c) for c in occurring]
    mean = [math.fsum(column) / len(rates) for column in zip(*rates, strict=True)]
    accuracy = _share(sum(label == found for label, found in pairs), len(pairs))
    scores = {
        "accuracy": accuracy,
        "f1_micro": accuracy,  # one class is right and one is predicted, so precision = recall = accuracy
        "f1_macro": mean[2],
        "f1_of_means": _harmonic(mean[0], mean[1]),
        "matthews": _matthews(pairs, occurring),
    }
    return scores | ({"f1": _rates(pairs, 1)[2]} if classes == 2 else {})


def _rates(pairs: Sequence[tuple[int, int]], positive: int) -> tuple[float, float, float]:
    """Precision, recall and F1 of one class."""
    right = sum(label == found == positive for label, found in pairs)
    precision = _share(right, sum(found == positive for _, found in pairs))
    recall = _share(right, sum(label == positive for label, _ in pairs))
    return precision, recall, _harmonic(precision, recall)


def _matthews(pairs: Sequence[tuple[int, int]], classes: Sequence[int]) -> float:
    """cov(x, y) / √(cov(x, x)·cov(y, y)) of the one-hot vectors of labels and predictions."""

    def covariance(one: int, other: int) -> float:
        total = 0.0
        for c in classes:
            means = [sum(pair[side] == c for pair in pairs) / len(pairs) for side in (one, other)]
            total += sum(((p[one] == c) - means[0]) * ((p[other] == c) - means[1]) for p in pairs)
        return total

    if any(len({pair[side] for pair in pairs}) == 1 for side in (0, 1)):
        return 0.0
    return covariance(0, 1) / math.sqrt(covariance(0, 0) * covariance(1, 1))


def _numbers(run: Run, config: Config) -> Scores:
    labels = [float(x) for _, batch in run for x in batch["labels"].reshape(-1)]
    found = [float(x) for outputs, _ in run for x in outputs["logits"].reshape(-1)]
    pearson, spearman = _pearson(labels, found), _pearson(_ranks(labels), _ranks(found))
    return {"pearson": pearson, "spearman": spearman, "pearson_spearman": (pearson + spearman) / 2}


def _pearson(x: Sequence[float], y: Sequence[float]) -> float:
    if len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0
    a, b = ([value - math.fsum(side) / len(side) for value in side] for side in (x, y))
    spread = math.fsum(v * v for v in a), math.fsum(v * v for v in b)
    return math.fsum(v * w for v, w in zip(a, b, strict=True)) / (math.sqrt(spread[0]) * math.sqrt(spread[1]))


def _ranks(values: Sequence[float]) -> list[float]:
    """Each value's place in ascending order, from 1; equal ones share the mean of their places."""
    return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]


def _words(run: Run, config: Config) -> Scores:
    losses, right = [], 0
    for outputs, batch in run:
        name = next(name for name in ("generator_logits", "prediction_logits", "logits") if name in outputs)
        logits = outputs[name]
        for label, row in zip(batch["labels"].reshape(-1), logits.reshape(-1, logits.shape[-1]), strict=True):
            if label != IGNORED:
                values = [float(x) for x in row]
                largest = max(values)
                total = math.fsum(math.exp(x - largest) for x in values)
                losses.append(largest + math.log(total) - values[label])
                right += _argmax(values) == label
    mean = math.fsum(losses) / len(losses)
    return {"accuracy": right / len(losses), "perplexity": math.exp(mean) if mean < 709 else math.inf}


def _replaced(run: Run, config: Config) -> Scores:
    pairs = []
    for outputs, batch in run:
        labels = outputs["replaced_labels"] if "replaced_labels" in outputs else batch["labels"]
        rows = zip(labels.flat, outputs["logits"].flat, batch["attention_mask"].flat, strict=True)
        pairs += [(int(label), int(x > 0)) for label, x, attended in rows if attended and label != IGNORED]
    precision, recall, f1 = _rates(pairs, 1)
    accuracy = sum(label == found for label, found in pairs) / len(pairs)
    return {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}


def _entities(run: Run, config: Config) -> Scores:
    tags = tags_of(config)
    wanted: set[tuple[Any, ...]] = set()
    found: set[tuple[Any, ...]] = set()
    for number, (outputs, batch) in enumerate(run):
        for row, labels in enumerate(batch["labels"].tolist()):
            kept = [i for i, label in enumerate(labels) if label != IGNORED]
            wanted |= {(number, row, *span) for span in _spans([tags[labels[i]] for i in kept])}
            predicted = [tags[_argmax(outputs["logits"][row][i].tolist())] for i in kept]
            found |= {(number, row, *span) for span in _spans(predicted)}
    precision, recall = (_share(len(wanted & found), len(side)) for side in (found, wanted))
    return {"precision": precision, "recall": recall, "f1": _harmonic(precision, recall)}


def _spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first, last) of each entity."""
    spans: set[tuple[str, int, int]] = set()
    kind, first = "", 0
    for i, tag in enumerate([*tags, "O"]):
        if kind and tag != f"I-{kind}":
            spans.add((kind, first, i - 1))
            kind = ""
        if not kind and tag != "O":
            kind, first = tag[2:], i
    return spans


def _answers(run: Run, config: Config) -> Scores:
    """Of rows that are each a question of its own."""
    exact, f1, v2_exact, v2_f1 = [], [], [], []
    for outputs, batch in run:
        for row, context in enumerate(batch["context"]):
            start, end = outputs["start_logits"][row].tolist(), outputs["end_logits"][row].tolist()
            score, text = _best_span(start, end, batch["offset_mapping"][row].tolist(), str(context))
            answers = [_plain(str(answer)) for answer in batch["answers"][row]]
            if any(answers):
                exact.append(float(_plain(text) in answers))
                f1.append(max(_overlap(_plain(text), answer) for answer in answers))
            kept = [] if start[0] + end[0] > score else _plain(text)
            v2_exact.append(float(kept in (list(filter(None, answers)) or [[]])))
            v2_f1.append(max([_overlap(kept, a) for a in answers if a], default=float(not kept)))
    means = {"exact": exact, "f1": f1, "v2_exact": v2_exact, "v2_f1": v2_f1}
    return {name: 100 * math.fsum(values) / len(values) for name, values in means.items() if values}


def _best_span(
    start: Sequence[float], end: Sequence[float], offsets: Sequence[Sequence[int]], context: str
) -> tuple[float, str]:
    def among_the_best(values: Sequence[float], i: int) -> bool:
        return sum(v > values[i] or (v == values[i] and j < i) for j, v in enumerate(values)) < N_BEST

    best, text = -math.inf, ""
    for first in range(len(start)):
        for last in range(first, min(first + MAX_LENGTH, len(end))):
            score = start[first] + end[last]
            possible = offsets[first][0] >= 0 <= offsets[last][0]
            if possible and score > best and among_the_best(start, first) and among_the_best(end, last):
                best, text = score, context[offsets[first][0] : offsets[last][1]]
    return best, text


def _plain(text: str) -> list[str]:
    """The words of an answer, as they are compared."""
    letters = [c for c in text.lower() if c not in string.punctuation]
    runs, run = [], ""
    for c in [*letters, " "]:
        if c.isalnum() or c == "_":
            run += c
        else:
            runs += [" " if run in ("a", "an", "the") else run, c]
            run = ""
    return "".join(runs).split()


def _overlap(words: Sequence[str], wanted: Sequence[str]) -> float:
    left, common = list(wanted), 0
    for word in words:
        if word in left:
            left.remove(word)
            common += 1
    return _harmonic(_share(common, len(words)), _share(common, len(wanted)))


_DEFINITIONS: Mapping[str, Callable[[Run, Config], Scores]] = {
    "classes": _classes,
    "tokens": _classes,
    "choices": _choices,
    "sentences": _sentences,
    "numbers": _numbers,
    "words": _words,
    "replaced": _replaced,
    "entities": _entities,
    "answers": _answers,
}
