"""Our BERT is transformers' in torch and PaddleNLP's in Paddle, on the same weights; defects of theirs are pinned.

Limits are relative to the largest expected value, and as for ELECTRA: 1e-12 in float64, 1e-5 in float32.
"""

import dataclasses
import warnings

import numpy as np
import paddle
import pytest
import torch

from models_paddle import bert as paddle_side
from models_torch import bert as torch_side
from tests.pairs import copy_weights, randomise
from tests.references.bert_names import PADDLENLP_CLASSES, batch, fill_paddlenlp
from tests.references.electra_names import default_dtype, gap, run

TINY = torch_side.VARIANTS["tiny"]
LIMITS = {"float32": 1e-5, "float64": 1e-12}
SIZES = [(3, 17), (1, 13)]


@pytest.fixture(params=LIMITS)
def dtype(request):
    with default_dtype(request.param):
        yield request.param


@pytest.fixture
def float64():
    with default_dtype("float64"):
        yield


@pytest.fixture(scope="module")
def transformers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        return transformers


@pytest.fixture(scope="module")
def paddlenlp():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from paddlenlp.transformers.bert import modeling

        return modeling


def ours(task, side=torch_side, **overrides):
    model = getattr(side, side.TASKS[task])(side.BertConfig(**TINY | overrides))
    model.eval()
    return model


def options(overrides):
    return dataclasses.asdict(torch_side.BertConfig(**TINY | overrides))


def of_transformers(package, task, model, attention="eager", **overrides):
    """transformers' model with the weights of ours, which have to fit key for key, both ways."""
    known = options(overrides) | {"attn_implementation": attention}
    if task == "question_answering":
        known["num_labels"] = 2
    reference = getattr(package, torch_side.TASKS[task])(package.BertConfig(**known))
    reference.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(reference.state_dict(), strict=True)
    return reference.to(torch.get_default_dtype()).eval()


def of_paddlenlp(package, task, model, **overrides):
    """PaddleNLP's model with the weights of ours. It is built in float32 whatever the default is."""
    reference = getattr(package, PADDLENLP_CLASSES[task])(package.BertConfig(**options(overrides) | {"num_choices": 4}))
    reference.to(dtype=paddle.get_default_dtype())
    reference.eval()
    return fill_paddlenlp(model, reference)


def call_paddlenlp(reference, fields):
    outputs = reference(**{name: paddle.to_tensor(value) for name, value in fields.items()})
    return tuple(value.numpy() for value in (outputs if isinstance(outputs, tuple) else (outputs,)))


def unlabelled(fields):
    return {name: fields[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def assert_parity(actual, expected, limit):
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert gap(actual[name], value) <= limit, name


# --- transformers ---


@pytest.mark.parametrize(("B", "L"), SIZES)
@pytest.mark.parametrize("task", torch_side.TASKS)
def test_torch_equals_transformers(transformers, dtype, task, B, L):
    model, fields = randomise(ours(task)), batch(task, B, L)
    assert_parity(run(model, fields), run(of_transformers(transformers, task, model), fields), LIMITS[dtype])


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        *(("masked_lm", {"hidden_act": name}) for name in torch_side.ACTIVATIONS),
        ("backbone", {"layer_norm_eps": 1e-3}),
        ("masked_lm", {"tie_word_embeddings": False}),
        ("sequence_classification", {"num_labels": 1}),
    ],
)
def test_torch_equals_transformers_in_every_option(transformers, float64, task, overrides):
    model, fields = randomise(ours(task, **overrides)), batch(task)
    if overrides.get("num_labels") == 1:
        fields["labels"] = np.array([0.3, -1.2, 2.5])
    reference = of_transformers(transformers, task, model, **overrides)
    assert_parity(run(model, fields), run(reference, fields), LIMITS["float64"])


def test_no_mask_and_a_fully_masked_row_are_as_in_transformers(transformers, float64):
    model = randomise(ours("backbone"))
    fields = batch("backbone")
    masked = dict(fields, attention_mask=fields["attention_mask"] * np.array([[1], [1], [0]]))
    reference = of_transformers(transformers, "backbone", model)
    for inputs in ({"input_ids": fields["input_ids"]}, masked):
        assert_parity(run(model, inputs), run(reference, inputs), LIMITS["float64"])


def test_the_fused_attention_of_transformers_is_the_same_function(transformers, float64):
    model, fields = randomise(ours("backbone")), batch("backbone")
    assert_parity(run(model, fields), run(of_transformers(transformers, "backbone", model, "sdpa"), fields), 1e-12)


@pytest.mark.parametrize("side", [torch_side, paddle_side])
@pytest.mark.parametrize("overrides", [{}, {"num_labels": 7, "hidden_act": "relu", "classifier_dropout": 0.3}])
def test_the_config_that_transformers_writes_is_read(transformers, side, overrides):
    expected = side.BertConfig(**TINY | overrides)
    written = transformers.BertConfig(**options(overrides))
    assert side.BertConfig.from_dict(written.to_dict()) == expected
    assert side.BertConfig.from_dict(written.to_diff_dict()) == expected


def test_transformers_starts_the_pad_row_at_zero_and_the_rest_from_a_normal_that_is_not_cut_off(transformers):
    known = options({"vocab_size": 2110})
    table = transformers.BertModel(transformers.BertConfig(**known)).embeddings.word_embeddings.weight
    assert (table[0] == 0).all()
    assert table.abs().max() > 0.06
    own = ours("backbone", vocab_size=2110).embeddings.word_embeddings.weight
    assert (own[0] != 0).all()
    assert own.abs().max() <= 0.04


def test_transformers_does_not_train_the_pad_row_on_lookups(transformers, float64):
    model = randomise(ours("backbone"))
    reference = of_transformers(transformers, "backbone", model)
    ids = torch.tensor(batch("backbone")["input_ids"])  # no mask: padding counts
    for each in (model, reference):
        (each(input_ids=ids)["last_hidden_state"] ** 3).sum().backward()
    own, their = (each.embeddings.word_embeddings.weight.grad for each in (model, reference))
    assert (ids == 0).any()
    assert (their[0] == 0).all()
    assert (own[0] != 0).any()
    assert gap(own[1:].numpy(), their[1:].numpy()) <= LIMITS["float64"]


# --- PaddleNLP ---


@pytest.mark.parametrize(("B", "L"), SIZES)
@pytest.mark.parametrize("task", PADDLENLP_CLASSES)
def test_paddle_equals_paddlenlp_and_torch(paddlenlp, dtype, task, B, L):
    source = randomise(ours(task))
    model = copy_weights(source, ours(task, paddle_side))
    fields = unlabelled(batch(task, B, L))
    actual, from_torch = run(model, fields), run(source, fields)
    expected = call_paddlenlp(of_paddlenlp(paddlenlp, task, source), fields)
    for name, theirs in zip(actual, expected, strict=True):
        assert gap(actual[name], theirs) <= LIMITS[dtype], name
        assert gap(actual[name], from_torch[name]) <= LIMITS[dtype], name


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        ("masked_lm", {"hidden_act": "relu"}),
        ("masked_lm", {"layer_norm_eps": 2.0**-10}),
        ("masked_lm_and_next_sentence", {"tie_word_embeddings": False}),
    ],
)
def test_paddle_equals_paddlenlp_in_its_options(paddlenlp, float64, task, overrides):
    source = randomise(ours(task, **overrides))
    model = copy_weights(source, ours(task, paddle_side, **overrides))
    fields = unlabelled(batch(task))
    expected = call_paddlenlp(of_paddlenlp(paddlenlp, task, source, **overrides), fields)
    for name, theirs in zip(actual := run(model, fields), expected, strict=True):
        assert gap(actual[name], theirs) <= LIMITS["float64"], name


def test_paddlenlp_counts_ignored_labels_in_its_mean(paddlenlp, float64):
    source = randomise(ours("masked_lm_and_next_sentence"))
    fields = batch("masked_lm_and_next_sentence")
    reference = of_paddlenlp(paddlenlp, "masked_lm_and_next_sentence", source)
    words = run(source, fields)["loss"] - run(source, dict(fields, labels=fields["labels"] * 0 - 100))["loss"]
    kept = (fields["labels"] != -100).mean()
    assert 0.1 < kept < 0.9
    expected = run(source, fields)["loss"] - words + words * kept
    assert gap(call_paddlenlp(reference, fields)[0], expected) <= LIMITS["float64"]


def test_paddlenlp_guesses_the_mask_from_the_pad_id_and_lets_a_masked_row_attend_as_if_unmasked(paddlenlp, float64):
    source = randomise(ours("backbone"))
    reference, fields = of_paddlenlp(paddlenlp, "backbone", source), batch("backbone")
    ids = {"input_ids": fields["input_ids"]}
    guessed = dict(ids, attention_mask=(fields["input_ids"] != 0).astype(np.int64))
    expected = call_paddlenlp(reference, ids)[0]
    assert gap(run(source, guessed)["last_hidden_state"], expected) <= LIMITS["float64"]
    assert gap(run(source, ids)["last_hidden_state"], expected) > 1e-2
    masked = dict(fields, attention_mask=np.zeros_like(fields["attention_mask"]))
    unmasked = dict(fields, attention_mask=np.ones_like(fields["attention_mask"]))
    theirs = call_paddlenlp(reference, masked)[0]
    assert gap(run(source, masked)["last_hidden_state"], theirs) > 1e-2  # ours attends evenly, as transformers does
    assert gap(run(source, unmasked)["last_hidden_state"], theirs) < 1e-9  # −1e4 swallows four digits


def test_paddlenlp_folds_choices_by_its_configuration(paddlenlp, float64):
    source = randomise(ours("multiple_choice"))
    reference = of_paddlenlp(paddlenlp, "multiple_choice", source)
    two = {name: value[:2, :2] for name, value in unlabelled(batch("multiple_choice")).items()}
    assert call_paddlenlp(reference, two)[0].shape == (1, 4)
    assert run(source, two)["logits"].shape == (2, 2)
