"""Our ConvBERT is transformers' in torch and PaddleNLP's in Paddle, on the same weights; defects of theirs are pinned.

Limits are relative to the largest expected value. In float64 rounding leaves 1e-14; in float32 it leaves each of the
implementations 1.2e-5 from the float64 values, since the kernels' logits are of the third degree in the hidden states.
PaddleNLP has a pooler, so ours has it there too; its embedding of the pad token is always zero, which the convolutions
carry into the text, so ours is.
"""

import dataclasses
import re
import warnings

import numpy as np
import paddle
import pytest
import torch

from models_paddle import convbert as paddle_side
from models_torch import convbert as torch_side
from tests.pairs import copy_weights, randomise
from tests.references.electra_names import batch, default_dtype, gap, run

TINY = torch_side.VARIANTS["tiny"]
LIMITS = {"float32": 5e-5, "float64": 1e-12}
HEADS = [task for task in torch_side.TASKS if task not in ("pretraining", "replaced_token")]
PADDLENLP_CLASSES = {
    "replaced_token": "ConvBertDiscriminator",
    "masked_lm": "ConvBertGenerator",
    "sequence_classification": "ConvBertForSequenceClassification",
    "token_classification": "ConvBertForTokenClassification",
    "question_answering": "ConvBertForQuestionAnswering",
    "multiple_choice": "ConvBertForMultipleChoice",
    "backbone": "ConvBertModel",
}


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
        from paddlenlp.transformers.convbert import modeling

        return modeling


def ours(task, side=torch_side, **overrides):
    model = getattr(side, side.TASKS[task])(side.ConvBertConfig(**TINY | overrides))
    model.eval()
    return model


def options(**overrides):
    """What of our configuration the references know."""
    config = dataclasses.asdict(torch_side.ConvBertConfig(**TINY | overrides))
    return {
        name: value
        for name, value in config.items()
        if "generator" not in name and name not in ("pool_act", "heads_as")
    }


def of_transformers(package, task, model, **overrides):
    """transformers' model with the weights of ours, which have to fit key for key."""
    known = options(**overrides) | ({"num_labels": 2} if task == "question_answering" else {})
    reference = getattr(package, torch_side.TASKS[task])(package.ConvBertConfig(**known))
    reference.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(reference.state_dict(), strict=True)
    return reference.to(torch.get_default_dtype()).eval()


# --- transformers ---

OPTIONS = [
    ("backbone", {"num_groups": 1}),
    ("backbone", {"conv_kernel_size": 3}),
    ("backbone", {"num_attention_heads": 1}),
    ("backbone", {"num_attention_heads": 3, "hidden_act": "relu"}),
    ("backbone", {"head_ratio": 6, "embedding_size": 42}),
    ("masked_lm", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    ("masked_lm", {"tie_word_embeddings": False}),
    ("sequence_classification", {"hidden_act": "relu"}),
    ("sequence_classification", {"num_labels": 1}),
    ("multiple_choice", {"summary_type": "last", "summary_use_proj": False, "summary_activation": None}),
    ("multiple_choice", {"summary_type": "mean", "summary_activation": "tanh"}),
]


@pytest.mark.parametrize(("B", "L"), [(3, 17), (1, 13), (2, 4)])
@pytest.mark.parametrize("task", HEADS)
def test_torch_equals_transformers(transformers, dtype, task, B, L):
    model = randomise(ours(task))
    expected = run(of_transformers(transformers, task, model), batch(task, B, L))
    for name, value in run(model, batch(task, B, L)).items():
        assert gap(value, expected[name]) <= LIMITS[dtype], name


@pytest.mark.parametrize(("task", "overrides"), OPTIONS)
def test_torch_equals_transformers_in_every_option(transformers, float64, task, overrides):
    model = randomise(ours(task, **overrides))
    fields = batch(task)
    if overrides.get("num_labels") == 1:
        fields["labels"] = np.array([0.3, -1.2, 2.5])
    expected = run(of_transformers(transformers, task, model, **overrides), fields)
    for name, value in run(model, fields).items():
        assert gap(value, expected[name]) <= LIMITS["float64"], name


def test_no_mask_and_a_fully_masked_row_are_as_in_transformers(transformers, float64):
    model = randomise(ours("backbone"))
    reference = of_transformers(transformers, "backbone", model)
    fields = batch("backbone")
    masked = dict(fields, attention_mask=fields["attention_mask"] * np.array([[1], [1], [0]]))
    for inputs in ({"input_ids": fields["input_ids"]}, masked):
        actual, expected = run(model, inputs), run(reference, inputs)
        assert gap(actual["last_hidden_state"], expected["last_hidden_state"]) <= LIMITS["float64"]


@pytest.mark.parametrize("side", [torch_side, paddle_side])
def test_the_config_that_transformers_writes_is_read(transformers, side):
    expected = dataclasses.replace(side.ConvBertConfig(), **options())
    assert side.ConvBertConfig.from_dict(transformers.ConvBertConfig(**options()).to_dict()) == expected
    # its own default pads with id 1, though [PAD] is 0 in the published vocabularies
    assert side.ConvBertConfig.from_dict(transformers.ConvBertConfig().to_diff_dict()) == side.ConvBertConfig(
        pad_token_id=1
    )


def test_a_split_that_transformers_cannot_compute_is_refused(transformers):
    broken = transformers.ConvBertModel(transformers.ConvBertConfig(**options() | {"head_ratio": 3}))  # heads of 10.5
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        broken(torch.ones(1, 4, dtype=torch.long), torch.ones(1, 4))
    with pytest.raises(ValueError, match="hidden_size 42 is not a multiple of 4"):
        ours("backbone", head_ratio=3)


# --- PaddleNLP ---

PIECES = [  # (transformers' piece of a name, PaddleNLP's), replaced in this order
    ("encoder.layer.", "encoder.layers."), ("attention.self.query", "self_attn.q_proj"),
    ("attention.self.key.", "self_attn.k_proj."), ("attention.self.value", "self_attn.v_proj"),
    ("attention.self.", "self_attn."), ("attention.output.dense", "self_attn.out_proj"),
    ("attention.output.LayerNorm", "norm1"), ("intermediate.dense", "linear1"), ("output.dense", "linear2"),
    ("output.LayerNorm", "norm2"), ("LayerNorm", "layer_norm"), ("generator_lm_head.bias", "generator_lm_head_bias"),
    ("qa_outputs", "classifier"),
]  # fmt: skip


def paddlenlp_name(name):
    for piece, theirs in PIECES:
        name = name.replace(piece, theirs)
    return name


def of_paddlenlp(package, task, source, **overrides):
    """PaddleNLP's model with the weights of our torch model `source`."""
    pooling = overrides.get("pool_act", "tanh")
    config = package.ConvBertConfig(**options(**overrides), pool_act=pooling, num_choices=4)
    with default_dtype("float32"):  # it can initialise itself in no other
        reference = getattr(package, PADDLENLP_CLASSES[task])(config)
    reference.to(dtype=paddle.get_default_dtype())
    reference.eval()
    layers, target = dict(reference.named_sublayers(include_self=True)), reference.state_dict()
    state = {paddlenlp_name(name): value.detach().numpy() for name, value in source.state_dict().items()}
    state.pop("generator_lm_head.weight", None)
    assert set(state) == set(target), sorted(set(state) ^ set(target))
    for name, parameter in target.items():
        linear = isinstance(layers[name.rpartition(".")[0]], paddle.nn.Linear) and name.endswith("weight")
        value = state[name].T if linear else state[name]
        value = value[:, 0] if name.endswith("key_conv_attn_layer.bias") else value
        assert list(value.shape) == list(parameter.shape), name
        parameter.set_value(np.ascontiguousarray(value))
    return reference


def trio(package, task, pad_row=0.0, **overrides):
    """Ours in torch and in Paddle, and PaddleNLP's; `pad_row` fills the pad token's embedding."""
    pooled = {"pool_act": "tanh"} | overrides
    source = randomise(ours(task, **pooled))
    with torch.no_grad():
        next(p for name, p in source.named_parameters() if name.endswith("word_embeddings.weight"))[0] = pad_row
    return (
        source,
        copy_weights(source, ours(task, paddle_side, **pooled)),
        of_paddlenlp(package, task, source, **pooled),
    )


def unlabelled(fields):
    return {name: fields[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def call(reference, fields):
    """PaddleNLP's outputs, always as a list."""
    outputs = reference(**{name: paddle.to_tensor(value) for name, value in fields.items()})
    return [value.numpy() for value in (outputs if isinstance(outputs, tuple) else (outputs,))]


SAME = [
    *((task, {}) for task in HEADS),
    ("backbone", {"num_groups": 1, "conv_kernel_size": 3}),
    ("backbone", {"heads_as": "paddlenlp", "num_attention_heads": 1}),
    ("sequence_classification", {"pool_act": "linear"}),
]


@pytest.mark.parametrize(("B", "L"), [(3, 17), (1, 13), (2, 4)])
@pytest.mark.parametrize(("task", "overrides"), SAME)
def test_paddle_equals_paddlenlp_and_torch(paddlenlp, dtype, task, overrides, B, L):
    source, model, reference = trio(paddlenlp, task, **overrides)
    fields = unlabelled(batch(task, B, L))
    actual, from_torch, expected = run(model, fields), run(source, fields), call(reference, fields)
    for (name, value), theirs in zip(actual.items(), expected, strict=False):  # it adds the pooler's output to some
        assert gap(value, theirs) <= LIMITS[dtype], name
        assert gap(value, from_torch[name]) <= LIMITS[dtype], name


def test_paddlenlp_embeds_the_pad_token_as_zeros_which_the_text_beside_it_sees(paddlenlp, float64):
    source, model, reference = trio(paddlenlp, "backbone", pad_row=torch.linspace(-1, 1, 24))
    fields = batch("backbone")
    kept = fields["attention_mask"] == 1
    actual, expected = run(model, fields)["last_hidden_state"], call(reference, fields)[0]
    assert gap(actual, run(source, fields)["last_hidden_state"]) <= LIMITS["float64"]
    assert gap(actual[kept], expected[kept]) > 1e-4
    whole = {"input_ids": fields["input_ids"][:1], "attention_mask": fields["attention_mask"][:1]}  # nothing is padding
    assert gap(run(model, whole)["last_hidden_state"], call(reference, whole)[0]) <= LIMITS["float64"]


def test_paddlenlp_cannot_run_its_discriminator_whose_parts_are_ours(paddlenlp, float64):
    _, model, reference = trio(paddlenlp, "replaced_token")
    fields = unlabelled(batch("replaced_token"))
    with pytest.raises((TypeError, ValueError), match="tuple"):
        call(reference, fields)
    inputs = {name: paddle.to_tensor(value) for name, value in fields.items()}
    logits = reference.discriminator_predictions(reference.convbert(**inputs)[0]).numpy()
    assert gap(run(model, fields)["logits"], logits) <= LIMITS["float64"]


def test_paddlenlp_leaves_the_convolutions_out_where_transformers_has_a_single_head(paddlenlp, transformers):
    known = options(num_attention_heads=1)
    theirs = paddlenlp.ConvBertModel(paddlenlp.ConvBertConfig(**known)).state_dict()
    assert not any("conv" in name for name in theirs)
    assert any("conv" in name for name in transformers.ConvBertModel(transformers.ConvBertConfig(**known)).state_dict())
    assert not any(
        re.search("conv_", name) for name in ours("backbone", num_attention_heads=1, heads_as="paddlenlp").state_dict()
    )
