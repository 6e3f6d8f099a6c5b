"""Metrics: against their definitions, against numbers worked out by hand, and however the batches are cut."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.metrics import metrics_of, squad_scores, squad_v2_scores, tags_of
from align.metrics.answers import exact_match, normalise, overlap
from align.metrics.classes import class_scores, matthews
from align.metrics.correlation import correlations
from align.metrics.definitions import scores_by_definition
from align.metrics.metric import IGNORED, first_largest
from align.metrics.spans import n_best

CASES = [
    ("sequence_classification", 1),
    ("sequence_classification", 2),
    ("sequence_classification", 5),
    ("token_classification", 5),
    ("multiple_choice", 3),
    ("masked_lm", 23),
    ("replaced_token", 2),
    ("pretraining", 23),
    ("question_answering", 2),
]
LENGTH = 27


class Maker:
    """Outputs and batches of a task, with ties or without."""

    def __init__(self, seed, ties):
        self.random = np.random.default_rng(seed)
        self.ties = ties

    def logits(self, *shape):
        return self.random.integers(-2, 3, shape).astype(float) if self.ties else self.random.normal(size=shape)

    def labels(self, classes, *shape):
        return np.where(self.random.random(shape) < 0.2, IGNORED, self.random.integers(0, classes, shape))

    def make(self, task, classes, rows):
        tokens = (rows, LENGTH)
        mask = self.random.integers(0, 2, tokens)
        if task == "question_answering":
            words = [" ".join(f"W{i % 9}" for i in range(LENGTH))] * rows
            places = np.array([[(3 * i, 3 * i + 2) if i > 4 else (-1, -1) for i in range(LENGTH)]] * rows)
            spans = [f"the w{k}, w{k + 1}!" if k < 7 else "" for k in self.random.integers(0, 9, rows)]
            batch = {"context": np.array(words), "offset_mapping": places, "answers": np.array(spans)[:, None]}
            return {"start_logits": self.logits(*tokens), "end_logits": self.logits(*tokens)}, batch
        if classes == 1:
            numbers = self.random.integers(0, 6, rows) if self.ties else self.random.normal(size=rows)
            return {"logits": self.logits(rows, 1)}, {"labels": numbers.astype(np.float32)}
        if task == "pretraining":
            replaced = self.random.integers(0, 2, tokens)
            outputs = {"generator_logits": self.logits(*tokens, classes), "logits": self.logits(*tokens)}
            return outputs | {"replaced_labels": replaced}, {
                "labels": self.labels(classes, *tokens),
                "attention_mask": mask,
            }
        if task == "replaced_token":
            return {"logits": self.logits(*tokens)}, {"labels": self.labels(2, *tokens), "attention_mask": mask}
        shape = (rows,) if task in ("sequence_classification", "multiple_choice") else tokens
        return {"logits": self.logits(*shape, classes)}, {"labels": self.labels(classes, *shape)}


def score(task, config, run):
    metrics = metrics_of(task, config)
    for outputs, batch in run:
        for metric in metrics.values():
            metric.update(outputs, batch)
    return {name: metric.compute() for name, metric in metrics.items()}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("task", "classes"), CASES)
def test_scores_are_what_their_definitions_give(task, classes, ties):
    for seed in range(4):
        maker, config = Maker(seed, ties), {"num_labels": classes}
        run = [maker.make(task, classes, rows) for rows in (7, 7, 3, 1)]
        for name, scores in score(task, config, run).items():
            defined = scores_by_definition(name, config, run)
            assert scores.keys() == defined.keys()
            assert scores == pytest.approx(defined, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize(("task", "classes"), CASES)
def test_scores_do_not_depend_on_how_the_examples_are_cut_into_batches(task, classes):
    maker = Maker(0, ties=True)
    outputs, batch = maker.make(task, classes, 13)

    def part(rows):
        return {k: v[rows] for k, v in outputs.items()}, {k: v[rows] for k, v in batch.items()}

    whole = score(task, {"num_labels": classes}, [(outputs, batch)])
    for cuts in ([0, 12, 13], [0, 5, 10, 13], list(range(14))):
        parts = [part(slice(a, b)) for a, b in pairwise(cuts)]
        assert score(task, {"num_labels": classes}, parts) == whole


@pytest.mark.parametrize("task", ["backbone", "encoder", "a task of tomorrow"])
def test_a_task_without_labels_has_no_metric(task):
    assert metrics_of(task, {}) == {}


@pytest.mark.parametrize(("task", "classes"), [case for case in CASES if case[1] > 1 and "question" not in case[0]])
def test_without_any_label_there_is_nothing_to_score(task, classes):
    outputs, batch = Maker(0, ties=False).make(task, classes, 4)
    batch["labels"][:] = IGNORED
    metric = next(iter(metrics_of(task, {"num_labels": classes}).values()))
    metric.update(outputs, batch)
    with pytest.raises(ValueError, match="nothing to score"):
        metric.compute()


def test_of_equal_logits_the_first_class_is_predicted():
    assert first_largest(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])).tolist() == [1, 0]


# The two macro F1 of Opitz & Burst: precision and recall of the classes are (1, 1/2) and (1/2, 1).
def test_the_two_macro_f1():
    scores = class_scores(np.array([0, 0, 1]), np.array([0, 1, 1]), binary=True)
    assert scores["f1_macro"] == pytest.approx(2 / 3)
    assert scores["f1_of_means"] == pytest.approx(3 / 4)
    assert scores["f1_micro"] == scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["f1"] == pytest.approx(2 / 3)


def test_classes_that_do_not_occur_do_not_count_and_those_never_predicted_do():
    scores = class_scores(np.array([0, 0, 2]), np.array([0, 0, 0]), binary=False)
    assert scores["f1_macro"] == pytest.approx(0.8 / 2)


@pytest.mark.parametrize(
    ("labels", "predictions", "expected"),
    [
        ([0, 1, 1, 0], [0, 1, 1, 0], 1.0),
        ([0, 1, 1, 0], [1, 0, 0, 1], -1.0),
        ([1, 1, 1, 0], [1, 0, 1, 0], 2 / np.sqrt(3 * 1 * 2 * 2)),
        ([0, 1, 1, 0], [1, 1, 1, 1], 0.0),
        ([1, 1, 1, 1], [1, 0, 1, 0], 0.0),
        ([1, 1], [1, 1], 0.0),
    ],
)
def test_matthews(labels, predictions, expected):
    assert matthews(np.array(labels), np.array(predictions)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "predictions", "pearson", "spearman"),
    [
        ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 1.0, 1.0),
        ([1.0, 2.0, 3.0], [-1.0, -2.0, -30.0], -29 / np.sqrt(1084), -1.0),
        ([1.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 3.0], 9 / 11, 8 / 9),  # ranks 1.5 1.5 3 4 and 1 2 3.5 3.5
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], 0.0, 0.0),
        ([1.0, 2.0, 3.0], [5.0, 5.0, 5.0], 0.0, 0.0),
        ([1.0], [2.0], 0.0, 0.0),
        ([1.0, 2.0, 3.0], [1e9, 1e9 + 1e-6, 1e9 + 2e-6], None, None),  # all but constant: no warning
    ],
)
def test_correlations(labels, predictions, pearson, spearman):
    scores = correlations(np.array(labels), np.array(predictions))
    if pearson is not None:
        assert scores["pearson"] == pytest.approx(pearson, abs=1e-12)
        assert scores["spearman"] == pytest.approx(spearman, abs=1e-12)
    assert scores["pearson_spearman"] == (scores["pearson"] + scores["spearman"]) / 2


def test_the_perplexity_of_knowing_nothing_is_the_size_of_the_vocabulary():
    scores = score("masked_lm", {}, [({"logits": np.zeros((2, 5, 17))}, {"labels": np.full((2, 5), 3)})])["words"]
    assert scores == {"accuracy": 0.0, "perplexity": pytest.approx(17)}


def test_a_perplexity_beyond_all_numbers_is_infinite():
    logits = np.zeros((1, 1, 2))
    logits[..., 0] = 1e4
    assert (
        score("masked_lm", {}, [({"logits": logits}, {"labels": np.ones((1, 1), int)})])["words"]["perplexity"]
        == np.inf
    )


def test_replaced_tokens_are_counted_where_the_mask_and_the_labels_say_so():
    logits = np.array([[2.0, -1.0, 0.0, 3.0, 1.0]])
    batch = {"labels": np.array([[1, 1, 0, 0, IGNORED]]), "attention_mask": np.array([[1, 1, 1, 0, 1]])}
    scores = score("replaced_token", {}, [({"logits": logits}, batch)])["replaced"]
    assert scores == pytest.approx({"accuracy": 2 / 3, "precision": 1.0, "recall": 0.5, "f1": 2 / 3})


def entities(labels, predictions, tags=("O", "B-1", "I-1", "B-2", "I-2")):
    numbers = {tag: number for number, tag in enumerate(tags)} | {"-": IGNORED}
    outputs = np.eye(len(tags))[[[max(numbers[tag], 0) for tag in row] for row in predictions]]
    batch = {"labels": np.array([[numbers[tag] for tag in row] for row in labels])}
    config = {"num_labels": len(tags)}
    found = score("token_classification", config, [({"logits": outputs}, batch)])["entities"]
    assert found == pytest.approx(scores_by_definition("entities", config, [({"logits": outputs}, batch)]))
    return found["precision"], found["recall"]


@pytest.mark.parametrize(
    ("labels", "predictions", "expected"),
    [
        (["B-1 I-1 O B-2"], ["B-1 I-1 O B-2"], (1, 1)),
        (["B-1 I-1 O B-2"], ["B-1 O O B-2"], (0.5, 0.5)),  # half an entity is none
        (["B-1 I-1 I-1"], ["B-1 B-1 I-1"], (0, 0)),
        (["B-1 I-1 O O"], ["I-1 I-1 O O"], (1, 1)),  # I- after O begins an entity
        (["B-1 B-2 O"], ["B-1 I-2 O"], (1, 1)),  # and so does I- of another type
        (["B-1 - I-1"], ["B-1 O I-1"], (1, 1)),  # the ignored token is not there at all
        (["O B-1", "I-1 O"], ["O B-1", "I-1 O"], (1, 1)),  # an entity ends with its sentence
        (["O B-1", "I-1 O"], ["O B-1", "O O"], (1, 0.5)),
        (["O O"], ["O O"], (0, 0)),
        (["- -", "B-1 O"], ["O O", "B-1 O"], (1, 1)),  # a sentence without any label
    ],
)
def test_entities(labels, predictions, expected):
    assert entities(*([row.split() for row in side] for side in (labels, predictions))) == expected


def test_tags_come_from_the_configuration_if_they_are_tags():
    named = {"id2label": {"0": "O", "1": "B-PER", "2": "I-PER"}, "num_labels": 3}
    assert tags_of(named) == ["O", "B-PER", "I-PER"]
    assert tags_of({"id2label": {0: "LABEL_0", 1: "LABEL_1"}, "num_labels": 4}) == ["O", "B-1", "I-1", "B-2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Quick, brown\tFox!", "quick brown fox"),
        ("an apple a day", "apple day"),
        ("Theodore's theatre", "theodores theatre"),
        ("state-of-the-art", "stateoftheart"),  # punctuation goes first, so no article is left standing alone
        ("A", ""),
        ("…—“the”", "…—“ ”"),  # only ASCII punctuation goes, and it does not hide an article
        ("中国，a 北京", "中国， 北京"),
    ],
)
def test_answers_are_normalised(text, expected):
    assert normalise(text) == expected


def test_exact_match_and_overlap():
    assert exact_match("the cat", "Cat.") == 1.0
    assert overlap("the black cat sat", "black cat") == pytest.approx(0.8)
    assert overlap("a b b", "b b b") == pytest.approx(2 * 2 / (2 + 3))  # "a" is an article
    assert overlap("the", "an") == 0.0


def test_squad_scores():
    answers = {"1": ["Denver Broncos", "Broncos"], "2": ["1999"], "3": ["x"]}
    assert squad_scores({"1": "the Broncos", "2": "in 1999"}, answers) == pytest.approx(
        {"exact": 100 / 3, "f1": (1 + 2 / 3) * 100 / 3}
    )


def test_squad_v2_scores():
    answers = {"1": ["Broncos"], "2": [], "3": ["the"], "4": ["y"]}
    predictions = {"1": "", "2": "", "3": "something"}  # the third has no answer either, and the fourth no prediction
    assert squad_v2_scores(predictions, answers) == pytest.approx({"exact": 100 / 3, "f1": 100 / 3})


@settings(deadline=None, max_examples=50)
@given(st.text(alphabet="aAnthe .,!的—\t_'0", max_size=20), st.text(alphabet="aAnthe .,!的—\t_'0", max_size=20))
def test_answers_by_definition(one, other):
    from align.metrics.definitions import _overlap, _plain

    assert _plain(one) == normalise(one).split()
    assert overlap(one, other) == pytest.approx(_overlap(_plain(one), _plain(other)))


OFFSETS = np.array([[-1, -1], [0, 2], [3, 5], [6, 8], [9, 11], [-1, -1]])


def spans(start, end, **options):
    return [(span.start, span.end) for span in n_best(np.array(start), np.array(end), OFFSETS, **options)]


def test_spans_lie_in_the_context_and_do_not_run_backwards():
    found = spans([9.0, 0, 3, 0, 0, 0], [0.0, 2, 0, 1, 0, 9])
    assert found[0] == (2, 3)
    assert all(1 <= start <= end <= 4 for start, end in found)
    assert len(found) == 10


def test_spans_are_not_longer_than_allowed():
    assert spans([0.0, 5, 0, 0, 0, 0], [0.0, 0, 0, 0, 5, 0])[0] == (1, 4)
    assert spans([0.0, 5, 0, 0, 0, 0], [0.0, 0, 0, 1, 5, 0], longest=3)[0] == (1, 3)


def test_only_the_best_starts_and_ends_make_spans():
    # The best start lies outside of the context, and only one start may be tried.
    assert spans([9.0, 5, 0, 0, 0, 0], [0.0, 0, 0, 0, 5, 0], count=1) == []
    assert spans([0.0, 5, 0, 0, 0, 0], [0.0, 0, 0, 0, 5, 0], count=1) == [(1, 4)]


def test_of_equal_spans_the_earlier_and_then_the_shorter_goes_first():
    assert spans([0.0] * 6, [0.0] * 6)[:5] == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 2)]


def answer_scores(start, end, question=None, answers=None):
    rows = len(start)
    batch = {
        "context": np.array(["ab cd ef gh"] * rows),
        "offset_mapping": np.array([OFFSETS] * rows),
        "answers": answers or [["cd"]] * rows,
    }
    if question:
        batch["question"] = question
    return score("question_answering", {}, [({"start_logits": np.array(start), "end_logits": np.array(end)}, batch)])[
        "answers"
    ]


def test_the_best_part_of_a_long_context_answers():
    right, wrong = [0.0, 0, 5, 0, 0, 0], [0.0, 0, 0, 4, 0, 0]
    assert answer_scores([right, wrong], [right, wrong], ["q", "q"])["exact"] == 100
    assert answer_scores([right, wrong], [right, wrong])["exact"] == 50
    assert answer_scores([wrong, right], [wrong, right], ["q", "q"])["exact"] == 100


def test_no_answer_needs_the_smallest_null_score_of_all_parts():
    strong, weak = [9.0, 0, 5, 0, 0, 0], [1.0, 0, 0, 4, 0, 0]
    assert answer_scores([strong], [strong])["v2_exact"] == 0
    assert answer_scores([strong], [strong], answers=[[""]]) == {"v2_exact": 100, "v2_f1": 100}
    assert answer_scores([strong, weak], [strong, weak], ["q", "q"])["v2_exact"] == 100


def test_several_answers_and_a_batch_of_another_number_of_them():
    one = [0.0, 0, 5, 0, 0, 0]
    assert answer_scores([one, one], [one, one], answers=[["x", "CD."], ["no"]])["exact"] == 50
