"""ConvBERT in torch is ConvBERT in Paddle, whatever the options; its convolution is the formula's."""

import dataclasses

import numpy as np
import paddle
import pytest
import torch

from models_paddle import convbert as paddle_side
from models_torch import convbert as torch_side
from tests.pairs import copy_weights, randomise
from tests.references.electra_names import batch, default_dtype, gap, run

SIDES = [pytest.param(torch_side, id="torch"), pytest.param(paddle_side, id="paddle")]
TINY = torch_side.VARIANTS["tiny"]
TASKS = list(torch_side.TASKS)


def build(side, task, **overrides):
    model = getattr(side, side.TASKS[task])(side.ConvBertConfig(**TINY | overrides))
    model.eval()
    return model


def pair(task, **overrides):
    """A torch and a Paddle model in float64 with the same generic weights."""
    with default_dtype("float64"):
        torch_model = randomise(build(torch_side, task, **overrides))
        return torch_model, copy_weights(torch_model, build(paddle_side, task, **overrides))


def tensor(side, value):
    return torch.tensor(value) if side is torch_side else paddle.to_tensor(value)


# --- values: torch against Paddle ---

SINGLE_HEAD = {"num_attention_heads": 1, "generator_num_attention_heads": 1}
OPTIONS = [
    *((task, {}) for task in TASKS),
    ("backbone", {"num_groups": 1}),
    ("backbone", {"conv_kernel_size": 3, "head_ratio": 6}),
    ("backbone", {"pool_act": "tanh", "embedding_size": 42}),
    ("sequence_classification", {"pool_act": "linear", "num_labels": 1}),
    ("multiple_choice", {"pool_act": "tanh"}),
    ("multiple_choice", {"summary_type": "mean", "summary_use_proj": False, "summary_activation": None}),
    ("multiple_choice", {"summary_type": "last", "summary_activation": "tanh"}),
    ("masked_lm", {"tie_word_embeddings": False, "hidden_act": "gelu_new"}),
    *(("pretraining", {"heads_as": whose, **SINGLE_HEAD}) for whose in ("transformers", "original", "paddlenlp")),
]


@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_outputs_and_gradients_agree_in_float64(task, options):
    ours, theirs = pair(task, **options)
    fields = batch(task)
    if options.get("num_labels") == 1:
        fields["labels"] = np.array([0.3, -1.2, 2.5])
    expected, actual = run(ours, fields), run(theirs, fields)
    assert list(expected) == list(actual)
    for name in expected:
        assert gap(actual[name], expected[name]) <= 1e-13, name  # rounding: a few hundred ULP
    objective(ours(**{name: torch.tensor(value) for name, value in fields.items()})).backward()
    objective(theirs(**{name: paddle.to_tensor(value) for name, value in fields.items()})).backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in theirs.named_parameters()}
    owners = dict(theirs.named_sublayers())
    largest = max(parameter.grad.abs().max().item() for parameter in ours.parameters())
    unmoved = {name for name, parameter in ours.named_parameters() if not (parameter.grad != 0).any()}
    assert unmoved <= {"classifier.bias"}  # the same for all choices
    for name, parameter in ours.named_parameters():
        linear = isinstance(owners.get(name.rpartition(".")[0]), paddle.nn.Linear) and name.endswith("weight")
        gradient = gradients[name].T if linear else gradients[name]
        assert np.abs(gradient - parameter.grad.numpy()).max() <= 1e-12 * largest, name


def objective(outputs):
    return outputs["loss"] if "loss" in outputs else sum((value**3).sum() for value in outputs.values())


@pytest.mark.parametrize(("B", "L"), [(1, 13), (2, 1), (2, 4), (5, 8)])
def test_short_sequences_and_a_fully_masked_row_agree(B, L):
    fields = batch("token_classification", B, L)
    fields["attention_mask"][-1] = 0
    expected, actual = (run(model, fields) for model in pair("token_classification"))
    assert all(gap(actual[name], expected[name]) <= 1e-13 for name in expected)


def test_padding_reaches_its_neighbours_through_the_convolutions():
    fields = batch("backbone")
    padding = fields["attention_mask"] == 0
    other = dict(fields, input_ids=np.where(padding, 77, fields["input_ids"]))
    near = np.zeros_like(padding)
    for row, length in enumerate(fields["attention_mask"].sum(-1)):
        near[row, max(0, length - 4) : length] = length < padding.shape[1]
    for model in pair("backbone", num_hidden_layers=1):
        changed = np.abs(run(model, fields)["last_hidden_state"] - run(model, other)["last_hidden_state"]).max(-1)
        assert (changed[near & ~padding] > 1e-6).all()
        assert (changed[~near & ~padding] <= 1e-13).all()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("L", "k"), [(17, 9), (3, 9), (1, 5), (6, 1)])
def test_the_dynamic_convolution_is_the_formula(side, L, k):
    generator = np.random.default_rng(L)
    B, H, d = 2, 3, 4
    values, kernels = generator.normal(size=(B, L, H * d)), generator.normal(size=(B, L, H, k))
    expected = np.zeros((B, L, H, d))
    for place, offset in enumerate(range(-(k // 2), k // 2 + 1)):
        for at in range(L):
            if 0 <= at + offset < L:
                source = values[:, at + offset].reshape(B, H, d)
                expected[:, at] += kernels[:, at, :, place, None] * source
    actual = side.convolve(tensor(side, values), tensor(side, kernels)).numpy()
    assert gap(actual, expected.reshape(B, L, H * d)) <= 1e-14


@pytest.mark.parametrize("side", SIDES)
def test_a_grouped_matrix_is_block_diagonal(side):
    with default_dtype("float64"):
        layer = side.ConvBertGroupedLinear(side.ConvBertConfig(**TINY), 42, 54)
    x = np.random.default_rng(0).normal(size=(2, 5, 42))
    dense = np.zeros((42, 54))
    for number, block in enumerate(layer.weight.detach().numpy()):
        dense[14 * number : 14 * number + 14, 18 * number : 18 * number + 18] = block
    assert gap(layer(tensor(side, x)).detach().numpy(), x @ dense) <= 1e-14


# --- configuration ---


def test_both_files_define_the_same():
    for name in ("TASKS", "VARIANTS"):
        assert getattr(torch_side, name) == getattr(paddle_side, name)
    assert dataclasses.asdict(torch_side.ConvBertConfig()) == dataclasses.asdict(paddle_side.ConvBertConfig())


MILLIONS = [
    13.1,
    17.5,
    105.7,
    4.7,
    4.8,
    33.2,
]  # of parameters of the encoder; the paper counts 14, 17 and 106


@pytest.mark.parametrize(("variant", "millions"), list(zip(list(torch_side.VARIANTS)[1:], MILLIONS, strict=True)))
def test_encoder_sizes(variant, millions):
    with torch.device("meta"):
        model = torch_side.ConvBertModel(torch_side.ConvBertConfig(**torch_side.VARIANTS[variant]))
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", ["small", "medium-small", "base"])
def test_generators_of_joint_pretraining_have_the_published_size(side, size):
    config = side.ConvBertConfig(**side.VARIANTS[size])
    published = side.ConvBertConfig(**side.VARIANTS[f"{size}-generator"], generator_size=config.generator_size)
    assert config.generator() == published


@pytest.mark.parametrize(
    ("whose", "widths"), [("transformers", (21, 42)), ("original", (42, 84)), ("paddlenlp", (42, 42))]
)
@pytest.mark.parametrize("side", SIDES)
def test_a_single_head_is_as_wide_as_whoever_says(side, whose, widths):
    state = build(side, "backbone", num_attention_heads=1, heads_as=whose).state_dict()
    layer = "encoder.layer.0.attention"
    assert state[f"{layer}.self.query.bias"].shape[0] == widths[0]
    assert sorted(state[f"{layer}.output.dense.weight"].shape) == sorted((42, widths[1]))
    assert any("conv" in name for name in state) == (whose != "paddlenlp")


@pytest.mark.parametrize("side", SIDES)
def test_the_authors_word_for_groups_is_understood(side):
    read = side.ConvBertConfig.from_dict
    assert (
        read({"linear_groups": 2, "conv_type": "sdconv"})
        == read({"num_groups": 2})
        == side.ConvBertConfig(num_groups=2)
    )
    with pytest.raises(ValueError, match=r"^unsupported: \{'linear_groups': 2\}"):
        read({"linear_groups": 2, "num_groups": 3})


# fmt: off
REFUSED = [
    ("conv_kernel_size", 8), ("conv_type", "noconv"), ("heads_as", "mine"), ("pool_act", "gelu"), ("is_decoder", True),
    ("summary_type", "attn"), ("summary_activation", "mish"), ("summary_proj_to_labels", True),
    ("pruned_heads", {"0": [1]}), ("hidden_act", "mish"), ("pad_token_id", 30522), ("temperature", float("nan")),
    ("rope_scaling", {"factor": 2.0}),
]
# fmt: on


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_what_would_be_another_function_is_refused(side, key, value):
    with pytest.raises(ValueError, match=f"^unsupported: .*{key}"):
        side.ConvBertConfig.from_dict({key: value})


@pytest.mark.parametrize("side", SIDES)
def test_widths_have_to_divide(side):
    with pytest.raises(ValueError, match="hidden_size 768 is not a multiple of 14"):
        side.ConvBertConfig(num_attention_heads=14)
    with pytest.raises(ValueError, match="a width of 768 does not fall into 5 groups"):
        side.ConvBertConfig(num_groups=5)


# --- initialisation ---


@pytest.mark.parametrize("side", SIDES)
def test_initialisation_is_as_published(side):
    model = build(side, "masked_lm", vocab_size=2110, initializer_range=0.05, pad_token_id=3)
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if name.endswith("bias") or value.ndim == 1:
            assert (value == (1.0 if name.endswith("LayerNorm.weight") else 0.0)).all(), name
            continue
        std = 1 / 9 if "depthwise" in name else 0.05  # the kernel of a mean of nine places
        assert np.abs(value).max() <= 2 * std + 1e-7, name
        if value.size > 300:
            assert value.std() / std == pytest.approx(0.8796, abs=0.12), name  # a normal cut off at ±2 deviations
    table = model.convbert.embeddings.word_embeddings.weight.detach().numpy()
    assert (table == 0).all(axis=1).nonzero()[0].tolist() == [3]
