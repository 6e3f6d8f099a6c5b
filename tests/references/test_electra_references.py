"""Our ELECTRA is transformers' in torch and PaddleNLP's in Paddle, on the same weights; defects of theirs are pinned.

Limits are relative to the largest expected value. In float64 rounding leaves about 1e-15 and 1e-12 is allowed; in
float32 it leaves about 1e-6 after three layers of generic weights and 1e-5 is allowed. PaddleNLP's mask constants
(−1e9, −1e4) and transformers' (the least finite number) both leave padding no weight that matters to either type.
"""

import dataclasses
import warnings

import numpy as np
import paddle
import pytest
import torch

from models_paddle import electra as paddle_side
from models_torch import electra as torch_side
from tests.pairs import copy_weights, randomise
from tests.references.electra_names import PADDLENLP_CLASSES, batch, default_dtype, fill_paddlenlp, gap, run

TINY = torch_side.VARIANTS["tiny"]
HEADS = [task for task in torch_side.TASKS if task != "pretraining"]
LIMITS = {"float32": 1e-5, "float64": 1e-12}
SIZES = [(3, 17), (1, 13), (2, 9)]


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
        from paddlenlp.transformers.electra import modeling

        return modeling


def ours(task, side=torch_side, **overrides):
    model = getattr(side, side.TASKS[task])(side.ElectraConfig(**TINY | overrides))
    model.eval()
    return model


def options(config):
    """What of our configuration the references know."""
    return {name: value for name, value in dataclasses.asdict(config).items() if "generator" not in name}


def of_transformers(package, task, model, **overrides):
    """transformers' eager model with the weights of ours, which have to fit key for key."""
    known = options(torch_side.ElectraConfig(**TINY | overrides)) | {"attn_implementation": "eager"}
    if task == "question_answering":
        known["num_labels"] = 2
    reference = getattr(package, torch_side.TASKS[task])(package.ElectraConfig(**known))
    reference.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(reference.state_dict(), strict=True)
    return reference.to(torch.get_default_dtype()).eval()


def of_paddlenlp(package, task, model, **overrides):
    """PaddleNLP's model with the weights of ours. It is built in float32 whatever the default is."""
    known = options(torch_side.ElectraConfig(**TINY | overrides)) | {"num_choices": 4}
    reference = getattr(package, PADDLENLP_CLASSES[task])(package.ElectraConfig(**known))
    reference.to(dtype=paddle.get_default_dtype())
    reference.eval()
    return fill_paddlenlp(model, reference)


def call_paddlenlp(reference, fields):
    """PaddleNLP's outputs, always as a tuple."""
    outputs = reference(**{name: paddle.to_tensor(value) for name, value in fields.items()})
    return tuple(value.numpy() for value in (outputs if isinstance(outputs, tuple) else (outputs,)))


def unlabelled(fields):
    return {name: fields[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


# --- transformers ---


@pytest.mark.parametrize(("B", "L"), SIZES)
@pytest.mark.parametrize("task", HEADS)
def test_torch_equals_transformers(transformers, dtype, task, B, L):
    model = randomise(ours(task))
    reference = of_transformers(transformers, task, model)
    fields = batch(task, B, L)
    assert_parity(task, run(model, fields), run(reference, fields), dtype)


def assert_parity(task, actual, expected, dtype):
    for name in actual:
        narrow = (task, name) == ("replaced_token", "loss")  # pinned below
        theirs = expected[name].astype(dtype) if narrow else expected[name]
        assert gap(actual[name], theirs) <= LIMITS["float32" if narrow else dtype], name


OPTIONS = [
    *(("backbone", {"hidden_act": name}) for name in torch_side.ACTIVATIONS),
    ("replaced_token", {"hidden_act": "relu"}),
    ("masked_lm", {"hidden_act": "relu"}),
    ("masked_lm", {"layer_norm_eps": 1e-3}),
    ("masked_lm", {"tie_word_embeddings": False}),
    ("backbone", {"embedding_size": TINY["hidden_size"]}),
    ("sequence_classification", {"hidden_act": "relu"}),
    ("sequence_classification", {"num_labels": 1}),
    ("multiple_choice", {"summary_activation": "tanh", "hidden_act": "relu"}),
]


@pytest.mark.parametrize(("task", "overrides"), OPTIONS)
def test_torch_equals_transformers_in_every_option(transformers, float64, task, overrides):
    model = randomise(ours(task, **overrides))
    reference = of_transformers(transformers, task, model, **overrides)
    fields = batch(task)
    if overrides.get("num_labels") == 1:
        fields["labels"] = np.array([0.3, -1.2, 2.5])
    assert_parity(task, run(model, fields), run(reference, fields), "float64")


def test_no_mask_and_a_fully_masked_row_are_as_in_transformers(transformers, float64):
    model = randomise(ours("backbone"))
    reference = of_transformers(transformers, "backbone", model)
    fields = batch("backbone")
    masked = dict(fields, attention_mask=fields["attention_mask"] * np.array([[1], [1], [0]]))
    for inputs in ({"input_ids": fields["input_ids"]}, masked):
        actual, expected = run(model, inputs), run(reference, inputs)
        assert gap(actual["last_hidden_state"], expected["last_hidden_state"]) <= LIMITS["float64"]


@pytest.mark.parametrize("side", [torch_side, paddle_side])
@pytest.mark.parametrize("overrides", [{}, {"num_labels": 7, "hidden_act": "relu", "classifier_dropout": 0.3}])
def test_the_config_that_transformers_writes_is_read(transformers, side, overrides):
    known = options(side.ElectraConfig(**TINY | overrides))
    expected = dataclasses.replace(side.ElectraConfig(), **known)
    assert side.ElectraConfig.from_dict(transformers.ElectraConfig(**known).to_dict()) == expected
    assert side.ElectraConfig.from_dict(transformers.ElectraConfig(**known).to_diff_dict()) == expected


def test_transformers_loss_is_nan_where_every_label_is_ignored(transformers, float64):
    model = randomise(ours("masked_lm"))
    fields = batch("masked_lm")
    fields["labels"][:] = -100
    assert run(model, fields)["loss"] == 0.0
    assert np.isnan(run(of_transformers(transformers, "masked_lm", model), fields)["loss"])


def test_transformers_rounds_the_loss_of_replaced_tokens_to_float32(transformers, float64):
    model = randomise(ours("replaced_token"))
    fields = batch("replaced_token")
    outputs = run(of_transformers(transformers, "replaced_token", model), fields)
    assert (outputs["logits"].dtype, outputs["loss"].dtype) == (np.float64, np.float32)
    assert run(model, fields)["loss"].dtype == np.float64


def test_transformers_takes_an_ignored_span_for_position_zero(transformers, float64):
    model = randomise(ours("question_answering"))
    reference = of_transformers(transformers, "question_answering", model)
    fields = batch("question_answering")
    fields["start_positions"][1], fields["end_positions"][1] = -100, -100
    zero = dict(
        fields, start_positions=fields["start_positions"].clip(0), end_positions=fields["end_positions"].clip(0)
    )
    expected = run(reference, fields)["loss"]
    assert expected == run(reference, zero)["loss"]
    assert gap(run(model, zero)["loss"], expected) <= LIMITS["float64"]
    assert gap(run(model, fields)["loss"], expected) > 1e-3
    # it ignores a position behind the end instead, which is what −100 means to us
    behind = {name: np.where(fields[name] < 0, 17, fields[name]) for name in ("start_positions", "end_positions")}
    assert gap(run(model, fields)["loss"], run(reference, fields | behind)["loss"]) <= LIMITS["float64"]


def test_transformers_does_not_train_the_pad_row_on_lookups(transformers, float64):
    model = randomise(ours("backbone"))
    reference = of_transformers(transformers, "backbone", model)
    ids = torch.tensor(batch("backbone")["input_ids"])  # no mask: padding counts
    for each in (model, reference):
        (each(input_ids=ids)["last_hidden_state"] ** 2).sum().backward()
    own, their = (each.embeddings.word_embeddings.weight.grad for each in (model, reference))
    assert (ids == 0).any()
    assert (their[0] == 0).all()
    assert (own[0] != 0).any()
    assert gap(own[1:].numpy(), their[1:].numpy()) <= LIMITS["float64"]


def test_transformers_starts_from_a_normal_that_is_not_cut_off(transformers):
    known = options(torch_side.ElectraConfig(**TINY | {"vocab_size": 2110}))
    table = transformers.ElectraModel(transformers.ElectraConfig(**known)).embeddings.word_embeddings.weight
    assert table.abs().max() > 0.06
    assert ours("backbone", vocab_size=2110).embeddings.word_embeddings.weight.abs().max() <= 0.04


# --- PaddleNLP ---


@pytest.mark.parametrize(("B", "L"), SIZES)
@pytest.mark.parametrize("task", HEADS)
def test_paddle_equals_paddlenlp_and_torch(paddlenlp, dtype, task, B, L):
    source = randomise(ours(task))
    model = copy_weights(source, ours(task, paddle_side))
    reference = of_paddlenlp(paddlenlp, task, source)
    fields = unlabelled(batch(task, B, L))
    actual, from_torch = run(model, fields), run(source, fields)
    expected = call_paddlenlp(reference, fields)
    assert len(actual) == len(expected)
    for name, theirs in zip(actual, expected, strict=True):
        if (task, B) == ("replaced_token", 1):
            assert theirs.shape == (L,)  # PaddleNLP's squeeze() takes the batch of one as well
            theirs = theirs[None]
        assert gap(actual[name], theirs) <= LIMITS[dtype], name
        assert gap(actual[name], from_torch[name]) <= LIMITS[dtype], name


@pytest.mark.parametrize("task", ["sequence_classification", "multiple_choice"])
def test_paddlenlp_losses_without_ignored_labels(paddlenlp, float64, task):
    source = randomise(ours(task))
    model = copy_weights(source, ours(task, paddle_side))
    fields = batch(task)
    expected = call_paddlenlp(of_paddlenlp(paddlenlp, task, source), fields)[0]
    assert gap(run(model, fields)["loss"], expected) <= LIMITS["float64"]


def test_paddlenlp_counts_ignored_labels_in_its_mean(paddlenlp, float64):
    source = randomise(ours("masked_lm"))
    model = copy_weights(source, ours("masked_lm", paddle_side))
    fields = batch("masked_lm")
    kept = (fields["labels"] != -100).mean()
    assert 0.1 < kept < 0.9
    expected = call_paddlenlp(of_paddlenlp(paddlenlp, "masked_lm", source), fields)[0]
    assert gap(run(model, fields)["loss"] * kept, expected) <= LIMITS["float64"]


def _backbones(package):
    source = randomise(ours("backbone"))
    model = copy_weights(source, ours("backbone", paddle_side))
    return model, of_paddlenlp(package, "backbone", source)


def test_paddlenlp_guesses_the_mask_from_the_pad_id(paddlenlp, float64):
    model, reference = _backbones(paddlenlp)
    fields = batch("backbone")
    ids = {"input_ids": fields["input_ids"]}
    guessed = dict(ids, attention_mask=(fields["input_ids"] != 0).astype(np.int64))
    expected = call_paddlenlp(reference, ids)[0]
    assert gap(run(model, guessed)["last_hidden_state"], expected) <= LIMITS["float64"]
    assert gap(run(model, ids)["last_hidden_state"], expected) > 1e-2


def test_paddlenlp_adds_a_float_mask_as_it_is(paddlenlp, float64):
    model, reference = _backbones(paddlenlp)
    fields = batch("backbone")
    floats = dict(fields, attention_mask=fields["attention_mask"].astype("float64"))
    right, wrong = call_paddlenlp(reference, fields)[0], call_paddlenlp(reference, floats)[0]
    assert gap(run(model, floats)["last_hidden_state"], right) <= LIMITS["float64"]
    assert gap(wrong, right) > 1e-2


def test_paddlenlp_lets_a_fully_masked_row_attend_as_if_unmasked(paddlenlp, float64):
    model, reference = _backbones(paddlenlp)
    fields = batch("backbone")
    fields["attention_mask"] = fields["attention_mask"] * np.array([[1], [1], [0]])
    actual, expected = run(model, fields)["last_hidden_state"], call_paddlenlp(reference, fields)[0]
    assert gap(actual[:2], expected[:2]) <= LIMITS["float64"]
    assert gap(actual[2], expected[2]) > 1e-2  # ours attends evenly, as transformers does
    open_row = dict(fields, attention_mask=np.ones_like(fields["attention_mask"]))
    assert gap(call_paddlenlp(reference, open_row)[0][2], expected[2]) < 1e-5  # −1e9 swallows all but seven digits


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        ("masked_lm", {"layer_norm_eps": 2.0**-10}),  # the head's LayerNorm keeps 1e-12
        ("masked_lm", {"hidden_act": "relu"}),  # the heads' activations follow the encoder's
        ("sequence_classification", {"hidden_act": "relu"}),
        ("multiple_choice", {"hidden_act": "relu"}),
    ],
)
def test_paddlenlp_heads_differ_from_transformers_off_the_published_options(paddlenlp, float64, task, overrides):
    source = randomise(ours(task, **overrides))
    model = copy_weights(source, ours(task, paddle_side, **overrides))
    reference = of_paddlenlp(paddlenlp, task, source, **overrides)
    fields = unlabelled(batch(task))
    assert gap(run(model, fields)["logits"], call_paddlenlp(reference, fields)[0]) > 1e-4
    inside = model.electra(**{name: paddle.to_tensor(value.reshape(-1, 17)) for name, value in fields.items()})
    theirs = reference.electra(**{name: paddle.to_tensor(value.reshape(-1, 17)) for name, value in fields.items()})
    assert gap(inside["last_hidden_state"].numpy(), theirs.numpy()) <= LIMITS["float64"]


def test_paddlenlp_folds_choices_by_its_configuration(paddlenlp, float64):
    source = randomise(ours("multiple_choice"))
    reference = of_paddlenlp(paddlenlp, "multiple_choice", source)
    fields = unlabelled(batch("multiple_choice", B=2, C=2))
    assert call_paddlenlp(reference, fields)[0].shape == (1, 4)
    assert run(source, fields)["logits"].shape == (2, 2)


def _joint(package, **overrides):
    """The joint models with a generator of the discriminator's size, which is the only one that PaddleNLP has."""
    size = {f"generator_{name}": TINY[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    size["generator_intermediate_size"] = TINY["intermediate_size"]
    source = randomise(ours("pretraining", **size | overrides))
    model = copy_weights(source, ours("pretraining", paddle_side, **size | overrides))
    config = package.ElectraConfig(**options(torch_side.ElectraConfig(**TINY)))
    reference = package.ElectraForTotalPretraining(config)
    reference.to(dtype=paddle.get_default_dtype())
    reference.eval()
    return model, fill_paddlenlp(source, reference), package.ElectraPretrainingCriterion(config)


@pytest.mark.parametrize("B", [3, 1])
def test_greedy_joint_pretraining_equals_paddlenlp(paddlenlp, dtype, B):
    model, reference, criterion = _joint(paddlenlp, temperature=0.0)
    reference.use_softmax_sample = False
    fields = batch("pretraining", B=B)
    ids, labels = fields["input_ids"], fields["labels"]
    raw = np.where(labels == -100, ids, labels)
    inputs = unlabelled(fields) | {"raw_input_ids": raw, "generator_labels": labels}
    outputs = reference(**{name: paddle.to_tensor(value) for name, value in inputs.items()})
    loss = criterion(outputs[0], outputs[1], paddle.to_tensor(labels), outputs[2], outputs[3])
    actual = run(model, fields)
    assert gap(actual["generator_logits"], outputs[0].numpy()) <= LIMITS[dtype]
    assert gap(actual["logits"], outputs[1].numpy().reshape(B, 17)) <= LIMITS[dtype]
    assert np.array_equal(actual["replaced_labels"], outputs[2].numpy())
    assert gap(actual["loss"], loss.numpy()) <= LIMITS[dtype]


def test_paddlenlp_shares_only_the_word_embeddings(paddlenlp, float64):
    _, reference, _ = _joint(paddlenlp)
    one, other = (half.electra.embeddings for half in (reference.generator, reference.discriminator))
    assert one.word_embeddings.weight is other.word_embeddings.weight
    for leaf in ("position_embeddings", "token_type_embeddings", "layer_norm"):
        assert getattr(one, leaf).weight is not getattr(other, leaf).weight
