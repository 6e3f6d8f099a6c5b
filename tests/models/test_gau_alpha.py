"""GAU-α in torch is GAU-α in Paddle: names, configurations, values, losses, gradients, initialisation."""

import dataclasses
import inspect
import json

import numpy as np
import paddle
import pytest
import torch

from models_paddle import gau_alpha as paddle_side
from models_torch import gau_alpha as torch_side
from tests.pairs import copy_weights, randomise
from tests.real_data import DATA, needs
from tests.references.electra_names import batch, default_dtype, gap, run

SIDES = [pytest.param(torch_side, id="torch"), pytest.param(paddle_side, id="paddle")]
TINY = torch_side.VARIANTS["tiny"]
TASKS = list(torch_side.TASKS)


def build(side, task, **overrides):
    model = getattr(side, side.TASKS[task])(side.GAUAlphaConfig(**TINY | overrides))
    model.eval()
    return model


def pair(task, **overrides):
    """A torch and a Paddle model in float64 with the same generic weights."""
    with default_dtype("float64"):
        torch_model = randomise(build(torch_side, task, **overrides))
        return torch_model, copy_weights(torch_model, build(paddle_side, task, **overrides))


def classes(side):
    found = inspect.getmembers(side, inspect.isclass)
    return [name for name, value in found if value.__module__ == side.__name__]


def modules(model):
    walk = getattr(model, "named_modules", None) or model.named_sublayers
    return {name: module for name, module in walk() if name}


# --- structure ---


def test_both_files_define_the_same_names():
    assert classes(torch_side) == classes(paddle_side)
    assert list(torch_side.ACTIVATIONS) == list(paddle_side.ACTIVATIONS)
    assert list(torch_side.NORMALIZATIONS) == list(paddle_side.NORMALIZATIONS)


@pytest.mark.parametrize("task", TASKS)
def test_modules_and_parameters_have_the_same_names(task):
    ours, theirs = build(torch_side, task, use_bias=True), build(paddle_side, task, use_bias=True)
    assert list(modules(ours)) == list(modules(theirs))
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    for name, module in modules(ours).items():
        assert getattr(module, "p", None) == getattr(modules(theirs)[name], "p", None), name
        assert getattr(module, "eps", None) == getattr(modules(theirs)[name], "eps", None), name


PUBLIC = {  # of the public PyTorch port's masked language model, for one layer
    "gau_alpha.embeddings.word_embeddings.weight": (12000, 768),
    "gau_alpha.embeddings.token_type_embeddings.weight": (2, 768),
    "gau_alpha.encoder.layer.0.gau.i_dense.weight": (3200, 768),
    "gau_alpha.encoder.layer.0.gau.o_dense.weight": (768, 1536),
    "gau_alpha.encoder.layer.0.gau.q_scaleoffset.weight": (128,),
    "gau_alpha.encoder.layer.0.gau.k_scaleoffset.weight": (128,),
    "cls.predictions.decoder.weight": (12000, 768),
}


def test_the_published_model_has_the_port_s_names_and_96_5_million_parameters():
    with torch.device("meta"):
        model = torch_side.GAUAlphaForMaskedLM(torch_side.GAUAlphaConfig(**torch_side.VARIANTS["base"]))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if ".layer." not in name or ".layer.0." in name} == PUBLIC
    assert len(shapes) == 3 + 24 * 4
    assert sum(parameter.numel() for parameter in model.parameters()) == 96_517_632


@pytest.mark.parametrize("side", SIDES)
def test_every_dropout_obeys_its_option(side):
    rates = {"hidden_dropout_prob": 0.11, "attention_probs_dropout_prob": 0.12, "classifier_dropout": 0.13}
    for task in ("sequence_classification", "token_classification", "multiple_choice"):
        model = build(side, task, **rates)
        found = {name: module.p for name, module in modules(model).items() if name.endswith("dropout")}
        assert found.pop("dropout") == 0.13
        assert {rate for name, rate in found.items() if ".gau." in name} == {0.12}
        assert {rate for name, rate in found.items() if ".gau." not in name} == {0.11}
    assert modules(build(side, "token_classification", classifier_dropout=None))["dropout"].p == 0.1


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("before", [False, True])
def test_embeddings_drop_out_after_the_norm_or_as_in_bert4keras_before_it(side, before):
    model = build(side, "backbone", hidden_dropout_prob=0.5, dropout_before_norm=before)
    model.train()
    ids = batch("backbone")["input_ids"]
    embedded = model.embeddings(torch.tensor(ids) if side is torch_side else paddle.to_tensor(ids)).detach().numpy()
    assert 0.4 < (embedded == 0).mean() < 0.6
    normal = np.abs(np.sqrt((embedded**2).mean(-1)) - 1) < 1e-5  # where the norm came last
    assert normal.all() if before else not normal.any()


@pytest.mark.parametrize("side", SIDES)
def test_biases_stand_where_the_configuration_says(side):
    def biases(**options):
        return {name.rpartition("gau.")[2] for name in build(side, "token_classification", **options).state_dict()} & {
            *("i_dense.bias", "o_dense.bias", "q_scaleoffset.bias", "k_scaleoffset.bias", "classifier.bias")
        }

    assert biases() == {"classifier.bias"}
    assert biases(classifier_bias=False) == set()
    assert len(biases(use_bias=True)) == 5
    assert "qa_outputs.bias" not in build(side, "question_answering", classifier_bias=False).state_dict()


@pytest.mark.parametrize("side", SIDES)
def test_the_decoder_is_the_embedding_table(side):
    model = build(side, "masked_lm")
    assert model.cls.predictions.decoder.weight is model.gau_alpha.embeddings.word_embeddings.weight


# --- configuration ---

PUBLISHED = """{
  "architectures": ["GAUAlphaForMaskedLM"], "attention_key_size": 128, "attention_probs_dropout_prob": 0.1,
  "attention_scale": true, "classifier_dropout": 0.1, "embedding_size": 768, "gradient_checkpointing": false,
  "hidden_act": "swish", "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
  "intermediate_size": 1536, "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "gau_alpha",
  "normalization": "softmax_plus", "num_hidden_layers": 24, "pad_token_id": 0, "torch_dtype": "float32",
  "transformers_version": "4.17.0", "type_vocab_size": 2, "use_bias": false, "vocab_size": 12000,
  "summary_type": "first"
}"""


def as_published(side, raw):
    return side.GAUAlphaConfig.from_dict(raw) == side.GAUAlphaConfig(**side.VARIANTS["base"], embedding_size=768)


@pytest.mark.parametrize("side", SIDES)
def test_the_published_config_json_is_read(side):
    assert as_published(side, json.loads(PUBLISHED))


@needs("config/gau_alpha/config.json")
@pytest.mark.parametrize("side", SIDES)
def test_the_published_file_is_read(side):
    assert as_published(side, json.loads((DATA / "config/gau_alpha/config.json").read_text()))


@pytest.mark.parametrize("side", SIDES)
def test_a_configuration_survives_its_dictionary(side):
    config = side.GAUAlphaConfig(**TINY, normalization="softmax", problem_type="regression")
    assert side.GAUAlphaConfig.from_dict(dataclasses.asdict(config)) == config
    assert side.GAUAlphaConfig.from_dict({"id2label": {"0": "no", "1": "yes", "2": "maybe"}}).num_labels == 3


# fmt: off
REFUSED = [
    ("rope_scaling", {"factor": 2.0}), ("is_decoder", True), ("pruned_heads", {"0": [1]}), ("model_type", "bert"),
    ("tie_word_embeddings", False), ("summary_type", "mean"), ("summary_use_proj", True), ("hidden_act", "mish"),
    ("embedding_size", 128), ("attention_key_size", 25), ("pad_token_id", None), ("pad_token_id", 12000),
    ("normalization", "softmax_minus"), ("rotary_order", "halves"), ("initialization", "xavier"),
    ("problem_type", "multi_label_classification"),
]
# fmt: on


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_what_would_be_another_function_is_refused(side, key, value):
    with pytest.raises(ValueError, match=f"^unsupported: .*{key}"):
        side.GAUAlphaConfig.from_dict({key: value})


# --- values: torch against Paddle ---


@pytest.mark.parametrize(("B", "L"), [(3, 17), (2, 1)])
@pytest.mark.parametrize("task", TASKS)
def test_outputs_and_gradients_agree_in_float64(task, B, L):
    ours, theirs = pair(task)
    fields = batch(task, B, L)
    expected = ours(**{name: torch.tensor(value) for name, value in fields.items()})
    actual = theirs(**{name: paddle.to_tensor(value) for name, value in fields.items()})
    assert list(expected) == list(actual)
    for name in expected:
        assert gap(actual[name].detach().numpy(), expected[name].detach().numpy()) <= 1e-13, name
    _objective(expected).backward(), _objective(actual).backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    largest = max(parameter.grad.abs().max().item() for parameter in ours.parameters())
    for name, parameter in ours.named_parameters():
        gradient, owner = gradients[name].numpy(), name.rpartition(".")[0]
        transposed = name.endswith("weight") and isinstance(modules(theirs)[owner], paddle.nn.Linear)
        difference = np.abs((gradient.T if transposed else gradient) - parameter.grad.numpy()).max()
        assert difference <= 1e-12 * largest, name
        shifts_all_choices = (task, name) == ("multiple_choice", "classifier.bias")
        assert L == 1 or shifts_all_choices or parameter.grad.abs().max() > 0, name


def _objective(outputs):
    return outputs["loss"] if "loss" in outputs else (outputs["last_hidden_state"] ** 3).sum()


@pytest.mark.parametrize("normalization", torch_side.NORMALIZATIONS)
def test_rows_without_a_key_or_with_one_have_finite_gradients(normalization):
    fields = batch("masked_lm")
    fields["attention_mask"] = np.eye(17, dtype=np.int64)[[0, 5, 16]]
    fields["attention_mask"][2] = 0
    for model, tensor in zip(
        pair("masked_lm", normalization=normalization), (torch.tensor, paddle.to_tensor), strict=True
    ):
        outputs = model(**{name: tensor(value) for name, value in fields.items()})
        outputs["loss"].backward()
        assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in model.parameters())


OPTIONS = [
    ("backbone", {"hidden_act": "gelu_new"}),
    ("backbone", {"normalization": "squared_relu"}),
    ("backbone", {"normalization": "softmax"}),
    ("backbone", {"attention_scale": False}),
    ("backbone", {"layer_norm_eps": 2.0**-10}),
    ("sequence_classification", {"num_labels": 1}),
    ("sequence_classification", {"problem_type": "regression"}),
]


@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_options_agree_and_matter(task, options):
    fields = batch(task)
    if task == "sequence_classification":
        shape = (3, options.get("num_labels", 5)) if "problem_type" in options else 3
        fields["labels"] = np.random.default_rng(1).normal(size=shape)
    expected, actual = (run(model, fields) for model in pair(task, **options))
    assert all(gap(actual[name], expected[name]) <= 1e-13 for name in expected)
    plain = run(pair(task)[0], batch(task))
    last = list(expected)[-1]
    assert expected[last].shape != plain[last].shape or gap(expected[last], plain[last]) > 1e-6


def test_outputs_agree_in_float32_at_positions_beyond_the_training_length():
    ours = randomise(build(torch_side, "backbone", num_hidden_layers=1))
    theirs = copy_weights(ours, build(paddle_side, "backbone", num_hidden_layers=1))
    fields = batch("backbone", 1, 700)
    expected, actual = (run(model, fields)["last_hidden_state"] for model in (ours, theirs))
    assert gap(actual, expected) <= 1e-5
    exact = run(ours.double(), fields)["last_hidden_state"]
    assert gap(actual.astype("float64"), exact) <= 1e-5


def test_padding_does_not_reach_a_token():
    fields = batch("backbone")
    changed = dict(fields, input_ids=np.where(fields["attention_mask"] == 1, fields["input_ids"], 77))
    assert (changed["input_ids"] != fields["input_ids"]).any()
    for model in pair("backbone"):
        one, other = (run(model, inputs)["last_hidden_state"] for inputs in (fields, changed))
        kept = fields["attention_mask"] == 1
        assert np.abs(one[kept] - other[kept]).max() <= 1e-13


def test_without_a_mask_every_id_but_the_pad_s_is_a_token():
    ids = batch("backbone")["input_ids"]
    ids[0, 3] = 5
    for pad in (0, 5):
        full = {"input_ids": ids, "attention_mask": (ids != pad) * 1, "token_type_ids": np.zeros_like(ids)}
        for model in pair("backbone", pad_token_id=pad):
            bare = run(model, {"input_ids": ids})
            assert np.array_equal(bare["last_hidden_state"], run(model, full)["last_hidden_state"])


# --- losses ---


def _cross_entropy(logits, labels):
    """The textbook formula, row by row."""
    shifted = zip(logits - logits.max(-1, keepdims=True), labels, strict=True)
    return np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in shifted])


@pytest.mark.parametrize("task", ["masked_lm", "token_classification", "sequence_classification", "multiple_choice"])
def test_losses_agree_with_the_textbook(task):
    fields = batch(task)
    if fields["labels"].ndim == 1:
        fields["labels"][1] = -100
    kept = fields["labels"] != -100
    for model in pair(task):
        outputs = run(model, fields)
        expected = _cross_entropy(outputs["logits"][kept], fields["labels"][kept])
        assert outputs["loss"] == pytest.approx(expected, rel=1e-13)
        assert run(model, fields | {"labels": np.full_like(fields["labels"], -100)})["loss"] == 0


def test_the_loss_of_a_span_is_the_mean_of_both_ends():
    fields = batch("question_answering")
    fields["end_positions"][0] = -100
    for model in pair("question_answering"):
        outputs = run(model, fields)
        start = _cross_entropy(outputs["start_logits"], fields["start_positions"])
        end = _cross_entropy(outputs["end_logits"][1:], fields["end_positions"][1:])
        assert outputs["loss"] == pytest.approx((start + end) / 2, rel=1e-13)


# --- initialisation ---

WIDE = {"vocab_size": 2110, "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 8, "num_labels": 60}


@pytest.mark.parametrize("side", SIDES)
def test_initialisation_is_bert4keras_s_normal_cut_off_at_two_sigma(side):
    model = build(side, "sequence_classification", **WIDE)
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if value.ndim == 1:
            assert (value == (1.0 if "scaleoffset" in name else 0.0)).all(), name
            continue
        fan = 160 if "o_dense" in name else 96  # what the weight reads; a table's width
        sigma = 1.13684723 / np.sqrt(fan) / 2  # 8 layers: 8^(−1/3) = 1/2
        assert np.abs(value).max() <= 2 * sigma * (1 + 1e-6), name
        if value.size > 1000:
            assert value.std() == pytest.approx(1 / np.sqrt(fan) / 2, rel=0.05), name  # the constant undoes the cut
            assert np.abs(value).max() > 1.9 * sigma, name
    assert np.abs(model.gau_alpha.embeddings.word_embeddings.weight.detach().numpy()[0]).max() > 0


@pytest.mark.parametrize("side", SIDES)
def test_initialisation_may_be_the_port_s(side):
    model = build(
        side, "sequence_classification", **WIDE, initialization="normal", initializer_range=0.05, pad_token_id=3
    )
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if value.size > 1000:
            assert value.std() == pytest.approx(0.05, rel=0.05), name
            assert np.abs(value).max() > 0.13, name
    table = model.gau_alpha.embeddings.word_embeddings.weight.detach().numpy()
    assert (table == 0).all(axis=1).nonzero()[0].tolist() == [3]


def test_the_published_sizes_get_the_published_deviations():
    """bert4keras takes a kernel's first axis, and of the tables (12000 and 2 rows) the second."""
    config = torch_side.GAUAlphaConfig()
    for fan, shape in ((768, (768, 3200)), (1536, (1536, 768)), (768, (12000, 768)), (768, (2, 768))):
        theirs = shape[1] if not 10 <= shape[0] <= 10000 else shape[0]
        assert config.initial_std(fan) == pytest.approx(1.13684723 / theirs**0.5 * 24 ** (-1 / 3), rel=1e-12)


@needs("vocab/gau_alpha_vocab.txt")
def test_special_ids_are_those_of_the_published_vocabulary():
    from fake_data.gau_alpha import SPEC

    words = (DATA / "vocab/gau_alpha_vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(words) == torch_side.GAUAlphaConfig().vocab_size
    found = {name: words.index(SPEC.special_tokens[name]) for name in ("pad", "cls", "sep", "mask")}
    assert found == {name: getattr(SPEC.special_ids, name) for name in found}
