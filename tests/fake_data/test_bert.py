"""BERT's own tasks: whether the second text follows the first, alone and beside masked words."""

import numpy as np
import pytest

import fake_data
from fake_data import BatchError
from fake_data.fields import IGNORED, IGNORED_EXAMPLE
from tests.fake_data.cases import digest

CONFIG = {"vocab_size": 211, "type_vocab_size": 2, "max_position_embeddings": 48, "num_labels": 5}
PINNED = {
    "next_sentence": "ee2c145be3104c4cc4c1793ea0e033b066dbadb54f2832dc9bc3b86797969ead",
    "masked_lm_and_next_sentence": "fc4a3543fd0eec00a2b160aeeabd5d091b33a0663bcc452102c51099b69a69ff",
}
LABELS = {"next_sentence": {"labels"}, "masked_lm_and_next_sentence": {"labels", "next_sentence_label"}}


@pytest.mark.parametrize("task", PINNED)
def test_bytes_are_pinned_and_labels_left_out_of_the_forward_pass(task):
    batch = fake_data.make_batch("bert", task, CONFIG)
    assert digest(batch) == PINNED[task]
    assert fake_data.label_names("bert", task) == LABELS[task]


@pytest.mark.parametrize(
    ("task", "name"), [("next_sentence", "labels"), ("masked_lm_and_next_sentence", "next_sentence_label")]
)
def test_both_orders_and_an_ignored_one_occur(task, name):
    batch = fake_data.make_batch("bert", task, CONFIG, seed=3)
    order = batch[name]
    assert set(order.tolist()) == {0, 1, IGNORED}
    assert (order == IGNORED).nonzero()[0].tolist() == [IGNORED_EXAMPLE]
    order[0] = 2
    with pytest.raises(BatchError, match=f"{name}: 2 at"):
        fake_data.check_batch(batch, "bert", task, CONFIG)


def test_words_are_masked_beside_the_order():
    batch = fake_data.make_batch("bert", "masked_lm_and_next_sentence", CONFIG)
    alone = fake_data.make_batch("bert", "masked_lm", CONFIG)
    assert all(np.array_equal(batch[name], alone[name]) for name in alone)
    assert set(batch) - set(alone) == {"next_sentence_label"}
