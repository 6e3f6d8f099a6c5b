"""Metrics against other people's: the official SQuAD rules as transformers has them, and PaddleNLP's own.

Where PaddleNLP defines a score otherwise, the test says so with the smallest example.
"""

import json

import numpy as np
import pytest

pytest.importorskip("paddlenlp")
pytest.importorskip("transformers")

import paddle
from paddlenlp.metrics import AccuracyAndF1, ChunkEvaluator, Mcc, PearsonAndSpearman
from paddlenlp.metrics import squad as paddlenlp_squad
from transformers.data.metrics import squad_metrics as transformers_squad

from align.metrics import metrics_of, squad_scores, squad_v2_scores
from align.metrics.answers import normalise, overlap_or_none
from align.metrics.classes import class_scores
from align.metrics.correlation import correlations
from align.metrics.entities import numbered_tags
from align.metrics.spans import n_best
from tests.real_data import DATA, needs

CUTS = [(0, 16), (16, 32), (32, 37)]
TEXTS = [
    "The Denver Broncos!",
    "an  apple a day",
    "state-of-the-art",
    "Theodore's theatre",
    "a",
    "",
    "№ 7 — “quoted”",
    "über the Größe",
    "it's an_underscore",
    "50%\tof\n$1,000.50",
]


def accumulated(metric, logits, labels, cuts=CUTS):
    for first, end in cuts:
        metric.update(metric.compute(paddle.to_tensor(logits[first:end]), paddle.to_tensor(labels[first:end, None])))
    return metric.accumulate()


def two_classes(seed):
    random = np.random.default_rng(seed)
    return random.normal(size=(37, 2)).astype(np.float32), random.integers(0, 2, 37)


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_f1_and_matthews_of_two_classes_agree(seed):
    logits, labels = two_classes(seed)
    scores = class_scores(labels, logits.argmax(1), binary=True)
    accuracy, _, _, f1, _ = accumulated(AccuracyAndF1(), logits, labels)
    assert accuracy == pytest.approx(scores["accuracy"])
    assert f1 == pytest.approx(scores["f1"])
    assert accumulated(Mcc(), logits, labels)[0] == pytest.approx(scores["matthews"])


def test_paddlenlp_matthews_is_0_where_nothing_is_wrong():
    labels = np.array([0, 1, 1, 0])
    perfect = np.eye(2, dtype=np.float32)[labels]
    assert accumulated(Mcc(), perfect, labels, [(0, 4)])[0] == 0.0
    assert class_scores(labels, labels, binary=True)["matthews"] == 1.0


def test_paddlenlp_counts_a_tie_as_positive_for_f1_and_as_negative_for_accuracy():
    labels, logits = np.array([1, 1, 0, 1]), np.zeros((4, 2), np.float32)
    accuracy, precision, _, _, _ = accumulated(AccuracyAndF1(), logits, labels, [(0, 4)])
    assert (accuracy, precision) == (0.25, 0.75)
    assert class_scores(labels, logits.argmax(1), binary=True)["accuracy"] == 0.25


def test_paddlenlp_matthews_takes_three_classes_for_two():
    labels = np.array([0, 1, 2, 2, 1, 0])
    predictions = np.array([0, 1, 2, 1, 1, 2])
    ours = class_scores(labels, predictions, binary=False)["matthews"]
    theirs = accumulated(Mcc(), np.eye(3, dtype=np.float32)[predictions], labels, [(0, 6)])[0]
    assert abs(ours - theirs) > 0.05


def correlated(predictions, labels, cuts=CUTS):
    metric = PearsonAndSpearman()
    for first, end in cuts:
        metric.update((paddle.to_tensor(predictions[first:end, None]), paddle.to_tensor(labels[first:end])))
    return metric.accumulate()


@pytest.mark.parametrize("seed", range(5))
def test_correlations_of_numbers_that_all_differ_agree(seed):
    random = np.random.default_rng(seed)
    predictions = random.normal(size=37)
    labels = predictions + random.normal(size=37)
    assert correlated(predictions, labels) == pytest.approx(tuple(correlations(labels, predictions).values()))


def test_paddlenlp_ranks_equal_numbers_one_after_the_other():
    predictions, labels = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1.0, 1.0, 2.0])
    assert correlations(labels, predictions)["spearman"] == pytest.approx(np.sqrt(3 / 5))
    assert correlated(predictions, labels, [(0, 4)])[1] != pytest.approx(np.sqrt(3 / 5), abs=0.01)


def test_paddlenlp_pearson_cancels_far_from_zero():
    random = np.random.default_rng(0)
    labels = random.normal(size=37)
    predictions = 1e6 + 1e-3 * labels
    assert correlations(labels, predictions)["pearson"] == pytest.approx(1.0, abs=1e-6)
    assert correlated(predictions, labels)[0] != pytest.approx(1.0, abs=1e-3)


def test_paddlenlp_correlations_fail_on_a_last_batch_of_one():
    numbers = np.arange(5.0)
    with pytest.raises(TypeError):
        correlated(numbers, numbers, [(0, 4), (4, 5)])
    assert correlations(numbers, numbers)["pearson"] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(5))
def test_entities_agree_where_every_token_has_a_label(seed):
    random = np.random.default_rng(seed)
    tags = numbered_tags(5)
    evaluator = ChunkEvaluator(tags)
    metric = metrics_of("token_classification", {"num_labels": 5})["entities"]
    for rows in (4, 4, 1):
        logits, labels = random.normal(size=(rows, 9, 5)), random.integers(0, 5, (rows, 9))
        arrays = np.full(rows, 9), logits.argmax(-1), labels
        evaluator.update(*(count.item() for count in evaluator.compute(*map(paddle.to_tensor, arrays))))
        metric.update({"logits": logits}, {"labels": labels})
    precision, recall, f1 = evaluator.accumulate()
    assert metric.compute() == pytest.approx({"precision": precision, "recall": recall, "f1": f1})


def test_paddlenlp_entities_do_not_know_ignored_labels():
    evaluator = ChunkEvaluator(numbered_tags(5))
    arrays = np.array([2]), np.array([[1, 0]]), np.array([[1, -100]])
    with pytest.raises(KeyError):
        evaluator.compute(*map(paddle.to_tensor, arrays))


@pytest.mark.parametrize("text", TEXTS)
def test_normalisation_is_the_official_one(text):
    assert normalise(text) == transformers_squad.normalize_answer(text)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("other", TEXTS)
def test_overlap_is_the_official_one(text, other):
    assert overlap_or_none(text, other) == pytest.approx(transformers_squad.compute_f1(other, text))


def test_paddlenlp_drops_chinese_punctuation_which_the_official_normalisation_keeps():
    assert paddlenlp_squad.normalize_answer("北京，中国。") == "北京中国"
    assert normalise("北京，中国。") == transformers_squad.normalize_answer("北京，中国。") == "北京，中国。"


def test_paddlenlp_takes_impossible_questions_for_answerable_ones_and_the_other_way_round():
    example = {"id": "q", "is_impossible": True, "answers": {"text": [], "answer_start": []}}
    assert paddlenlp_squad.make_qid_to_has_ans([example]) == {"q": True}


def features(seed, rows=6, length=31):
    """Logits of some questions, and their contexts in the form that both packages take."""
    random = np.random.default_rng(seed)
    start, end = random.normal(size=(2, rows, length))
    offsets = np.array([(-1, -1)] * 7 + [(3 * i, 3 * i + 2) for i in range(length - 8)] + [(-1, -1)])
    return start, end, offsets, " ".join(f"w{i % 10}" for i in range(length - 8))


@pytest.mark.parametrize("seed", range(5))
def test_the_best_spans_agree_with_paddlenlp(seed):
    start, end, offsets, context = features(seed)
    examples = paddlenlp_examples(len(start), context)
    feature = [None if first < 0 else (int(first), int(last)) for first, last in offsets]
    found, best, _ = paddlenlp_squad.compute_prediction(
        examples, [{"example_id": str(i), "offset_mapping": feature} for i in range(len(start))], (start, end)
    )
    for i in range(len(start)):
        ours = n_best(start[i], end[i], offsets)
        assert ours[0].text(context, offsets) == found[str(i)]
        assert [span.text(context, offsets) for span in ours] == [entry["text"] for entry in best[str(i)]]


def paddlenlp_examples(count, context):
    class Examples(list):
        def __getitem__(self, key):
            return [example["id"] for example in self] if key == "id" else super().__getitem__(key)

    return Examples({"id": str(i), "context": context} for i in range(count))


def squad_data(name):
    """(answers, examples as transformers reads them) by question."""
    articles = json.loads((DATA / "squad" / name).read_text(encoding="utf-8"))["data"]
    questions = [q for article in articles for p in article["paragraphs"] for q in p["qas"]]
    return {q["id"]: [answer["text"] for answer in q["answers"]] for q in questions}


class Example:
    def __init__(self, name, answers):
        self.qas_id, self.answers = name, [{"text": text} for text in answers]


@needs("squad")
@pytest.mark.parametrize("system", ["bert_ensemble", "logistic_regression"])
def test_real_predictions_score_as_by_the_official_rules(system):
    answers = squad_data("dev-v1.1.json")
    predictions = json.loads((DATA / "squad" / f"predictions-v1.1_{system}.json").read_text(encoding="utf-8"))
    exact, f1 = transformers_squad.get_raw_scores([Example(*q) for q in answers.items()], predictions)
    count = len(answers)
    expected = {"exact": 100 * sum(exact.values()) / count, "f1": 100 * sum(f1.values()) / count}
    assert squad_scores(predictions, answers) == pytest.approx(expected)
    v2 = {"exact": 100 * np.mean(list(exact.values())), "f1": 100 * np.mean(list(f1.values()))}
    assert squad_v2_scores(predictions, answers) == pytest.approx(v2)
    assert (system == "bert_ensemble") == (expected["f1"] > 90)


@needs("squad")
def test_real_unanswerable_questions_score_as_by_the_official_rules():
    answers = squad_data("dev-v2.0.json")
    random = np.random.default_rng(0)
    predictions = {name: str(random.choice([*texts, "", "the wrong one"])) for name, texts in answers.items()}
    examples = [Example(*question) for question in answers.items()]
    official = transformers_squad.squad_evaluate(examples, predictions)
    assert squad_v2_scores(predictions, answers) == pytest.approx({name: official[name] for name in ("exact", "f1")})
