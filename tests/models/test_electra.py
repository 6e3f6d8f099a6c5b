"""ELECTRA in torch is ELECTRA in Paddle: names, configurations, values, losses, gradients, initialisation."""

import dataclasses
import inspect
import json

import numpy as np
import paddle
import pytest
import torch

from models_paddle import electra as paddle_side
from models_torch import electra as torch_side
from tests.pairs import copy_weights, randomise
from tests.references.electra_names import batch, default_dtype, gap, run

SIDES = [pytest.param(torch_side, id="torch"), pytest.param(paddle_side, id="paddle")]
TINY = torch_side.VARIANTS["tiny"]
TASKS = list(torch_side.TASKS)


def build(side, task, **overrides):
    model = getattr(side, side.TASKS[task])(side.ElectraConfig(**TINY | overrides))
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
    assert torch_side.TASKS == paddle_side.TASKS
    assert torch_side.VARIANTS == paddle_side.VARIANTS
    assert list(torch_side.ACTIVATIONS) == list(paddle_side.ACTIVATIONS)
    assert dataclasses.asdict(torch_side.ElectraConfig()) == dataclasses.asdict(paddle_side.ElectraConfig())


@pytest.mark.parametrize("task", TASKS)
def test_modules_and_parameters_have_the_same_names(task):
    ours, theirs = build(torch_side, task), build(paddle_side, task)
    assert list(modules(ours)) == list(modules(theirs))
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    for name, module in modules(ours).items():
        dropout = getattr(module, "p", None)
        assert dropout == getattr(modules(theirs)[name], "p", None), name
        assert getattr(module, "eps", None) == getattr(modules(theirs)[name], "_epsilon", None), name


@pytest.mark.parametrize("side", SIDES)
def test_every_dropout_obeys_its_option(side):
    rates = {"hidden_dropout_prob": 0.11, "attention_probs_dropout_prob": 0.12, "classifier_dropout": 0.13}
    model = build(side, "sequence_classification", **rates)
    found = {name: module.p for name, module in modules(model).items() if name.endswith("dropout")}
    assert found["classifier.dropout"] == found["classifier.first_dropout"] == 0.13
    assert {rate for name, rate in found.items() if ".self." in name} == {0.12}
    assert {rate for name, rate in found.items() if ".self." not in name and "classifier" not in name} == {0.11}
    assert modules(build(side, "token_classification", hidden_dropout_prob=0.3))["dropout"].p == 0.3
    assert modules(build(side, "multiple_choice", summary_last_dropout=0.2))["sequence_summary.last_dropout"].p == 0.2


MILLIONS = [13.5, 108.9, 334.1, 13.5, 33.5, 51.0, 11.3, 12.3, 101.7]  # of parameters; the published variants in order
SIZES = list(zip(list(torch_side.VARIANTS)[1:], MILLIONS, strict=True))


@pytest.mark.parametrize(("variant", "millions"), SIZES)
def test_encoder_sizes_are_the_published_ones(variant, millions):
    with torch.device("meta"):
        model = torch_side.ElectraModel(torch_side.ElectraConfig(**torch_side.VARIANTS[variant]))
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_generators_of_joint_pretraining_have_the_published_size(side, size):
    config = side.ElectraConfig(**side.VARIANTS[size])
    published = side.ElectraConfig(**side.VARIANTS[f"{size}-generator"], generator_size=config.generator_size)
    assert config.generator() == published


@pytest.mark.parametrize("side", SIDES)
def test_what_is_given_of_the_generators_size_is_kept(side):
    generator = side.ElectraConfig(**TINY).generator()
    assert (generator.hidden_size, generator.num_hidden_layers) == (28, 2)
    assert (generator.num_attention_heads, generator.intermediate_size) == (2, 36)
    assert generator.embedding_size == TINY["embedding_size"]


@pytest.mark.parametrize("side", SIDES)
def test_the_projection_exists_only_where_widths_differ(side):
    names = build(side, "backbone").state_dict()
    assert "embeddings_project.weight" in names
    equal = build(side, "backbone", embedding_size=TINY["hidden_size"]).state_dict()
    assert set(names) - set(equal) == {"embeddings_project.weight", "embeddings_project.bias"}


@pytest.mark.parametrize("side", SIDES)
def test_the_decoder_is_the_embedding_table_unless_untied(side):
    tied = build(side, "masked_lm")
    assert tied.generator_lm_head.weight is tied.electra.embeddings.word_embeddings.weight
    untied = build(side, "masked_lm", tie_word_embeddings=False)
    assert untied.generator_lm_head.weight is not untied.electra.embeddings.word_embeddings.weight


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("leaf", ["word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm"])
def test_generator_and_discriminator_share_their_embeddings(side, leaf):
    model = build(side, "pretraining")
    one, other = (getattr(half.electra.embeddings, leaf) for half in (model.generator, model.discriminator))
    assert one.weight is other.weight
    assert leaf != "LayerNorm" or one.bias is other.bias
    assert model.generator.generator_lm_head.weight is model.discriminator.electra.embeddings.word_embeddings.weight


# --- configuration ---

PUBLISHED = """{
  "_num_labels": 2, "architectures": ["ElectraForPreTraining"], "attention_probs_dropout_prob": 0.1,
  "directionality": "bidi", "embedding_size": 128, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
  "hidden_size": 256, "initializer_range": 0.02, "intermediate_size": 1024, "layer_norm_eps": 1e-12,
  "max_position_embeddings": 512, "model_type": "electra", "num_attention_heads": 4, "num_hidden_layers": 12,
  "output_past": true, "pad_token_id": 0, "summary_activation": "gelu", "summary_last_dropout": 0.1,
  "summary_type": "first", "summary_use_proj": true, "type_vocab_size": 2, "vocab_size": 21128,
  "pooler_fc_size": 312, "pooler_type": "first_token_transform"
}"""


@pytest.mark.parametrize("side", SIDES)
def test_a_published_config_json_is_read(side):
    assert side.ElectraConfig.from_dict(json.loads(PUBLISHED)) == side.ElectraConfig(**side.VARIANTS["zh-small"])


@pytest.mark.parametrize("side", SIDES)
def test_an_original_config_gives_the_generators_ratio(side):
    original = {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "generator_size": "1/3"}
    assert side.ElectraConfig.from_dict(original).generator().hidden_size == 256


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("variant", torch_side.VARIANTS)
def test_a_configuration_survives_its_dictionary(side, variant):
    config = side.ElectraConfig(**side.VARIANTS[variant])
    assert side.ElectraConfig.from_dict(dataclasses.asdict(config)) == config


@pytest.mark.parametrize("side", SIDES)
def test_the_number_of_labels_comes_from_either_key(side):
    names = {"0": "no", "1": "yes", "2": "maybe"}
    assert side.ElectraConfig.from_dict({"id2label": names}).num_labels == 3
    assert side.ElectraConfig.from_dict({"num_labels": 7}).num_labels == 7
    assert side.ElectraConfig.from_dict({"id2label": None}).num_labels == 2


# fmt: off
REFUSED = [
    ("rope_scaling", {"factor": 2.0}), ("position_embedding_type", "relative_key"), ("is_decoder", True),
    ("add_cross_attention", True), ("pruned_heads", {"0": [1]}), ("model_type", "bert"), ("summary_type", "mean"),
    ("summary_use_proj", False), ("summary_activation", None), ("hidden_act", "mish"), ("pad_token_id", None),
    ("pad_token_id", 30522), ("problem_type", "multi_label_classification"), ("temperature", -1.0),
    ("temperature", float("nan")),
]
# fmt: on


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_what_would_be_another_function_is_refused(side, key, value):
    with pytest.raises(ValueError, match=f"^unsupported: .*{key}"):
        side.ElectraConfig.from_dict({key: value})


@pytest.mark.parametrize("side", SIDES)
def test_heads_have_to_divide_the_hidden_width(side):
    with pytest.raises(ValueError, match="hidden_size 256 is not a multiple of 3 heads"):
        side.ElectraConfig(num_attention_heads=3)


# --- values: torch against Paddle ---


@pytest.mark.parametrize(("B", "L"), [(3, 17), (1, 13), (2, 1)])
@pytest.mark.parametrize("task", TASKS)
def test_outputs_agree_in_float64(task, B, L):
    ours, theirs = pair(task)
    fields = batch(task, B, L)
    expected, actual = run(ours, fields), run(theirs, fields)
    assert list(expected) == list(actual)
    for name in expected:
        assert gap(actual[name], expected[name]) <= 1e-13, name  # rounding: a few hundred ULP


@pytest.mark.parametrize("task", ["pretraining", "question_answering"])
def test_outputs_agree_in_float32(task):
    ours, theirs = randomise(build(torch_side, task)), build(paddle_side, task)
    copy_weights(ours, theirs)
    fields = batch(task)
    expected, actual = run(ours, fields), run(theirs, fields)
    for name in expected:
        assert gap(actual[name], expected[name]) <= 1e-5, name  # about 100 float32 ULP through three layers


OPTIONS = [
    ("backbone", {"hidden_act": "gelu_new"}),
    ("backbone", {"hidden_act": "relu"}),
    ("backbone", {"hidden_act": "silu"}),
    ("backbone", {"hidden_act": "tanh"}),
    ("backbone", {"embedding_size": 40}),
    ("backbone", {"layer_norm_eps": 2.0**-10}),  # a float32 number, to which Paddle's kernel rounds it
    ("masked_lm", {"tie_word_embeddings": False}),
    ("multiple_choice", {"summary_activation": "tanh"}),
    ("sequence_classification", {"num_labels": 1}),
    ("sequence_classification", {"problem_type": "regression"}),
    ("pretraining", {"temperature": 0.7}),
    ("pretraining", {"temperature": 0.0}),
]


@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_options_agree_and_matter(task, options):
    ours, theirs = pair(task, **options)
    fields = batch(task)
    if task == "sequence_classification":
        shape = (3, options.get("num_labels", 5)) if "problem_type" in options else 3
        fields["labels"] = np.random.default_rng(1).normal(size=shape)
    expected, actual = run(ours, fields), run(theirs, fields)
    assert all(gap(actual[name], expected[name]) <= 1e-13 for name in expected)
    plain = run(pair(task)[0], batch(task))
    last = list(expected)[-1]
    assert expected[last].shape != plain[last].shape or gap(expected[last], plain[last]) > 1e-6


@pytest.mark.parametrize("task", TASKS)
def test_gradients_agree_in_float64(task):
    ours, theirs = pair(task)
    fields = batch(task)
    _objective(ours(**{name: torch.tensor(value) for name, value in fields.items()})).backward()
    _objective(theirs(**{name: paddle.to_tensor(value) for name, value in fields.items()})).backward()
    actual = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    largest = max(parameter.grad.abs().max().item() for parameter in ours.parameters())
    for name, parameter in ours.named_parameters():
        gradient, owner = actual[name].numpy(), name.rpartition(".")[0]
        transposed = name.endswith("weight") and isinstance(modules(theirs)[owner], paddle.nn.Linear)
        difference = np.abs((gradient.T if transposed else gradient) - parameter.grad.numpy()).max()
        assert difference <= 1e-12 * largest, name


def _objective(outputs):
    return outputs["loss"] if "loss" in outputs else (outputs["last_hidden_state"] ** 3).sum()


def test_padding_does_not_reach_a_token():
    fields = batch("backbone")
    changed = dict(fields, input_ids=np.where(fields["attention_mask"] == 1, fields["input_ids"], 77))
    assert (changed["input_ids"] != fields["input_ids"]).any()
    for model in pair("backbone"):
        one, other = (run(model, inputs)["last_hidden_state"] for inputs in (fields, changed))
        kept = fields["attention_mask"] == 1
        assert np.abs(one[kept] - other[kept]).max() <= 1e-13


@pytest.mark.parametrize("task", TASKS)
def test_a_fully_masked_row_agrees(task):
    fields = batch(task)
    fields["attention_mask"] = fields["attention_mask"].copy()
    fields["attention_mask"][-1] = 0
    expected, actual = (run(model, fields) for model in pair(task))
    assert all(gap(actual[name], expected[name]) <= 1e-13 for name in expected)


def test_mask_and_types_may_be_left_out():
    ids = batch("backbone")["input_ids"]
    full = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    for model in pair("backbone"):
        bare = run(model, {"input_ids": ids})
        assert np.array_equal(bare["last_hidden_state"], run(model, full)["last_hidden_state"])


# --- losses ---


def _cross_entropy(logits, labels):
    """The textbook formula, row by row."""
    pairs = zip(logits - logits.max(-1, keepdims=True), labels, strict=True)
    return np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in pairs])


def _tensor(side, value):
    return torch.tensor(value) if side is torch_side else paddle.to_tensor(value)


@pytest.mark.parametrize("side", SIDES)
def test_cross_entropy_counts_the_labels_that_are_not_ignored(side):
    logits = np.random.default_rng(0).normal(size=(2, 6, 7)) * 90.0  # some losses above 64, where Paddle's own stops
    labels = np.array([[3, -100, 0, 6, -100, 1], [-100, 2, -100, -100, 5, 4]])
    kept = labels != -100
    expected = _cross_entropy(logits[kept], labels[kept])
    assert expected > 64
    loss = side.CrossEntropy()(_tensor(side, logits), _tensor(side, labels))
    assert float(loss) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", ["CrossEntropy", "BinaryCrossEntropy"])
def test_a_loss_that_ignores_everything_is_zero_and_so_is_its_gradient(side, name):
    logits = _tensor(side, np.random.default_rng(0).normal(size=(3, 5)))
    labels = np.full((3, 5) if name == "BinaryCrossEntropy" else 3, -100)
    logits.stop_gradient, logits.requires_grad = False, True
    loss = getattr(side, name)()(logits, _tensor(side, labels))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad.numpy() == 0.0).all()


def test_replaced_tokens_are_judged_where_there_is_no_padding():
    fields = batch("replaced_token")
    kept = fields["attention_mask"] == 1
    assert 0 < kept.sum() < kept.size
    for model in pair("replaced_token"):
        outputs = run(model, fields)
        signed = np.where(fields["labels"] == 1, outputs["logits"], -outputs["logits"])
        assert outputs["loss"] == pytest.approx(np.log1p(np.exp(-signed[kept])).mean(), rel=1e-13)
        assert run(model, batch("replaced_token", B=1))["logits"].shape == (1, 17)


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


def test_the_loss_of_a_span_is_the_mean_of_both_ends():
    fields = batch("question_answering")
    fields["end_positions"][0] = -100
    for model in pair("question_answering"):
        outputs = run(model, fields)
        start = _cross_entropy(outputs["start_logits"], fields["start_positions"])
        end = _cross_entropy(outputs["end_logits"][1:], fields["end_positions"][1:])
        assert outputs["loss"] == pytest.approx((start + end) / 2, rel=1e-13)


# --- joint pre-training ---


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_discriminator_reads_what_the_generator_sampled(temperature):
    fields = batch("pretraining")
    masked = fields["labels"] != -100
    for model in pair("pretraining", temperature=temperature, generator_weight=2.0, discriminator_weight=3.0):
        outputs = run(model, fields)
        scores = outputs["generator_logits"]
        if temperature:
            scores = scores / temperature - np.log(-np.log(fields["sampling_noise"]))
        ids = np.where(masked, scores.argmax(-1), fields["input_ids"])
        assert np.array_equal(outputs["replaced_ids"], ids)
        assert np.array_equal(outputs["replaced_labels"], masked & (ids != fields["labels"]))
        assert outputs["replaced_ids"].dtype == outputs["replaced_labels"].dtype == np.int64
        expected = 2.0 * outputs["generator_loss"] + 3.0 * outputs["discriminator_loss"]
        assert outputs["loss"] == pytest.approx(expected, rel=1e-15)


def test_a_restored_word_is_labelled_original():
    fields = batch("pretraining")
    restored = run(pair("pretraining")[0], fields)["replaced_ids"]
    fields["labels"] = np.where(fields["labels"] == -100, -100, restored)
    for model in pair("pretraining"):
        assert not run(model, fields)["replaced_labels"].any()


def test_the_parts_are_the_models_they_are_named_after():
    fields = batch("pretraining")
    inputs = {name: fields[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    for model in pair("pretraining"):
        joint = run(model, fields)
        generator = run(model.generator, inputs | {"labels": fields["labels"]})
        assert np.array_equal(joint["generator_logits"], generator["logits"])
        assert joint["generator_loss"] == generator["loss"]
        replaced = inputs | {"input_ids": joint["replaced_ids"], "labels": joint["replaced_labels"]}
        discriminator = run(model.discriminator, replaced)
        assert np.array_equal(joint["logits"], discriminator["logits"])
        assert joint["discriminator_loss"] == discriminator["loss"]


def test_nothing_flows_back_through_the_sample():
    ours, theirs = pair("pretraining")
    fields = batch("pretraining")
    ours(**{name: torch.tensor(value) for name, value in fields.items()})["discriminator_loss"].backward()
    theirs(**{name: paddle.to_tensor(value) for name, value in fields.items()})["discriminator_loss"].backward()
    for model in (ours, theirs):
        reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert not {name for name in reached if name.startswith("generator") and ".embeddings." not in name}
        assert any(name.startswith("discriminator") for name in reached)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_samples_follow_the_softmax_and_the_frameworks_seed(side, temperature):
    logits = np.tile(np.array([2.0, 0.0, 1.0, -1.0, 0.5]), (1, 40_000, 1))
    seed = torch.manual_seed if side is torch_side else paddle.seed
    sampler = side.GumbelSampler(temperature)
    draws = []
    for number in (0, 0, 1):
        seed(number)
        draws.append(sampler(_tensor(side, logits)).numpy())
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    weights = np.exp(logits[0, 0] / temperature)
    found = np.bincount(draws[0].ravel(), minlength=5) / 40_000
    assert np.abs(found - weights / weights.sum()).max() < 0.012  # five standard deviations of 0.0025 at most


# --- initialisation ---


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("task", ["masked_lm", "sequence_classification"])
def test_initialisation_is_a_normal_cut_off_at_two_sigma(side, task):
    model = build(side, task, vocab_size=2110, initializer_range=0.05, pad_token_id=3, num_labels=60)
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if value.ndim == 1:
            assert (value == (1.0 if name.endswith("LayerNorm.weight") else 0.0)).all(), name
            continue
        assert np.abs(value).max() <= 0.1 + 1e-7, name
        if value.size > 1000:  # the deviation of the sample's own deviation is then below 0.02
            assert value.std() / 0.05 == pytest.approx(0.8796, abs=0.09), name
            assert np.abs(value).max() > 0.085, name
    table = model.electra.embeddings.word_embeddings.weight.detach().numpy()
    assert (table == 0).all(axis=1).nonzero()[0].tolist() == [3]
    assert table.std() / 0.05 == pytest.approx(0.8796, abs=0.01)  # the deviation of a normal cut off at ±2


@pytest.mark.parametrize("side", SIDES)
def test_no_two_matrices_start_alike(side):
    model = build(side, "pretraining")
    matrices = [parameter.detach().numpy() for parameter in model.parameters() if len(parameter.shape) == 2]
    assert len({value.tobytes() for value in matrices}) == len(matrices)
