"""A user's batch: what fits is taken, what does not is told line by line."""

import numpy as np
import pytest

import fake_data
from fake_data import BatchError
from tests.fake_data.cases import CASES, CONFIGS, probe


def problems(batch, model="electra", task="masked_lm"):
    with pytest.raises(BatchError) as error:
        fake_data.check_batch(batch, model, task, CONFIGS[model])
    return str(error.value).split("\n")


def changed(key, place, value, model="electra", task="masked_lm"):
    batch = {name: array.copy() for name, array in probe(model, task).items()}
    batch[key][place] = value
    return batch


@pytest.mark.parametrize(
    ("model", "task", "key", "place", "value", "expected"),
    [
        ("electra", "masked_lm", "input_ids", (1, 4), 211, "input_ids: 211 at (1, 4), allowed 0..210: tokenise"),
        ("electra", "masked_lm", "input_ids", (0, 3), -1, "input_ids: -1 at (0, 3), allowed 0..210"),
        ("electra", "masked_lm", "attention_mask", (2, 5), 2, "attention_mask: 2 at (2, 5), allowed 0..1"),
        ("electra", "masked_lm", "token_type_ids", (0, 0), 2, "token_type_ids: 2 at (0, 0), allowed 0..1"),
        ("funnel", "masked_lm", "token_type_ids", (3, 1), 3, "token_type_ids: 3 at (3, 1), allowed 0..2"),
        ("electra", "masked_lm", "labels", (0, 1), -1, "labels: -1 at (0, 1), allowed 0..210 or -100: write -100"),
        ("funnel", "replaced_token", "labels", (4, 1), 2, "labels: 2 at (4, 1), allowed 0..1 or -100"),
        ("funnel", "token_classification", "labels", (4, 1), 5, "labels: 5 at (4, 1), allowed 0..4 or -100"),
        ("funnel", "sequence_classification", "labels", 1, 5, "labels: 5 at (1,), allowed 0..4 or -100"),
        ("electra", "multiple_choice", "labels", 3, 3, "labels: 3 at (3,), allowed 0..2 or -100"),
        ("electra", "question_answering", "end_positions", 3, 29, "end_positions: 29 at (3,), allowed 0..28 or -100"),
        ("electra", "pretraining", "sampling_noise", (0, 1, 2), 1.0, "sampling_noise: 1.0 at (0, 1, 2), allowed 0 < x"),
        ("electra", "pretraining", "sampling_noise", (0, 1, 2), np.nan, "sampling_noise: nan at (0, 1, 2)"),
    ],
)
def test_values_out_of_range(model, task, key, place, value, expected):
    lines = problems(changed(key, place, value, model, task), model, task)
    assert len(lines) == 1
    assert lines[0].startswith(expected)


def test_the_first_place_and_the_number_of_others_are_told():
    assert problems(changed("input_ids", (slice(2, 4), 7), 999))[0].startswith("input_ids: 999 at (2, 7) and 1 more,")


def test_all_violations_are_told_at_once():
    batch = changed("input_ids", (1, 4), 300)
    batch["attention_mask"] = batch["attention_mask"].astype(np.float64)
    batch["token_type_ids"] = batch["token_type_ids"][:, :-1]
    batch["label"] = batch.pop("labels")
    lines = problems(batch)
    assert [line.split(":")[0] for line in lines] == ["label", "input_ids", "attention_mask", "token_type_ids"]
    assert "unexpected; electra masked_lm takes input_ids, attention_mask, token_type_ids, labels" in lines[0]
    assert "dtype float64, expected int64" in lines[2]
    assert "shape (7, 28), expected (7, 29) (batch, length)" in lines[3]


@pytest.mark.parametrize(("model", "task"), CASES)
def test_labels_may_be_absent_and_nothing_else(model, task):
    batch = probe(model, task)
    bare = {key: value for key, value in batch.items() if key not in fake_data.label_names(model, task)}
    fake_data.check_batch(bare, model, task, CONFIGS[model])
    for key in bare:
        rest = {name: value for name, value in bare.items() if name != key}
        assert problems(rest, model, task)[0].startswith(f"{key}: missing; {model} {task} takes input_ids")


def test_half_of_an_answer_is_missing_the_other():
    batch = probe("funnel", "question_answering")
    del batch["end_positions"]
    assert problems(batch, "funnel", "question_answering")[0].startswith("end_positions: missing")


def test_ranks_and_emptiness():
    batch = probe("electra", "masked_lm")
    flat = {**batch, "input_ids": batch["input_ids"][0]}
    assert problems(flat) == ["input_ids: shape (29,), expected 2 axes (batch, length): reshape it"]
    empty = {key: value[:0] for key, value in batch.items()}
    assert [line.split(",")[0] for line in problems(empty)] == [f"{key}: shape (0" for key in batch]
    assert "(batch, choices, length)" in problems(probe("funnel", "backbone"), "funnel", "multiple_choice")[0]


def test_values_are_judged_though_the_ids_are_missing():
    batch = changed("attention_mask", (0, 0), 7)
    del batch["input_ids"]
    assert [line.split(":")[0] for line in problems(batch)] == ["input_ids", "attention_mask"]


def test_answers_cannot_be_judged_without_a_length():
    batch = probe("funnel", "question_answering")
    del batch["input_ids"]
    assert len(problems(batch, "funnel", "question_answering")) == 1


def test_too_long_for_the_positions():
    batch = {key: np.tile(value, (1, 2)) for key, value in probe("electra", "masked_lm").items()}
    assert problems(batch) == ["input_ids: length is 58, max_position_embeddings allows 48: shorten it"]
    fake_data.check_batch(batch, "funnel", "masked_lm", {"vocab_size": 211})


def test_regression_targets_must_be_finite():
    config = {**CONFIGS["funnel"], "num_labels": 1}
    batch = fake_data.make_batch("funnel", "sequence_classification", config)
    batch["labels"] = batch["labels"].astype(np.float64)
    batch["labels"][4] = 1e300
    with pytest.raises(BatchError, match=r"labels: 1e\+300 at \(4,\), allowed finite in float32"):
        fake_data.check_batch(batch, "funnel", "sequence_classification", config)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint64, ">i8"])
def test_any_integer_type_is_taken(dtype, tmp_path):
    batch = probe("electra", "backbone")
    small = {key: (value % 100).astype(dtype) for key, value in batch.items()}
    np.savez(tmp_path / "batch.npz", **small)
    loaded = fake_data.load_batch(tmp_path / "batch.npz", "electra", "backbone", CONFIGS["electra"])
    for key, value in loaded.items():
        assert value.dtype == np.int64
        assert np.array_equal(value, batch[key] % 100)
