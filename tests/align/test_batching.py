"""Order, padding and masking, framework-free; and that both DataLoaders carry them out."""

import warnings

import numpy as np
import pytest

from align.batching import collate, cut, order, pipeline
from align.batching.comparison import LENGTH, ROWS, tokens_to_mask
from align.batching.masking import SCHEMES, Scheme, mask_tokens, violations
from align.metrics.metric import IGNORED

SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
EXAMPLES = [{"input_ids": list(range(5, 6 + i)), "labels": [i] * (i + 1), "class": i, "score": i / 2} for i in range(7)]


def test_every_epoch_has_every_example_once_in_an_order_of_its_own():
    orders = [order(50, epoch, seed=3).tolist() for epoch in range(4)]
    assert all(sorted(one) == list(range(50)) for one in orders)
    assert len(set(map(tuple, orders))) == 4
    assert order(50, 1, seed=3).tolist() == orders[1]
    assert order(50, 1, seed=4).tolist() != orders[1]


def test_the_order_is_the_same_on_every_machine():
    assert order(8, 0, seed=0).tolist() == [3, 4, 7, 5, 1, 6, 0, 2]


def test_batches_keep_the_tail_unless_it_is_dropped():
    assert cut(np.arange(7), 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert cut(np.arange(7), 3, drop_last=True) == [[0, 1, 2], [3, 4, 5]]
    assert cut(np.arange(6), 3, drop_last=True) == [[0, 1, 2], [3, 4, 5]]


def test_collate_pads_each_field_with_its_own_and_fixes_the_dtypes():
    batch = collate(EXAMPLES[:3], pad_id=9)
    assert batch["input_ids"].tolist() == [[5, 9, 9], [5, 6, 9], [5, 6, 7]]
    assert batch["labels"].tolist() == [[0, IGNORED, IGNORED], [1, 1, IGNORED], [2, 2, 2]]
    assert {name: array.dtype.name for name, array in batch.items()} == {
        "input_ids": "int64",
        "labels": "int64",
        "class": "int64",
        "score": "float32",
    }


@pytest.mark.parametrize(
    ("options", "width", "first"),
    [
        ({}, 3, [5, 0, 0]),
        ({"side": "left"}, 3, [0, 0, 5]),
        ({"max_length": 5}, 5, [5, 0, 0, 0, 0]),
        ({"multiple": 4}, 4, [5, 0, 0, 0]),
        ({"multiple": 4, "max_length": 5, "side": "left"}, 8, [0, 0, 0, 0, 0, 0, 0, 5]),
    ],
)
def test_collate_pads_at_either_side_to_any_length(options, width, first):
    ids = collate(EXAMPLES[:3], 0, **options)["input_ids"]
    assert ids.shape == (3, width)
    assert ids[0].tolist() == first


@pytest.mark.parametrize("framework", ["torch", "paddle"])
def test_a_dataloader_yields_exactly_these_batches(framework):
    side = pipeline(framework)
    state = np.random.get_state()[1].tolist()
    for epoch in range(2):
        batches = [{k: np.asarray(v) for k, v in batch.items()} for batch in side.epoch(EXAMPLES, 3, epoch, 1, 0)]
        expected = [collate([EXAMPLES[i] for i in rows], 0) for rows in cut(order(7, epoch, 1), 3)]
        assert [len(batch["class"]) for batch in batches] == [3, 3, 1]
        for batch, wanted in zip(batches, expected, strict=True):
            for name in wanted:
                assert batch[name].dtype == wanted[name].dtype
                assert np.array_equal(batch[name], wanted[name])
    assert side.native_dtype() == "float64"
    assert sorted(side.native_order(9, 0)) == list(range(9))
    assert np.random.get_state()[1].tolist() == state


def test_the_frameworks_shuffle_differently_from_one_seed():
    assert pipeline("torch").native_order(30, 5) != pipeline("paddle").native_order(30, 5)
    assert pipeline("paddle").native_order(30, 5) == pipeline("paddle").native_order(30, 5)


TOKENS = tokens_to_mask(600, SPECIAL, seed=0)


def masked(scheme, seed=0, **changes):
    given = {**TOKENS, **changes}
    return mask_tokens(given["ids"], given["text"], SPECIAL["mask"], given["ordinary"], scheme, seed)


def broken(scheme, inputs, labels):
    return list(violations(TOKENS["ids"], TOKENS["text"], inputs, labels, SPECIAL["mask"], TOKENS["ordinary"], scheme))


def test_the_rows_to_mask_have_padding_special_tokens_and_words():
    ids, text = TOKENS["ids"], TOKENS["text"]
    assert ids.shape == (ROWS, LENGTH)
    assert np.isin(ids[text], list(SPECIAL.values())).sum() == 0
    assert np.isin(ids[~text], [SPECIAL["pad"], SPECIAL["cls"], SPECIAL["sep"]]).all()
    assert text.any(axis=1).all()


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("seed", range(5))
def test_masking_follows_its_scheme(scheme, seed):
    inputs, labels = masked(scheme, seed)
    assert broken(scheme, inputs, labels) == []
    chosen = labels != IGNORED
    assert not chosen[~TOKENS["text"]].any()
    assert abs(chosen.sum() / TOKENS["text"].sum() - scheme.share) < 0.01
    assert abs((inputs[chosen] == SPECIAL["mask"]).mean() - scheme.masked) < 0.03


def test_a_row_has_at_least_one_word_to_restore_and_an_empty_row_none():
    ids, text = np.array([[2, 9, 3, 0], [2, 3, 0, 0]]), np.array([[0, 1, 0, 0], [0, 0, 0, 0]], bool)
    _, labels = mask_tokens(ids, text, 4, np.arange(5, 20), SCHEMES["BERT"], 0)
    assert labels.tolist() == [[IGNORED, 9, IGNORED, IGNORED], [IGNORED] * 4]


BERT = SCHEMES["BERT"]


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ("chosen, by a share of 0.15", lambda: masked(Scheme(0.16, 0.8, 0.1))),
        ("of the chosen words are masked", lambda: masked(Scheme(0.15, 0.84, 0.1))),
        ("of the chosen words are random", lambda: masked(Scheme(0.15, 0.8, 0.13))),
        ("special or padding tokens are chosen", lambda: masked(BERT, text=np.ones_like(TOKENS["text"]))),
        ("a random word is a special token", lambda: masked(BERT, ordinary=np.arange(4))),
        ("a label is not the word", lambda: (masked(BERT)[0], np.where(masked(BERT)[1] == IGNORED, IGNORED, 7))),
        ("a token has changed", lambda: (np.full_like(TOKENS["ids"], SPECIAL["mask"]), masked(BERT)[1])),
    ],
)
def test_what_breaks_a_scheme_is_told(said, made):
    assert any(said in line for line in broken(BERT, *made()))


def test_importing_the_loaders_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline("torch")
