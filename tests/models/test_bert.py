"""BERT in torch is BERT in Paddle: names, configurations, values, losses, gradients, initialisation."""

import dataclasses

import numpy as np
import paddle
import pytest
import torch

from models_paddle import bert as paddle_side
from models_torch import bert as torch_side
from tests.pairs import copy_weights, randomise
from tests.references.bert_names import batch
from tests.references.electra_names import default_dtype, gap, run

SIDES = [pytest.param(torch_side, id="torch"), pytest.param(paddle_side, id="paddle")]
TINY = torch_side.VARIANTS["tiny"]
TASKS = list(torch_side.TASKS)
POOLED = ("masked_lm_and_next_sentence", "next_sentence", "sequence_classification", "multiple_choice", "backbone")


def build(side, task, **overrides):
    model = getattr(side, side.TASKS[task])(side.BertConfig(**TINY | overrides))
    model.eval()
    return model


def pair(task, **overrides):
    """A torch and a Paddle model in float64 with the same generic weights."""
    with default_dtype("float64"):
        torch_model = randomise(build(torch_side, task, **overrides))
        return torch_model, copy_weights(torch_model, build(paddle_side, task, **overrides))


def modules(model):
    walk = getattr(model, "named_modules", None) or model.named_sublayers
    return {name: module for name, module in walk() if name}


# --- structure ---


@pytest.mark.parametrize("task", TASKS)
def test_modules_and_parameters_have_the_same_names(task):
    ours, theirs = build(torch_side, task), build(paddle_side, task)
    assert list(modules(ours)) == list(modules(theirs))
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    for name, module in modules(ours).items():
        assert getattr(module, "p", None) == getattr(modules(theirs)[name], "p", None), name
        assert getattr(module, "eps", None) == getattr(modules(theirs)[name], "_epsilon", None), name
    assert any("pooler" in name for name in ours.state_dict()) == (task in POOLED)


@pytest.mark.parametrize("side", SIDES)
def test_every_dropout_obeys_its_option(side):
    rates = {"hidden_dropout_prob": 0.11, "attention_probs_dropout_prob": 0.12, "classifier_dropout": 0.13}
    for task in ("sequence_classification", "token_classification", "multiple_choice"):
        found = {name: module.p for name, module in modules(build(side, task, **rates)).items() if "dropout" in name}
        assert found.pop("dropout") == 0.13
        assert {rate for name, rate in found.items() if ".self." in name} == {0.12}
        assert {rate for name, rate in found.items() if ".self." not in name} == {0.11}
        assert modules(build(side, task, hidden_dropout_prob=0.3))["dropout"].p == 0.3


# fmt: off
PRETRAINED = {  # millions of parameters with the heads of pre-training (Turc et al., 2019, table 1)
    "base": 110.1, "L2-H128": 4.4, "L4-H256": 11.3, "L4-H512": 29.1, "L8-H512": 41.7,
}
ENCODERS = {  # and without them (google-research/bert and ymcui/Chinese-BERT-wwm round to 110, 340, 102, 325, 38 …)
    "base": 109.5, "large": 335.1, "base-cased": 108.3, "large-cased": 333.6, "base-multilingual-uncased": 167.4,
    "base-multilingual-cased": 177.9, "base-chinese": 102.3, "zh-wwm-ext": 102.3, "zh-wwm-ext-large": 325.5,
    "zh-rbt3": 38.5, "zh-rbt4": 45.6, "zh-rbt6": 59.7, "zh-rbtl3": 61.0,
}
# fmt: on


def test_sizes_are_the_published_ones():
    assert set(torch_side.VARIANTS) == {"tiny", *PRETRAINED, *ENCODERS}
    for name, sizes in (("BertForPreTraining", PRETRAINED), ("BertModel", ENCODERS)):
        assert {variant: _millions(name, variant) for variant in sizes} == sizes


def _millions(name, variant):
    with torch.device("meta"):
        model = getattr(torch_side, name)(torch_side.BertConfig(**torch_side.VARIANTS[variant]))
    return round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("task", ["masked_lm", "masked_lm_and_next_sentence"])
def test_the_decoder_is_the_embedding_table_unless_untied(side, task):
    for tied in (True, False):
        model = build(side, task, tie_word_embeddings=tied)
        decoder = model.cls.predictions.decoder if task != "masked_lm" else model.cls[0].decoder
        bias = model.cls.predictions.bias if task != "masked_lm" else model.cls[0].bias
        assert (decoder.weight is model.bert.embeddings.word_embeddings.weight) == tied
        assert decoder.bias is bias


# --- configuration ---

CHINESE = {  # google's chinese_L-12_H-768_A-12/bert_config.json, with what transformers' conversion added
    "architectures": ["BertForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "directionality": "bidi",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12,
    "pooler_num_fc_layers": 3,
    "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform",
    "type_vocab_size": 2,
    "vocab_size": 21128,
}


@pytest.mark.parametrize("side", SIDES)
def test_configurations_are_read(side):
    assert side.BertConfig.from_dict(CHINESE) == side.BertConfig(**side.VARIANTS["base-chinese"])
    assert side.BertConfig.from_dict({"id2label": {"0": "no", "1": "yes", "2": "maybe"}}).num_labels == 3
    for variant in side.VARIANTS.values():
        config = side.BertConfig(**variant)
        assert side.BertConfig.from_dict(dataclasses.asdict(config)) == config
        assert config.hidden_size == TINY["hidden_size"] or config.hidden_size == 64 * config.num_attention_heads


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope_scaling", {"factor": 2.0}),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("pruned_heads", {"0": [1]}),
        ("model_type", "roberta"),  # another layout, with positions from 2 on
        ("hidden_act", "mish"),
        ("pad_token_id", None),
        ("pad_token_id", 30522),
        ("problem_type", "multi_label_classification"),
        ("pool_act", "relu"),
        ("fuse", True),
    ],
)
def test_what_would_be_another_function_is_refused(side, key, value):
    with pytest.raises(ValueError, match=f"^unsupported: .*{key}"):
        side.BertConfig.from_dict({key: value})


@pytest.mark.parametrize("side", SIDES)
def test_heads_have_to_divide_the_hidden_width(side):
    with pytest.raises(ValueError, match="hidden_size 768 is not a multiple of 7 heads"):
        side.BertConfig(num_attention_heads=7)


# --- values and gradients: torch against Paddle ---


@pytest.mark.parametrize("task", TASKS)
def test_outputs_agree_in_float64(task):
    ours, theirs = pair(task)
    masked = batch(task)
    masked["attention_mask"][-1] = 0
    for fields in (batch(task), batch(task, 1, 13), batch(task, 2, 1), masked):
        expected, actual = run(ours, fields), run(theirs, fields)
        assert list(expected) == list(actual)
        for name in expected:
            assert gap(actual[name], expected[name]) <= 1e-13, name  # rounding: a few hundred ULP


@pytest.mark.parametrize(
    ("task", "options"),
    [
        *(("backbone", {"hidden_act": name}) for name in ("gelu_new", "relu", "silu", "tanh")),
        ("backbone", {"layer_norm_eps": 2.0**-10}),  # a float32 number, to which Paddle's kernel rounds it
        ("masked_lm", {"tie_word_embeddings": False}),
        ("sequence_classification", {"num_labels": 1}),
        ("sequence_classification", {"problem_type": "regression"}),
    ],
)
def test_options_agree_and_matter(task, options):
    ours, theirs = pair(task, **options)
    fields = batch(task)
    if task == "sequence_classification":
        shape = (3, options.get("num_labels", 5)) if "problem_type" in options else 3
        fields["labels"] = np.random.default_rng(1).normal(size=shape)
    expected, actual = run(ours, fields), run(theirs, fields)
    assert all(gap(actual[name], expected[name]) <= 1e-13 for name in expected)
    plain, last = run(pair(task)[0], batch(task)), list(expected)[-1]
    assert expected[last].shape != plain[last].shape or gap(expected[last], plain[last]) > 1e-6


@pytest.mark.parametrize("task", TASKS)
def test_gradients_agree_and_reach_every_parameter(task):
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
        assert name.endswith("key.bias") or (parameter.grad != 0).any(), name  # a key's bias moves no softmax


def _objective(outputs):
    return outputs["loss"] if "loss" in outputs else sum((value**3).sum() for value in outputs.values())


def test_mask_and_types_may_be_left_out_and_padding_does_not_reach_a_token():
    fields = batch("backbone")
    ids, kept = fields["input_ids"], fields["attention_mask"] == 1
    full = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    for model in pair("backbone"):
        bare = run(model, {"input_ids": ids})["last_hidden_state"]
        assert np.array_equal(bare, run(model, full)["last_hidden_state"])
        one, other = (run(model, dict(fields, input_ids=np.where(kept, ids, pad))) for pad in (0, 77))
        assert np.abs(one["last_hidden_state"][kept] - other["last_hidden_state"][kept]).max() <= 1e-13
        assert np.abs(one["last_hidden_state"] - other["last_hidden_state"]).max() > 0.1


# --- losses ---


def _cross_entropy(logits, labels):
    """The textbook formula, over the labels that are not −100."""
    kept = labels != -100
    rows = logits[kept] - logits[kept].max(-1, keepdims=True)
    chosen = np.take_along_axis(rows, labels[kept][:, None], -1)[:, 0]
    return (np.log(np.exp(rows).sum(-1)) - chosen).mean()


@pytest.mark.parametrize(
    "task", ["masked_lm", "next_sentence", "token_classification", "sequence_classification", "multiple_choice"]
)
def test_losses_agree_with_the_textbook(task):
    fields = batch(task)
    fields["labels"].flat[1] = -100
    for model in pair(task):
        outputs = run(model, fields)
        assert outputs["loss"] == pytest.approx(_cross_entropy(outputs["logits"], fields["labels"]), rel=1e-13)


def test_pretraining_is_the_sum_of_both_heads_and_their_losses():
    fields = batch("masked_lm_and_next_sentence")
    fields["next_sentence_label"][1] = -100
    inputs = {name: fields[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    for model, side in zip(pair("masked_lm_and_next_sentence"), (torch_side, paddle_side), strict=True):
        joint = run(model, fields)
        words = _cross_entropy(joint["prediction_logits"], fields["labels"])
        order = _cross_entropy(joint["seq_relationship_logits"], fields["next_sentence_label"])
        assert joint["loss"] == pytest.approx(words + order, rel=1e-13)
        assert "loss" not in run(model, inputs | {"labels": fields["labels"]})
        for task, name in (("masked_lm", "prediction_logits"), ("next_sentence", "seq_relationship_logits")):
            with default_dtype("float64"):
                alone = build(side, task)
            alone.set_state_dict(model.state_dict()) if side is paddle_side else alone.load_state_dict(
                {key: value for key, value in model.state_dict().items() if key in alone.state_dict()}
            )
            assert gap(run(alone, inputs)["logits"], joint[name]) <= 1e-15


def test_the_loss_of_a_span_is_the_mean_of_both_ends():
    fields = batch("question_answering")
    fields["end_positions"][0] = -100
    for model in pair("question_answering"):
        outputs = run(model, fields)
        ends = [_cross_entropy(outputs[f"{end}_logits"], fields[f"{end}_positions"]) for end in ("start", "end")]
        assert outputs["loss"] == pytest.approx(sum(ends) / 2, rel=1e-13)


@pytest.mark.parametrize("side", SIDES)
def test_a_loss_that_ignores_everything_is_zero_and_large_ones_are_not_cut_off(side):
    def tensor(value):
        return torch.tensor(value) if side is torch_side else paddle.to_tensor(value)

    logits = np.random.default_rng(0).normal(size=(4, 7)) * 200.0
    labels = np.array([3, -100, 0, 6])
    expected = _cross_entropy(logits, labels)
    assert expected > 64  # where Paddle's own stops
    assert float(side.CrossEntropy()(tensor(logits), tensor(labels))) == pytest.approx(expected, rel=1e-14)
    assert float(side.CrossEntropy()(tensor(logits), tensor(labels * 0 - 100))) == 0.0


# --- initialisation ---


@pytest.mark.parametrize("side", SIDES)
def test_initialisation_is_a_normal_cut_off_at_two_sigma_in_every_row(side):
    model = build(side, "masked_lm_and_next_sentence", vocab_size=2110, initializer_range=0.05)
    matrices = []
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if value.ndim == 1:
            assert (value == (1.0 if name.endswith("LayerNorm.weight") else 0.0)).all(), name
            continue
        matrices.append(value.tobytes())
        assert np.abs(value).max() <= 0.1 + 1e-7, name
        if value.size > 1000:  # the deviation of the sample's own deviation is then below 0.02
            assert value.std() / 0.05 == pytest.approx(0.8796, abs=0.09), name
            assert np.abs(value).max() > 0.085, name
    assert len(set(matrices)) == len(matrices)
    table = model.bert.embeddings.word_embeddings.weight.detach().numpy()
    assert (np.abs(table).max(axis=1) > 0).all()  # the pad token's too
    assert table.std() / 0.05 == pytest.approx(0.8796, abs=0.01)  # the deviation of a normal cut off at ±2
