"""Fast Transformer and Fastformer: names, configurations, options, gradients, initialisation, on both sides alike.

What they compute is compared with the formulae in tests/references.
"""

import dataclasses
import inspect
import json

import numpy as np
import paddle
import pytest
import torch

from models_paddle import fast_transformer as paddle_fast
from models_paddle import fastformer as paddle_fastformer
from models_torch import fast_transformer as torch_fast
from models_torch import fastformer as torch_fastformer
from tests.pairs import copy_weights, randomise
from tests.references.electra_names import default_dtype, gap, run

PAIRS = {"fast_transformer": (torch_fast, paddle_fast), "fastformer": (torch_fastformer, paddle_fastformer)}
SIDES = [pytest.param(side, id=side.__name__) for sides in PAIRS.values() for side in sides]
CASES = [(model, task) for model, (side, _) in PAIRS.items() for task in side.TASKS]
CLASSIFIERS = [(model, "sequence_classification") for model in PAIRS]
FAST = [pytest.param(torch_fast, id="torch"), pytest.param(paddle_fast, id="paddle")]
FASTFORMER = [pytest.param(torch_fastformer, id="torch"), pytest.param(paddle_fastformer, id="paddle")]


def config_of(side, **options):
    found = next(value for name, value in inspect.getmembers(side, inspect.isclass) if name.endswith("Config"))
    return found(**options)


def build(side, task, **options):
    model = getattr(side, side.TASKS[task])(config_of(side, **side.VARIANTS["tiny"] | options))
    model.eval()
    return model


def pair(model, task, **options):
    """A torch and a Paddle model in float64 with the same generic weights, and an eps that Paddle need not round."""
    if model == "fast_transformer":
        options = {"layer_norm_eps": float(np.float32(1e-5))} | options
    with default_dtype("float64"):
        ours, theirs = (build(side, task, **options) for side in PAIRS[model])
        return randomise(ours), copy_weights(ours, theirs)


def batch(task, B=3, L=13, words=190, classes=5):
    rng = np.random.default_rng([B, L])
    mask = (np.arange(L) < rng.integers(L // 2, L, B)[:, None]).astype(np.int64)
    fields = {"input_ids": rng.integers(1, words, (B, L)) * mask, "attention_mask": mask}
    labels = {"masked_lm": (words, (B, L)), "sequence_classification": (classes, B)}
    return fields | ({"labels": rng.integers(0, *labels[task])} if task in labels else {})


def modules(model):
    walk = getattr(model, "named_modules", None) or model.named_sublayers
    return {name: module for name, module in walk() if name}


def tensor(side, value):
    return torch.tensor(value) if side in (torch_fast, torch_fastformer) else paddle.to_tensor(value)


# --- structure ---


@pytest.mark.parametrize(("model", "task"), CASES)
def test_modules_and_parameters_have_the_same_names(model, task):
    ours, theirs = (build(side, task) for side in PAIRS[model])
    assert list(modules(ours)) == list(modules(theirs))
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    for name, module in modules(ours).items():
        assert getattr(module, "p", None) == getattr(modules(theirs)[name], "p", None), name
        assert getattr(module, "eps", None) == getattr(modules(theirs)[name], "_epsilon", None), name


def affine(name, outputs, inputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def fast_names(prefix, words, positions, D=512, inner=512, head=64, product=64, layers=2):
    """What both ports' files hold: lucidrains' own code and the reproduction's, in either framework."""
    shapes = {f"{prefix}token_emb.weight": (words, D)}
    shapes |= {f"{prefix}abs_pos_emb.weight": (positions, D)} if positions else {}
    for layer in (f"{prefix}layers.{number}" for number in range(layers)):
        shapes |= {f"{layer}.0.fn.to_qkv.weight": (3 * inner, D)}
        shapes |= {f"{layer}.0.fn.to_q_attn_logits.weight": (1, head)}
        shapes |= {f"{layer}.0.fn.to_k_attn_logits.weight": (1, product)}
        shapes |= norm(f"{layer}.0.norm", D) | affine(f"{layer}.0.fn.to_r", head, product)
        shapes |= affine(f"{layer}.0.fn.to_out", D, inner) | norm(f"{layer}.1.norm", D)
        shapes |= affine(f"{layer}.1.fn.0", 4 * D, D) | affine(f"{layer}.1.fn.2", D, 4 * D)
    return shapes


def fastformer_names(words, D=256, heads=16, layers=2, classes=4):
    """What the authors' code saves of its AG News model."""
    shapes = {"word_embedding.weight": (words, D), "fastformer_model.position_embeddings.weight": (256, D)}
    shapes |= norm("fastformer_model.LayerNorm", D) | affine("dense_linear", classes, D)
    for layer in (f"fastformer_model.encoders.{number}" for number in range(layers)):
        for name, outputs in {"query": D, "query_att": heads, "key": D, "key_att": heads, "transform": D}.items():
            shapes |= affine(f"{layer}.attention.self.{name}", outputs, D)
        for name in ("attention.output", "output"):
            shapes |= affine(f"{layer}.{name}.dense", D, D) | norm(f"{layer}.{name}.LayerNorm", D)
        shapes |= affine(f"{layer}.intermediate.dense", D, D)
    pooler = "fastformer_model.poolers.0"
    return shapes | affine(f"{pooler}.att_fc1", D, D) | affine(f"{pooler}.att_fc2", 1, D)


LANGUAGE = norm("to_logits.0", 512) | affine("to_logits.1", 20000, 512)
AMAZON = affine("dense_linear", 5, 512)
for number, width in ((1, 512), (2, 1)):
    AMAZON |= affine(f"fastformer_model.pooler.att_fc{number}", width, 512)
PUBLISHED = [  # what the files hold, and how many of these numbers a second layer shares with the first
    (torch_fast, "masked_lm", "example", fast_names("", 20000, 4096) | LANGUAGE, 128),
    (torch_fast, "masked_lm", "example-rotary", fast_names("", 20000, 0, product=32) | LANGUAGE, 96),
    (torch_fast, "sequence_classification", "amazon", fast_names("fastformer_model.", 77053, 512) | AMAZON, 128),
    (torch_fastformer, "sequence_classification", "ag-news", fastformer_names(66818), 0),
    (torch_fastformer, "sequence_classification", "published", fastformer_names(100000), 0),
]


@pytest.mark.parametrize(("side", "task", "variant", "shapes", "shared"), PUBLISHED)
def test_the_published_models_have_the_published_names(side, task, variant, shapes, shared):
    with torch.device("meta"):
        model = getattr(side, side.TASKS[task])(config_of(side, **side.VARIANTS[variant]))
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == shapes
    held = sum(int(np.prod(shape)) for shape in shapes.values())
    assert sum(parameter.numel() for parameter in model.parameters()) == held - shared


@pytest.mark.parametrize("side", FAST)
def test_all_layers_share_the_projections_to_the_scores(side):
    for model in (build(side, "masked_lm"), build(side, "sequence_classification").fastformer_model):
        first, *others = (layer[0].fn for layer in model.layers)
        assert len(others) == 2
        for other in others:
            assert other.to_q_attn_logits.weight is first.to_q_attn_logits.weight
            assert other.to_k_attn_logits.weight is first.to_k_attn_logits.weight
            assert other.to_qkv.weight is not first.to_qkv.weight
        names = [name for name, _ in model.named_parameters() if "attn_logits" in name]
        assert len(names) == 2  # an optimizer sees each once


@pytest.mark.parametrize("side", SIDES)
def test_every_dropout_obeys_its_option(side):
    option = "dropout" if side in (torch_fast, paddle_fast) else "hidden_dropout_prob"
    model = build(side, "sequence_classification", **{option: 0.3})
    rates = {module.p for module in modules(model).values() if type(module).__name__ == "Dropout"}
    assert rates == {0.3}


# --- configuration ---


@pytest.mark.parametrize("side", SIDES)
def test_configurations_survive_their_dictionaries(side):
    for variant in side.VARIANTS.values():
        config = config_of(side, **variant)
        assert type(config).from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    assert type(config).from_dict({"id2label": {"0": "no", "1": "yes", "2": "maybe"}}).num_labels == 3


AUTHORS = """{
  "hidden_size": 256, "hidden_dropout_prob": 0.2, "num_hidden_layers": 2, "hidden_act": "gelu",
  "num_attention_heads": 16, "intermediate_size": 256, "max_position_embeddings": 256, "type_vocab_size": 2,
  "vocab_size": 100000, "layer_norm_eps": 1e-12, "initializer_range": 0.02, "pooler_type": "weightpooler",
  "enable_fp16": "False"
}"""


@pytest.mark.parametrize("side", FASTFORMER)
def test_the_authors_configuration_is_read(side):
    assert side.FastformerConfig.from_dict(json.loads(AUTHORS)) == config_of(side, **side.VARIANTS["published"])


# fmt: off
REFUSED = {
    "fast_transformer": [("model_type", "fastformer"), ("hidden_size", 40), ("pad_token_id", 20000),
                         ("problem_type", "multi_label_classification"), ("causal", True)],
    "fastformer": [("model_type", "bert"), ("pooler_type", "mean"), ("hidden_act", "mish"), ("pad_token_id", None),
                   ("position_embedding_type", "relative_key"), ("problem_type", "multi_label_classification")],
}
# fmt: on


@pytest.mark.parametrize(("model", "key", "value"), [(model, *each) for model in PAIRS for each in REFUSED[model]])
def test_what_would_be_another_function_is_refused(model, key, value):
    for side in PAIRS[model]:
        with pytest.raises(ValueError, match=f"^unsupported: .*{key}"):
            type(config_of(side)).from_dict({key: value})


@pytest.mark.parametrize("side", FAST)
def test_rotary_positions_need_heads_of_a_multiple_of_4(side):
    with pytest.raises(ValueError, match="dim_head 6 is not a multiple of 4, which rotary positions need"):
        config_of(side, dim_head=6)
    assert not config_of(side, dim_head=6, absolute_pos_emb=True).rotary


@pytest.mark.parametrize("side", FASTFORMER)
def test_heads_have_to_divide_the_hidden_width(side):
    with pytest.raises(ValueError, match="hidden_size 256 is not a multiple of 3 heads"):
        config_of(side, num_attention_heads=3)


# --- values ---


@pytest.mark.parametrize(("B", "L"), [(1, 13), (2, 1)])
@pytest.mark.parametrize(("model", "task"), CASES)
def test_a_lone_example_and_a_lone_token_keep_their_axes(model, task, B, L):
    expected, actual = (run(each, batch(task, B, L)) for each in pair(model, task))
    assert list(expected) == list(actual)
    assert all(gap(actual[name], expected[name]) <= 1e-12 for name in expected)
    assert all(value.shape[:1] in ((B,), ()) for value in expected.values())


@pytest.mark.parametrize(("model", "task"), CASES)
def test_without_a_mask_all_but_the_pad_token_counts(model, task):
    fields = batch(task)
    assert (fields["input_ids"] == 0).any()
    bare = {name: value for name, value in fields.items() if name != "attention_mask"}
    fields["attention_mask"] = (fields["input_ids"] != 0).astype(np.int64)
    for each in pair(model, task):
        assert all(np.array_equal(run(each, bare)[name], value) for name, value in run(each, fields).items())


def kept(outputs, mask):
    """What is said of tokens, at the attended ones; what is said of sequences."""
    return [value[mask == 1] if value.shape[:2] == mask.shape else value for value in outputs.values()]


@pytest.mark.parametrize(("model", "task"), CASES)
def test_padding_does_not_reach_a_token_or_the_pooler(model, task):
    fields = {name: value for name, value in batch(task).items() if name != "labels"}
    changed = dict(fields, input_ids=np.where(fields["attention_mask"] == 1, fields["input_ids"], 77))
    for each in pair(model, task):
        one, other = (kept(run(each, inputs), fields["attention_mask"]) for inputs in (fields, changed))
        assert all(np.abs(a - b).max() <= 1e-12 for a, b in zip(one, other, strict=True))


def test_the_ports_pooler_counts_padding():
    """The reproduction gives its pooler no mask: `pool_padding` does likewise, and only with it padding is seen."""
    fields = batch("backbone")
    full = dict(fields, attention_mask=np.ones_like(fields["attention_mask"]))
    made = (pair("fast_transformer", "sequence_classification", pool_padding=counts) for counts in (False, True))
    for each, ports in zip(*made, strict=True):
        assert gap(run(ports, fields)["logits"], run(each, fields)["logits"]) > 1e-3
        assert gap(run(ports, full)["logits"], run(each, full)["logits"]) <= 1e-13


@pytest.mark.parametrize("heads", [8, 3])
def test_masks_fit_any_number_of_heads(heads):
    """The Paddle port tiles its mask for 8 heads, and fails with any other number."""
    expected, actual = (run(each, batch("masked_lm")) for each in pair("fast_transformer", "masked_lm", heads=heads))
    assert gap(actual["logits"], expected["logits"]) <= 1e-12


@pytest.mark.parametrize(("model", "task"), CASES)
def test_a_fully_masked_batch_is_finite_and_so_are_its_gradients(model, task):
    fields = batch(task)
    fields["attention_mask"] = np.zeros_like(fields["attention_mask"])
    for side in PAIRS[model]:
        each = build(side, task)
        outputs = each(**{name: tensor(side, value) for name, value in fields.items()})
        assert all(np.isfinite(value.detach().numpy()).all() for value in outputs.values())
        objective(outputs).backward()
        found = [parameter.grad for parameter in each.parameters() if parameter.grad is not None]
        assert found
        assert all(np.isfinite(gradient.numpy()).all() for gradient in found)


@pytest.mark.parametrize(("model", "task"), CLASSIFIERS)
def test_the_pooler_outlives_scores_whose_exponential_is_infinite(model, task):
    """In float32 exp(100) is infinite: the ports' formula would return NaN. What all scores gain is of no account."""
    fields = {name: value for name, value in batch(task).items() if name != "labels"}
    for side in PAIRS[model]:
        each = build(side, task)
        plain, last = run(each, fields)["logits"], dict(each.named_parameters())["dense_linear.bias"].detach().numpy()
        bias = next(value for name, value in each.named_parameters() if name.endswith("att_fc2.bias"))
        for gained, expected in ((100.0, plain), (-100.0, np.broadcast_to(last, plain.shape))):
            with torch.no_grad(), paddle.no_grad():
                bias[:] = gained
            assert np.abs(run(each, fields)["logits"] - expected).max() <= 1e-5


# --- gradients ---


def objective(outputs):
    return outputs["loss"] if "loss" in outputs else sum((value**3).sum() for value in outputs.values())


def gradients(each, side, fields):
    """Name → gradient in the torch layout."""
    objective(each(**{name: tensor(side, value) for name, value in fields.items()})).backward()
    linears = {name for name, module in modules(each).items() if isinstance(module, paddle.nn.Linear)}
    found = {name: parameter.grad.numpy() for name, parameter in each.named_parameters()}
    return {name: g.T if g.ndim == 2 and name.rpartition(".")[0] in linears else g for name, g in found.items()}


@pytest.mark.parametrize(("model", "task"), CASES)
def test_gradients_agree_in_float64(model, task):
    expected, actual = (gradients(*each, batch(task)) for each in zip(pair(model, task), PAIRS[model], strict=True))
    largest = max(np.abs(value).max() for value in expected.values())
    assert set(expected) == set(actual)
    assert all(np.abs(actual[name] - value).max() <= 1e-12 * largest for name, value in expected.items())


@pytest.mark.parametrize(("model", "task"), CLASSIFIERS)
def test_the_gradient_of_the_last_bias_sums_to_0_over_the_classes(model, task):
    """Softmax cross-entropy has it so; the 1/64 for each class that the Paddle reproduction recorded is no gradient."""
    for each in zip(pair(model, task), PAIRS[model], strict=True):
        bias = gradients(*each, batch(task, B=64))["dense_linear.bias"]
        assert abs(bias.sum()) <= 1e-15
        assert np.abs(bias).max() > 1e-3


@pytest.mark.parametrize(("model", "task"), CLASSIFIERS)
def test_the_poolers_last_bias_has_no_gradient_but_through_the_1e_8(model, task):
    """It shifts all scores alike; what is added to their sum lets about 1e-8 of the other gradients through."""
    for each in zip(pair(model, task), PAIRS[model], strict=True):
        found = gradients(*each, batch(task))
        bias, weight = (
            next(g for name, g in found.items() if name.endswith(f"att_fc2.{leaf}")) for leaf in ("bias", "weight")
        )
        assert np.abs(bias).max() <= 1e-7 * np.abs(weight).max()


# --- losses ---


@pytest.mark.parametrize("side", SIDES)
def test_a_single_label_is_a_number(side):
    model, fields = build(side, "sequence_classification", num_labels=1), batch("backbone")
    fields["labels"] = np.array([0.5, -1.5, 2.0], np.float32)
    outputs = run(model, fields)
    assert outputs["logits"].shape == (3, 1)
    assert outputs["loss"] == pytest.approx(((outputs["logits"][:, 0] - fields["labels"]) ** 2).mean(), rel=1e-6)


@pytest.mark.parametrize("side", SIDES)
def test_a_loss_that_ignores_everything_is_zero(side):
    fields = batch("sequence_classification")
    fields["labels"][:] = -100
    assert run(build(side, "sequence_classification"), fields)["loss"] == 0


# --- initialisation ---


@pytest.mark.parametrize("side", FAST)
@pytest.mark.parametrize("task", ["masked_lm", "sequence_classification"])
def test_fast_transformer_starts_as_torchs_layers_do(side, task):
    """Weights and biases uniform in ±1/√inputs, embeddings from N(0, 1); Paddle's own layers start otherwise."""
    model = build(side, task, num_tokens=900, absolute_pos_emb=True, dim=60, depth=1)
    for name, parameter in model.named_parameters():
        value, owner = parameter.detach().numpy(), modules(model)[name.rpartition(".")[0]]
        if "norm" in name or "to_logits.0" in name:
            assert (value == name.endswith("weight")).all(), name
        elif name.endswith("emb.weight"):
            assert value.std() == pytest.approx(1, abs=0.05), name
            assert np.abs(value).max() > 3, name
        else:
            width = owner.in_features if hasattr(owner, "in_features") else owner.weight.shape[0]
            assert np.abs(value).max() <= width**-0.5 * (1 + 1e-6), name
            if value.size >= 60:
                assert value.std() == pytest.approx((3 * width) ** -0.5, rel=0.25), name
                assert np.abs(value).max() > 0.9 * width**-0.5, name


@pytest.mark.parametrize("side", FASTFORMER)
def test_fastformer_starts_from_a_normal(side):
    model = build(
        side, "sequence_classification", vocab_size=900, initializer_range=0.05, pad_token_id=3, num_labels=60
    )
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if value.ndim == 1:
            assert (value == name.endswith("LayerNorm.weight")).all(), name
        elif value.size > 1000:
            assert value.std() == pytest.approx(0.05, rel=0.1), name
            assert np.abs(value).max() > 0.13, name  # a normal that was cut off would stop at 0.1
    table = model.word_embedding.weight.detach().numpy()
    assert (table == 0).all(axis=1).nonzero()[0].tolist() == [3]


@pytest.mark.parametrize("side", SIDES)
def test_no_two_matrices_start_alike(side):
    model = build(side, "sequence_classification")
    matrices = [parameter.detach().numpy() for parameter in model.parameters() if len(parameter.shape) == 2]
    assert len({value.tobytes() for value in matrices}) == len(matrices)
