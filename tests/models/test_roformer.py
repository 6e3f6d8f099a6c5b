"""RoFormer and RoFormerV2 in torch are those in Paddle: names, configurations, values, gradients, initialisation."""

import dataclasses
import json

import numpy as np
import paddle
import pytest
import torch

import models_paddle.roformer
import models_paddle.roformer_v2
import models_torch.roformer
import models_torch.roformer_v2
from tests.pairs import copy_weights, randomise
from tests.references.electra_names import batch, default_dtype, gap, run

V1, V2 = models_torch.roformer, models_torch.roformer_v2
TWINS = {V1: models_paddle.roformer, V2: models_paddle.roformer_v2}
FILES = [pytest.param(side, id=side.__name__) for pair in TWINS.items() for side in pair]
CASES = [pytest.param(side, task, id=f"{side.__name__}-{task}") for side in TWINS for task in side.TASKS]
KNOWN = {V1: {}, V2: {"use_bias": True, "classifier_hidden": True}}  # every parameter that there may be


def config_of(side):
    return side.RoFormerConfig if hasattr(side, "RoFormerConfig") else side.RoFormerV2Config


def build(side, task, **options):
    model = getattr(side, side.TASKS[task])(config_of(side)(**side.VARIANTS["tiny"] | options))
    model.eval()
    return model


def pair(side, task, **options):
    """A torch and a Paddle model in float64 with the same generic weights."""
    with default_dtype("float64"):
        model = randomise(build(side, task, **options))
        return model, copy_weights(model, build(TWINS[side], task, **options))


def modules(model):
    walk = getattr(model, "named_modules", None) or model.named_sublayers
    return {name: module for name, module in walk() if name}


# --- structure ---


@pytest.mark.parametrize(("side", "task"), CASES)
def test_modules_and_parameters_have_the_same_names(side, task):
    for options in (KNOWN[side], {"pool_act": "tanh"} if side is V1 else {}):
        ours, theirs = build(side, task, **options), build(TWINS[side], task, **options)
        assert list(modules(ours)) == list(modules(theirs))
        assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
        for name, module in modules(ours).items():
            twin = modules(theirs)[name]
            assert getattr(module, "p", None) == getattr(twin, "p", None), name
            assert getattr(module, "eps", None) == getattr(twin, "_epsilon", None), name


@pytest.mark.parametrize("side", FILES)
def test_every_dropout_obeys_its_option(side):
    rates = {"hidden_dropout_prob": 0.11, "attention_probs_dropout_prob": 0.12, "classifier_dropout": 0.13}
    model = build(side, "sequence_classification", **rates, **KNOWN.get(side, {}))
    found = {name: module.p for name, module in modules(model).items() if name.endswith("dropout")}
    assert {rate for name, rate in found.items() if ".self." in name} == {0.12}
    heads = {name: rate for name, rate in found.items() if not name.startswith("roformer.")}
    assert set(heads.values()) == {0.13}
    assert {rate for name, rate in found.items() if ".self." not in name and name not in heads} == {0.11}


def parameters(config, embedding):
    """By hand: tables, then for each layer the four matrices of attention and the two behind it."""
    D, inner, depth = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    bias = 0 if embedding is None else 1  # RoFormerV2 has neither biases nor parameters in its norms
    E = D if embedding is None else embedding
    tables = (config["vocab_size"] + 2) * E + bias * 2 * E + (0 if E == D else (E + 1) * D)
    layer = 4 * D * D + 2 * D * inner + bias * (4 * D + inner + D + 2 * 2 * D)
    pooler = D * D + D if config.get("pool_act") else 0
    return tables + depth * layer + pooler


# In millions, by hand: small and base, of words and of characters; then small, base and large of the second version.
PUBLISHED_SIZES = {
    V1: {"chinese-small": 29.8, "chinese-base": 123.5, "chinese-char-small": 15.3, "chinese-char-base": 94.3},
    V2: {"small": 15.2, "base": 94.2, "large": 314.3},
}


@pytest.mark.parametrize("side", TWINS)
def test_published_models_have_their_number_of_parameters(side):
    counts = {}
    for name, variant in list(side.VARIANTS.items())[1:]:
        config = config_of(side)(**variant)
        if config not in counts:
            with torch.device("meta"):
                model = getattr(side, side.TASKS["backbone"])(config)
            counts[config] = sum(p.numel() for p in model.parameters())
            embedding = config.embedding_width if side is V1 else None
            assert counts[config] == parameters(dataclasses.asdict(config), embedding), name
        if name in PUBLISHED_SIZES[side]:
            assert round(counts[config] / 1e6, 1) == PUBLISHED_SIZES[side][name], name


@pytest.mark.parametrize("side", FILES)
def test_the_decoder_is_the_embedding_table(side):
    model = build(side, "masked_lm", **KNOWN.get(side, {}))
    decoder = modules(model)["cls.predictions.decoder"]
    assert decoder.weight is model.roformer.embeddings.word_embeddings.weight
    if "V2" not in side.TASKS["backbone"]:
        assert decoder.bias is modules(model)["cls.predictions"].bias
        untied = build(side, "masked_lm", tie_word_embeddings=False)
        assert untied.cls.predictions.decoder.weight is not untied.roformer.embeddings.word_embeddings.weight


# --- configuration ---

PUBLISHED = """{
  "architectures": ["RoFormerForMaskedLM"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "directionality":
  "bidi", "eos_token_id": 2, "hidden_act": "%s", "hidden_dropout_prob": 0.1, "hidden_size": 768, "embedding_size": 768,
  "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
  "model_type": "roformer", "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0, "rotary_value":
  false, "type_vocab_size": 2, "vocab_size": 12000, "use_cache": true, "pooler_activation": "tanh"%s
}"""


@pytest.mark.parametrize("side", FILES)
def test_published_configurations_are_read_by_their_own_version(side):
    first = json.loads(PUBLISHED % ("gelu", ""))
    second = json.loads(PUBLISHED % ("relu", ', "norm_type": "rms_norm", "use_bias": false'))
    read = config_of(side).from_dict
    if "V2" in side.TASKS["backbone"]:
        assert read(second) == config_of(side)()
        assert read({"model_type": "roformerv2", "vocab_size": 13}).vocab_size == 13  # PaddleNLP's
        with pytest.raises(ValueError, match=r"unsupported: \{'model_type': 'roformer'\}"):
            read(first)
    else:
        assert read(first) == config_of(side)(**side.VARIANTS["chinese-char-base"], embedding_size=768)
        with pytest.raises(ValueError, match=r"unsupported: \{'norm_type': 'rms_norm', 'use_bias': False\}"):
            read(second)


@pytest.mark.parametrize("side", FILES)
def test_a_configuration_survives_its_dictionary(side):
    for variant in side.VARIANTS.values():
        config = config_of(side)(**variant)
        assert config_of(side).from_dict(dataclasses.asdict(config)) == config


# fmt: off
REFUSED = [("rope_scaling", {"factor": 2.0}), ("is_decoder", True), ("pruned_heads", {"0": [1]}),
           ("model_type", "bert"), ("hidden_act", "mish"), ("pad_token_id", None),
           ("problem_type", "multi_label_classification")]
REFUSED_V1 = [("summary_type", "attn"), ("summary_activation", "mish"), ("pool_act", "mish"), ("use_bias", False),
              ("summary_proj_to_labels", True)]
REFUSED_V2 = [("embedding_size", 128), ("tie_word_embeddings", False), ("normalize_before", True)]
# fmt: on


@pytest.mark.parametrize("side", FILES)
def test_what_would_be_another_function_is_refused(side):
    for key, value in REFUSED + (REFUSED_V2 if "V2" in side.TASKS["backbone"] else REFUSED_V1):
        with pytest.raises(ValueError, match=f"^unsupported: .*{key}"):
            config_of(side).from_dict({key: value})
    with pytest.raises(ValueError, match="hidden_size 36 is not a multiple of 4 heads of pairs"):
        config_of(side)(hidden_size=36, num_attention_heads=4)


# --- values: torch against Paddle ---


def assert_agree(side, task, fields, **options):
    ours, theirs = pair(side, task, **options)
    expected, actual = run(ours, fields), run(theirs, fields)
    assert list(expected) == list(actual)
    for name in expected:
        assert gap(actual[name], expected[name]) <= 1e-13, name  # rounding: a few hundred ULP
        assert np.isfinite(expected[name]).all()
    return expected


@pytest.mark.parametrize(("side", "task"), CASES)
def test_outputs_agree_in_float64(side, task):
    for shape in ((3, 17), (1, 13), (2, 1)):
        fields = batch(task, *shape)
        assert_agree(side, task, fields)
        fields["attention_mask"][-1] = 0
        assert_agree(side, task, fields)


def options(side):
    yield from (("backbone", {"hidden_act": name}) for name in side.ACTIVATIONS)
    yield "backbone", {"rotary_value": True}
    yield "backbone", {"layer_norm_eps": 2.0**-10}  # a float32 number, to which Paddle's kernel rounds it
    yield "sequence_classification", {"num_labels": 1}
    yield "sequence_classification", {"problem_type": "regression"}
    if side is V1:
        yield "backbone", {"embedding_size": None}
        yield "backbone", {"pool_act": "linear"}
        yield "masked_lm", {"tie_word_embeddings": False}
        yield "sequence_classification", {"pool_act": "tanh"}
        yield "multiple_choice", {"pool_act": "relu"}
        yield "multiple_choice", {"summary_type": "last"}
        yield "multiple_choice", {"summary_type": "mean", "summary_use_proj": False, "summary_activation": None}
    else:
        yield "backbone", {"use_bias": True}
        yield "masked_lm", {"use_bias": True}
        yield "sequence_classification", {"classifier_hidden": True}
        yield "token_classification", {"classifier_bias": True}


OPTIONS = [pytest.param(side, *option, id=f"{side.__name__}-{option}") for side in TWINS for option in options(side)]


@pytest.mark.parametrize(("side", "task", "changed"), OPTIONS)
def test_options_agree_and_matter(side, task, changed):
    fields = batch(task)
    if task == "sequence_classification" and {"num_labels", "problem_type"} & set(changed):
        shape = (3, changed.get("num_labels", 5)) if "problem_type" in changed else 3
        fields["labels"] = np.random.default_rng(1).normal(size=shape)
    found = assert_agree(side, task, fields, **changed)
    plain = run(pair(side, task)[0], batch(task))
    last = list(found)[-1]
    if changed != {"hidden_act": "gelu" if side is V1 else "relu"}:
        assert last not in plain or found[last].shape != plain[last].shape or gap(found[last], plain[last]) > 1e-6


@pytest.mark.parametrize(("side", "task"), CASES)
def test_gradients_agree_in_float64(side, task):
    ours, theirs = pair(side, task, **KNOWN[side])
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


@pytest.mark.parametrize("side", TWINS)
def test_padding_does_not_reach_a_token(side):
    fields = batch("backbone")
    changed = dict(fields, input_ids=np.where(fields["attention_mask"] == 1, fields["input_ids"], 77))
    kept = fields["attention_mask"] == 1
    for model in pair(side, "backbone"):
        one, other = (run(model, inputs)["last_hidden_state"] for inputs in (fields, changed))
        assert np.abs(one[kept] - other[kept]).max() <= 1e-13
        bare = run(model, {"input_ids": fields["input_ids"]})
        full = {"attention_mask": np.ones_like(kept, np.int64), "token_type_ids": np.zeros_like(kept, np.int64)}
        whole = run(model, {"input_ids": fields["input_ids"], **full})
        assert np.array_equal(bare["last_hidden_state"], whole["last_hidden_state"])


def test_multiple_choice_reads_the_last_position_unless_told_otherwise():
    fields = batch("multiple_choice")
    assert (fields["attention_mask"][..., -1] == 0).any()
    inner = {name: value.reshape(-1, 17) for name, value in fields.items() if name != "labels"}
    for read, position in (("last", -1), ("first", 0)):
        model, _ = pair(V1, "multiple_choice", summary_type=read, summary_use_proj=False, summary_activation=None)
        hidden = run(model.roformer, inner)["last_hidden_state"][:, position]
        scores = hidden @ model.classifier.weight.detach().numpy()[0] + model.classifier.bias.item()
        assert gap(run(model, fields)["logits"], scores.reshape(3, 4)) <= 1e-13


# --- rotation ---


def turned(side, states):
    """`states` (L, d) of one head turned by the model's own modules."""
    (positions,) = [module for name, module in modules(build(side, "backbone")).items() if name.endswith("positions")]
    (rotary, *_) = [module for name, module in modules(build(side, "backbone")).items() if name.endswith("rotary")]
    states = states[None, :, None]  # (1, L, 1, d)
    tensor = torch.tensor(states) if side in TWINS else paddle.to_tensor(states)
    positions.width = states.shape[-1]
    return rotary(tensor, positions(tensor)).numpy()[0, :, 0]


@pytest.mark.parametrize("side", FILES)
def test_rotation_is_the_papers_matrix(side):
    """Equation 15: pair i of position m by [[cos mθ, −sin mθ], [sin mθ, cos mθ]], θ = 10000^(−2i/d)."""
    states = np.random.default_rng(0).normal(size=(1537, 10))
    expected = np.empty_like(states)
    for m in range(len(states)):
        for i in range(5):
            angle = m * 10000.0 ** (-2 * i / 10)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            expected[m, 2 * i : 2 * i + 2] = turn @ states[m, 2 * i : 2 * i + 2]
    assert gap(turned(side, states), expected) <= 1e-12
    in_float32 = turned(side, states.astype(np.float32))
    assert np.abs(in_float32 - expected).max() <= 1e-6  # as near at the last position as at the first


@pytest.mark.parametrize("side", FILES)
def test_products_depend_on_the_distance_only(side):
    query, key = np.random.default_rng(0).normal(size=(2, 10))
    queries, keys = (turned(side, np.tile(vector, (40, 1))) for vector in (query, key))
    for distance in range(-9, 10):
        products = [queries[m] @ keys[m + distance] for m in range(10, 30)]
        assert np.ptp(products) <= 1e-13
    assert abs(queries[10] @ keys[12] - queries[10] @ keys[13]) > 1e-3


@pytest.mark.parametrize("side", TWINS)
def test_half_precision_runs_and_stays_near(side):
    fields = {name: torch.tensor(value) for name, value in batch("backbone").items()}
    model = randomise(build(side, "backbone"))
    expected = model(**fields)["last_hidden_state"]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(**fields)["last_hidden_state"]
    low = model.to(torch.bfloat16)(**fields)["last_hidden_state"]
    assert low.dtype == torch.bfloat16
    for actual in (mixed, low):
        assert (actual.float() - expected).abs().mean() < 0.1 * expected.abs().mean()


# --- losses ---


@pytest.mark.parametrize(
    ("side", "task"), [(side, task) for side in TWINS for task in ("masked_lm", "multiple_choice")]
)
def test_losses_agree_with_the_textbook(side, task):
    fields = batch(task)
    if task == "multiple_choice":
        fields["labels"][1] = -100
    kept = fields["labels"] != -100
    for model in pair(side, task):
        outputs = run(model, fields)
        logits = outputs["logits"][kept]
        chosen = logits[np.arange(len(logits)), fields["labels"][kept]]
        expected = (np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1) - chosen).mean()
        assert outputs["loss"] == pytest.approx(expected, rel=1e-13)
        nothing = run(model, fields | {"labels": np.full_like(fields["labels"], -100)})
        assert nothing["loss"] == 0.0


# --- initialisation ---

CUT = 0.8796  # the deviation of a normal cut off at ±2


@pytest.mark.parametrize("side", [V1, TWINS[V1]])
def test_roformer_starts_from_a_normal_cut_off_at_two_sigma(side):
    model = build(side, "masked_lm", vocab_size=2110, initializer_range=0.05, pad_token_id=3)
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if value.ndim == 1:
            assert (value == (1.0 if name.endswith("LayerNorm.weight") else 0.0)).all(), name
        else:
            assert 0.075 < np.abs(value).max() <= 0.1 + 1e-7, name
            assert value.std() / 0.05 == pytest.approx(CUT, abs=0.09 if value.size > 1000 else 0.3), name
    table = model.roformer.embeddings.word_embeddings.weight.detach().numpy()
    assert (table == 0).all(axis=1).nonzero()[0].tolist() == [3]
    assert table.std() / 0.05 == pytest.approx(CUT, abs=0.01)


@pytest.mark.parametrize("side", [V2, TWINS[V2]])
def test_roformer_v2_starts_from_a_normal_that_narrows_with_width_and_depth(side):
    model = build(side, "sequence_classification", vocab_size=2110, num_hidden_layers=9, **KNOWN[V2])
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if value.ndim == 1:
            assert (value == 0).all(), name
            continue
        reads = 56 if name.endswith("output.dense.weight") and "attention" not in name else 40
        sigma = 1.13684723 / np.sqrt(reads) / 3  # bert4keras: 1.13684723 / √fan · layers^(−1/2)
        assert 1.6 * sigma < np.abs(value).max() <= 2 * sigma + 1e-7, name
        assert value.std() * np.sqrt(reads) * 3 == pytest.approx(1, abs=0.1 if value.size > 1000 else 0.3), name
    table = model.roformer.embeddings.word_embeddings.weight.detach().numpy()
    assert table.std() * np.sqrt(40) * 3 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("side", FILES)
def test_no_two_matrices_start_alike(side):
    matrices = [p.detach().numpy() for p in build(side, "sequence_classification").parameters() if len(p.shape) == 2]
    assert len({value.tobytes() for value in matrices}) == len(matrices)
