"""Scores of answers to questions, as the SQuAD leaderboards define them (Rajpurkar et al., 2016 and 2018)."""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from align.metrics.metric import Arrays, Metric
from align.metrics.spans import n_best, null_score

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)

Answers = Mapping[str, Sequence[str]]  # of each question, all that count as right


def normalise(text: str) -> str:
    """The form in which answers are compared: lower case, no ASCII punctuation, no a, an or the, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> float:
    return float(normalise(prediction) == normalise(answer))


def overlap(prediction: str, answer: str) -> float:
    """F1 of the words that prediction and answer have in common, each as often as both have it."""
    words, wanted = normalise(prediction).split(), normalise(answer).split()
    common = (Counter(words) & Counter(wanted)).total()
    return 2 * common / (len(words) + len(wanted)) if common else 0.0


def overlap_or_none(prediction: str, answer: str) -> float:
    """As `overlap`, but two answers without a word agree."""
    return overlap(prediction, answer) if normalise(prediction) or normalise(answer) else 1.0


def squad_scores(predictions: Mapping[str, str], answers: Answers) -> dict[str, float]:
    """SQuAD 1.1: exact match and F1 in percent, of each question the best over its answers.

    A question without a prediction counts as wrong.
    """

    def score(measure: Callable[[str, str], float]) -> float:
        return _percent(max(measure(predictions[i], a) for a in answers[i]) if i in predictions else 0 for i in answers)

    return {"exact": score(exact_match), "f1": score(overlap)}


def squad_v2_scores(predictions: Mapping[str, str], answers: Answers) -> dict[str, float]:
    """SQuAD 2.0: as 1.1, but where a question has no answer the empty prediction is right, and no other.

    Answers without a word are none. Questions without a prediction are left out of the mean.
    """
    right = {i: [a for a in answers[i] if normalise(a)] or [""] for i in answers if i in predictions}

    def score(measure: Callable[[str, str], float]) -> float:
        return _percent(max(measure(predictions[i], a) for a in right[i]) for i in right)

    return {"exact": score(exact_match), "f1": score(overlap_or_none)}


class AnswerMetric(Metric):
    """Exact match and F1, of the questions that have an answer as SQuAD 1.1, of all ("v2_…") as SQuAD 2.0.

    Logits "start_logits" and "end_logits" (B, L). The batch has "context" (B,), "offset_mapping" (B, L, 2), the
    characters of each token there, −1 outside of it, and "answers" (B, …), "" where there is none. Rows that have the
    same "question" (B,) are parts of one long context; without that entry each row is a question of its own.

    The answer is the best span of all parts (see `spans.n_best`). In SQuAD 2.0 there is none if the smallest null score
    of the parts is above that span's score by more than `threshold`, or there is no span.
    """

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self._threshold = threshold

    def examples(self, outputs: Arrays, batch: Arrays) -> dict[str, np.ndarray]:
        rows = range(len(batch["context"]))
        questions = batch["question"] if "question" in batch else [""] * len(rows)
        logits = zip(outputs["start_logits"], outputs["end_logits"], strict=True)
        found = [self._answer(*pair, batch, row) for row, pair in enumerate(logits)]
        return {
            "prediction": np.array([(start, end, null > score) for start, end, score, null, _ in found], np.int64),
            "score": np.array([score for _, _, score, _, _ in found]),
            "null": np.array([null for _, _, _, null, _ in found]),
            "text": np.array([text for *_, text in found], object),
            "question": np.array(questions, object),
            "answers": _column(list(map(str, batch["answers"][row])) for row in rows),
        }

    def _answer(
        self, start_logits: np.ndarray, end_logits: np.ndarray, batch: Arrays, row: int
    ) -> tuple[int, int, float, float, str]:
        """First and last token of the best span, its score, the null score less the threshold, and the text."""
        offsets = batch["offset_mapping"][row]
        null = null_score(start_logits, end_logits) - self._threshold
        for span in n_best(start_logits, end_logits, offsets)[:1]:
            return span.start, span.end, span.score, null, span.text(str(batch["context"][row]), offsets)
        return -1, -1, -np.inf, null, ""

    def scores(self, examples: Arrays) -> dict[str, float]:
        names = [question or f"row {row}" for row, question in enumerate(examples["question"])]
        best: dict[str, int] = {}
        null: dict[str, float] = {}
        for row, name in enumerate(names):
            null[name] = min(null.get(name, np.inf), examples["null"][row])
            if name not in best or examples["score"][row] > examples["score"][best[name]]:
                best[name] = row
        texts = {name: examples["text"][row] for name, row in best.items()}
        answers = {name: examples["answers"][row] for name, row in best.items()}
        some = {name: right for name, right in answers.items() if any(right)}
        kept = {name: "" if null[name] > examples["score"][best[name]] else text for name, text in texts.items()}
        v2 = {f"v2_{name}": value for name, value in squad_v2_scores(kept, answers).items()}
        return (squad_scores(texts, some) if some else {}) | v2

    def margins(self, outputs: Arrays, batch: Arrays) -> np.ndarray:
        rows = zip(outputs["start_logits"], outputs["end_logits"], batch["offset_mapping"], strict=True)
        return np.array([self._margin(*row) for row in rows])

    def _margin(self, start_logits: np.ndarray, end_logits: np.ndarray, offsets: np.ndarray) -> float:
        scores = [span.score for span in n_best(start_logits, end_logits, offsets)]
        if not scores:
            return np.inf
        to_null = abs(null_score(start_logits, end_logits) - self._threshold - scores[0])
        return min([to_null] + [scores[0] - score for score in scores[1:2]])


def _column(values: Iterable[Sequence[str]]) -> np.ndarray:
    """(N,) of lists, however long each is."""
    rows = list(values)
    column = np.empty(len(rows), object)
    column[:] = rows
    return column


def _percent(values: Iterable[float]) -> float:
    scores = list(values)
    return 100 * sum(scores) / len(scores)
