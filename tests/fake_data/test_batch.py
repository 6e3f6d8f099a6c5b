"""The probe: what it holds, for every model and task, and that its bytes never change."""

import itertools

import numpy as np
import pytest

import fake_data
from fake_data import BatchError
from fake_data.fields import IGNORED
from tests.fake_data.cases import CASES, CONFIGS, TASKS, digest, probe

PINNED = {
    ("electra", "backbone"): "25f61e93451f793ab97e16fe2eebd2ae500fc48c5a9cfbadb1783963d45c0828",
    ("electra", "masked_lm"): "05c443306d1369e7782d91d54d89dc5b8a73aae56d8e0c87e0cc6d47782ad8a4",
    ("electra", "replaced_token"): "63e77984cae850f479a481d7e182389292e2b9eedcd25fe5e56c0a11e31c32f7",
    ("electra", "sequence_classification"): "8d46bea62b88c3e1c14a14c8e9a67364de614e3ef2fcfab69cfa37cd73ed07c6",
    ("electra", "token_classification"): "e541ee9c0421e60fefc52655176a4ab95c9ab7637421d6b96bd41b635a29126b",
    ("electra", "question_answering"): "9a903c1dbd20e72284f84c60995e23868b0f7fc38c1716ba82e111cfd746eef7",
    ("electra", "multiple_choice"): "b407750a4c56afc3281289dbae9dfa1d1670663e97d0a3e2fd46ebf61a85725d",
    ("electra", "pretraining"): "b71a2c942d12462ae809c7f660e8fca2818b6382be31d71d086284bdc81a8271",
    ("funnel", "backbone"): "fd803e67dd4e667369c18b9a65e81e04b1ee31eced06ebd397c5805dd6199e42",
    ("funnel", "masked_lm"): "4336790cf4a093295f3e13476f4da45cf03477c832bb3654146f829ad96fdd78",
    ("funnel", "replaced_token"): "09382adfd859f99ad592081a7872884b6fa21825ebb3414cce18d4443211b029",
    ("funnel", "sequence_classification"): "72bd1131656cdba3531c6192d9e072066ddf3362d5354eb25ce6038b780be241",
    ("funnel", "token_classification"): "f6804fa0b660abf1a5604a44e789d43989c848589327f9a478f68bd5c75c9b2e",
    ("funnel", "question_answering"): "dc7ec32ba9989861478e2d4e53685ddc0e880cccd47ca26d396682cd52d7304e",
    ("funnel", "multiple_choice"): "49420d85376629ff13fbc0cbc4016ce01884f4f12aedc2ed50132255ddd2b750",
    ("funnel", "encoder"): "fd803e67dd4e667369c18b9a65e81e04b1ee31eced06ebd397c5805dd6199e42",
}


def real_ids(model, task="backbone", **options):
    batch = probe(model, task, **options)
    return batch["input_ids"], batch["attention_mask"] == 1, batch["token_type_ids"]


@pytest.mark.parametrize(("model", "task"), CASES)
def test_bytes_are_pinned(model, task):
    assert digest(probe(model, task)) == PINNED[model, task]


@pytest.mark.parametrize(("model", "task"), CASES)
def test_keys_dtypes_and_shapes(model, task):
    batch = probe(model, task)
    assert tuple(batch) == fake_data.batch_keys(model, task)
    leading = (7, 3) if task == "multiple_choice" else (7,)
    for name, array in batch.items():
        shape = {"sampling_noise": (7, 29, 211)}.get(name, (*leading, 29))
        if name.endswith("_positions") or (name == "labels" and task in ("sequence_classification", "multiple_choice")):
            shape = (7,)
        assert (name, array.shape) == (name, shape)
        assert array.dtype == (np.float32 if name == "sampling_noise" else np.int64)


@pytest.mark.parametrize(("model", "task"), CASES)
def test_every_size_and_seed_gives_a_batch_that_fits(model, task):
    for seed, batch_size, length in itertools.product((0, 3), (1, 2, 3, 8), (4, 5, 6, 17, 48)):
        batch = probe(model, task, seed=seed, batch_size=batch_size, length=length)
        fake_data.check_batch(batch, model, task, CONFIGS[model])
        assert batch["input_ids"].shape[0] == batch_size
        assert batch["input_ids"].shape[-1] == length


@pytest.mark.parametrize(("model", "task"), CASES)
def test_the_seed_matters_and_repeats(model, task):
    assert digest(probe(model, task, seed=5)) == digest(probe(model, task, seed=5)) != digest(probe(model, task))


def test_label_names():
    assert fake_data.label_names("electra", "replaced_token") == {"labels"}
    assert fake_data.label_names("electra", "pretraining") == frozenset()
    assert fake_data.label_names("funnel", "question_answering") == {"start_positions", "end_positions"}
    assert fake_data.label_names("funnel", "encoder") == frozenset()


@pytest.mark.parametrize("model", TASKS)
def test_rows_have_every_regime_of_padding(model):
    ids, attended, _ = real_ids(model)
    lengths = attended.sum(axis=1).tolist()
    assert lengths[:5] == [26, 29, 0, 9, 14]
    assert all(3 <= length <= 29 for length in lengths[5:])
    assert np.array_equal(attended, np.arange(29) < np.array(lengths)[:, None])
    assert not ids[~attended & attended.any(axis=1, keepdims=True)].any()


@pytest.mark.parametrize("model", TASKS)
def test_the_tokens_of_an_empty_row_differ(model):
    """Were they all the same pad, their values would be alike and no attention to them could be wrong."""
    ids, attended, types = real_ids(model)
    (row,) = np.flatnonzero(~attended.any(axis=1))
    assert len(set(ids[row].tolist())) > 20
    assert set(types[row, 1:].tolist()) == {0, 1}


def test_the_generator_is_made_to_restore_some_words():
    """Where the original word's noise is almost 1, it is drawn again, and is then no replaced one."""
    batch = probe("electra", "pretraining")
    row, column = np.nonzero(batch["labels"] != IGNORED)
    drawn = batch["sampling_noise"][row, column, batch["labels"][row, column]] == np.float32(1 - 2.0**-24)
    assert 0 < drawn.sum() < len(drawn)


def test_padding_begins_inside_a_pooling_window():
    _, attended, _ = real_ids("funnel")
    windows = attended[:, 1:].reshape(len(attended), -1, 2)  # besides the first token: 1-2, 3-4, …
    assert (windows[..., 0] & ~windows[..., 1]).any(axis=1)[[0, 4]].all()


@pytest.mark.parametrize(("model", "special"), [("electra", (101, 102)), ("funnel", (101, 102))])
def test_special_tokens_stand_around_each_segment(model, special):
    ids, attended, types = real_ids(model)
    cls, sep = special
    for row, length in enumerate(attended.sum(axis=1)):
        if length:
            assert ids[row, 0] == cls
            assert ids[row, length - 1] == sep
            segments = len(set(types[row, 1:length].tolist()))
            assert (ids[row] == sep).sum() == segments
            ends = np.flatnonzero(np.diff(types[row, 1:length])) + 1
            assert (ids[row, ends] == sep).all()
    assert {1, 2} == {len(set(types[row, 1:length].tolist())) for row, length in enumerate(attended.sum(1)) if length}


@pytest.mark.parametrize(("model", "cls_type"), [("electra", 0), ("funnel", 2)])
def test_types(model, cls_type):
    _, attended, types = real_ids(model)
    assert (types[:, 0] == cls_type).all()
    assert set(types[:, 1:][attended[:, 1:]].tolist()) == {0, 1}
    assert not types[~attended & attended.any(axis=1, keepdims=True)].any()


def test_an_architecture_with_one_type_gets_no_other():
    batch = fake_data.make_batch("electra", "backbone", {**CONFIGS["electra"], "type_vocab_size": 1})
    assert not batch["token_type_ids"].any()


@pytest.mark.parametrize("model", TASKS)
@pytest.mark.parametrize("seed", range(4))
def test_ids_spread_over_the_vocabulary(model, seed):
    ids, attended, _ = real_ids(model, seed=seed)
    vocab_size = CONFIGS[model]["vocab_size"]
    text = ids[attended & (ids != 101) & (ids != 102)]
    assert (text == 0).sum() == 1
    assert text.max() == vocab_size - 1
    assert len(set(text.tolist())) == text.size  # so that rows differ, too
    assert np.histogram(text, bins=8, range=(0, vocab_size))[0].min() > text.size / 8 / 2


@pytest.mark.parametrize("vocab_size", [8, 50, 104, 105, 30522])
def test_any_vocabulary(vocab_size):
    config = {**CONFIGS["electra"], "vocab_size": vocab_size}
    batch = fake_data.make_batch("electra", "masked_lm", config)
    fake_data.check_batch(batch, "electra", "masked_lm", config)
    cls, mask = (101, 103) if vocab_size > 104 else (2, 4)
    assert batch["input_ids"][0, 0] == cls
    assert (batch["input_ids"][batch["labels"] != IGNORED] == mask).all()


@pytest.mark.parametrize(("model", "task"), [case for case in CASES if case[1] in ("masked_lm", "pretraining")])
def test_masked_positions_hold_the_mask_token_and_their_label_the_original(model, task):
    batch, plain = probe(model, task), probe(model, "backbone")
    chosen = batch["labels"] != IGNORED
    assert (batch["input_ids"][chosen] == 103).all()
    assert np.array_equal(batch["labels"][chosen], plain["input_ids"][chosen])
    assert np.array_equal(batch["input_ids"][~chosen], plain["input_ids"][~chosen])
    assert {101, 102}.isdisjoint(batch["labels"][chosen].tolist())
    assert (chosen.sum(axis=1) > 0).tolist() == [True, True, False, True, True, True, True]
    assert (batch["input_ids"] == CONFIGS[model]["vocab_size"] - 1).any()
    assert (batch["input_ids"][batch["attention_mask"] == 1] == 0).any()


@pytest.mark.parametrize("model", TASKS)
def test_replaced_token_labels(model):
    batch = probe(model, "replaced_token")
    labels, text = batch["labels"], batch["attention_mask"] == 1
    special = np.isin(batch["input_ids"], (101, 102))
    assert set(labels[text & ~special].tolist()) == {0, 1}
    assert (labels[special] == IGNORED).all()
    assert (labels[1:][~text[1:]] == IGNORED).all()
    assert (labels[0][~text[0]] == 1).all()  # only the mask keeps these out of the loss


@pytest.mark.parametrize("model", TASKS)
def test_class_labels(model):
    batch = probe(model, "token_classification")
    text = (batch["attention_mask"] == 1) & ~np.isin(batch["input_ids"], (101, 102))
    assert set(batch["labels"][text].tolist()) == set(range(5))
    assert (batch["labels"][~text] == IGNORED).all()
    sequences = probe(model, "sequence_classification")["labels"]
    assert sequences[2] == IGNORED
    assert set(sequences.tolist()) == {IGNORED, 0, 1, 2, 3, 4}
    assert set(probe(model, "multiple_choice")["labels"].tolist()) == {IGNORED, 0, 1, 2}


@pytest.mark.parametrize("options", [{"num_labels": 1}, {"problem_type": "regression"}])
def test_regression_has_targets_for_every_label(options):
    config = {**CONFIGS["electra"], **options}
    labels = fake_data.make_batch("electra", "sequence_classification", config)["labels"]
    assert labels.dtype == np.float32
    assert labels.shape == ((7, 5) if config["num_labels"] == 5 else (7,))
    assert np.unique(labels).size == labels.size
    classes = fake_data.make_batch(
        "electra", "sequence_classification", {**config, "problem_type": "single_label_classification"}
    )
    assert classes["labels"].dtype == np.int64


@pytest.mark.parametrize("model", TASKS)
@pytest.mark.parametrize("seed", range(5))
def test_answers_lie_in_the_last_segment(model, seed):
    batch = probe(model, "question_answering", seed=seed, batch_size=9)
    starts, ends = batch["start_positions"], batch["end_positions"]
    assert starts[0] == ends[0]
    assert (starts[2], ends[2], ends[3]) == (IGNORED,) * 3
    for row in (0, 1, 4, 5, 6, 8):
        assert starts[row] <= ends[row]
        for place in (starts[row], ends[row]):
            assert batch["attention_mask"][row, place] == 1
            assert batch["input_ids"][row, place] not in (101, 102)
            assert batch["token_type_ids"][row, place] == batch["token_type_ids"][row, 1:].max()


def test_sampling_noise_is_strictly_inside_the_unit_interval():
    noise = probe("electra", "pretraining")["sampling_noise"]
    assert 0 < noise.min() < noise.max() < 1
    assert np.isfinite(-np.log(-np.log(noise))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("electr", "masked_lm"), "unknown model 'electr': did you mean 'electra'? Known: "),
        (("fields", "masked_lm"), "unknown model 'fields': did you mean"),
        (("funnel", "mlm"), "unknown task 'mlm': did you mean 'masked_lm'? Known: backbone, encoder"),
        (("funnel", "pretraining"), "unknown task 'pretraining'"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(BatchError) as error:
        fake_data.make_batch(*arguments, CONFIGS["funnel"])
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch is 0, the smallest"),
        ({"length": 3}, "length is 3, the smallest"),
        ({"length": 49}, "length is 49, max_position_embeddings allows 48"),
    ],
)
def test_impossible_sizes(options, message):
    with pytest.raises(BatchError, match=message):
        probe("electra", "masked_lm", **options)


def test_a_config_that_lacks_what_the_task_needs():
    with pytest.raises(BatchError, match="config: num_labels is None"):
        fake_data.make_batch("funnel", "token_classification", {"vocab_size": 99})
    with pytest.raises(BatchError, match="vocab_size is 7, the smallest"):
        fake_data.make_batch("funnel", "masked_lm", {"vocab_size": 7})
