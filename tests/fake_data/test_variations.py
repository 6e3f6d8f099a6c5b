"""Batches that hold the same examples."""

import dataclasses

import numpy as np
import pytest

from fake_data import check_batch, make_batch
from fake_data.variations import append_padding, axes_of, change_padding, classes_are_positions, longest, take_rows
from models_torch.electra import VARIANTS, ElectraConfig

CONFIG = dataclasses.asdict(ElectraConfig.from_dict(VARIANTS["tiny"]))
TASKS = ["pretraining", "multiple_choice", "question_answering", "sequence_classification"]


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


@pytest.fixture
def batch(task):
    return make_batch("electra", task, CONFIG)


@pytest.fixture
def axes(task):
    return axes_of("electra", task, CONFIG)


def test_every_variation_is_a_batch_that_the_model_takes(task, batch, axes):
    for varied in (
        take_rows(batch, axes, [3]),
        take_rows(batch, axes, [4, 0, 1]),
        append_padding(batch, axes, 3),
        change_padding(batch, [7, 9, 11]),
    ):
        assert {name: array.dtype for name, array in varied.items()} == {n: a.dtype for n, a in batch.items()}
        check_batch(varied, "electra", task, CONFIG)


def test_padding_comes_last_and_is_seen_by_nobody(batch, axes):
    longer = append_padding(batch, axes, 3)
    length = batch["input_ids"].shape[-1]
    assert longer["input_ids"].shape[-1] == length + 3
    assert not longer["attention_mask"][..., length:].any()
    assert (longer["input_ids"][..., length:] == CONFIG["pad_token_id"]).all()
    for name, array in batch.items():
        at = axes[name].names.index("length") if "length" in axes[name].names else None
        assert np.array_equal(longer[name] if at is None else longer[name].take(range(length), at), array)
    if "labels" in batch and "length" in axes["labels"].names:
        assert (longer["labels"][..., length:] == -100).all()


def test_rows_are_taken_of_every_array(batch, axes):
    taken = take_rows(batch, axes, [5, 1])
    assert all(np.array_equal(taken[name], batch[name][[5, 1]]) for name in batch)


def test_only_what_stands_under_padding_changes(batch):
    changed = change_padding(batch, [7, 9, 11])
    attended = batch["attention_mask"] == 1
    for name in ("input_ids", "token_type_ids"):
        assert np.array_equal(changed[name][attended], batch[name][attended])
        assert (changed[name][~attended] != batch[name][~attended]).any()


def test_what_the_architecture_says():
    assert longest("electra", CONFIG) == CONFIG["max_position_embeddings"]
    assert longest("funnel", {}) is None
    assert classes_are_positions("electra", "question_answering", CONFIG)
    assert not classes_are_positions("electra", "sequence_classification", CONFIG)
