"""Our RoFormer is transformers' in torch and PaddleNLP's in Paddle, our RoFormerV2 PaddleNLP's; defects are pinned.

Limits are relative to the largest expected value: 1e-12 in float64, 1e-5 in float32 (see test_electra_references).
transformers keeps sines and cosines in a table of float32, so in float64 it is given the exact one.
"""

import dataclasses
import warnings

import numpy as np
import paddle
import pytest
import torch

import models_paddle.roformer
import models_paddle.roformer_v2
import models_torch.roformer
import models_torch.roformer_v2
from tests.pairs import copy_weights, randomise
from tests.references.electra_names import batch, default_dtype, fill_paddlenlp, gap, paddlenlp_name, run

V1, V2 = models_torch.roformer, models_torch.roformer_v2
TWINS = {V1: models_paddle.roformer, V2: models_paddle.roformer_v2}
LIMITS = {"float32": 1e-5, "float64": 1e-12}
SIZES = [(3, 17), (1, 13), (2, 9)]
POSITIONS = "encoder.embed_positions.weight"
CASES = [pytest.param(side, task, id=f"{side.__name__}-{task}") for side in TWINS for task in side.TASKS]


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
        import paddlenlp.transformers.roformer.modeling
        import paddlenlp.transformers.roformerv2.modeling

        return {V1: paddlenlp.transformers.roformer.modeling, V2: paddlenlp.transformers.roformerv2.modeling}


def ours(side, task, **overrides):
    kind = next(value for name, value in vars(side).items() if name.endswith("Config"))
    model = getattr(side, side.TASKS[task])(kind(**side.VARIANTS["tiny"] | overrides))
    model.eval()
    return model


def exact_table(reference):
    """transformers' table, first all sines and then all cosines, without the rounding to float32."""
    count, width = reference.embed_positions.weight.shape
    angles = np.arange(count)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    return torch.tensor(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))


def of_transformers(package, task, model, **overrides):
    """transformers' model with the weights of ours, which have to fit key for key but for the table."""
    known = dataclasses.asdict(V1.RoFormerConfig(**V1.VARIANTS["tiny"] | overrides))
    known = {name: value for name, value in known.items() if name not in ("pool_act", "classifier_dropout")}
    known |= {"num_labels": 2} if task == "question_answering" else {}
    reference = getattr(package, V1.TASKS[task])(package.RoFormerConfig(**known))
    found = reference.load_state_dict(model.state_dict(), strict=False)
    assert not found.unexpected_keys
    assert [key.removeprefix("roformer.") for key in found.missing_keys] == [POSITIONS]
    reference = reference.to(torch.get_default_dtype()).eval()
    encoder = getattr(reference, "roformer", reference).encoder
    exact = exact_table(encoder)
    assert torch.equal(encoder.embed_positions.weight.double(), exact.float().double())
    encoder.embed_positions.weight.data = exact.to(torch.get_default_dtype())
    return reference


@pytest.mark.parametrize(("B", "L"), SIZES)
@pytest.mark.parametrize("task", V1.TASKS)
def test_torch_equals_transformers(transformers, dtype, task, B, L):
    model = randomise(ours(V1, task))
    fields = batch(task, B, L)
    assert_parity(run(model, fields), run(of_transformers(transformers, task, model), fields), dtype)


def assert_parity(actual, expected, dtype):
    for name in actual:
        assert gap(actual[name], expected[name]) <= LIMITS[dtype], name


OPTIONS = [
    *(("masked_lm", {"hidden_act": name}) for name in V1.ACTIVATIONS),
    ("backbone", {"rotary_value": True}),
    ("backbone", {"embedding_size": None}),
    ("masked_lm", {"layer_norm_eps": 1e-3}),
    ("masked_lm", {"tie_word_embeddings": False}),
    ("sequence_classification", {"hidden_act": "relu"}),
    ("sequence_classification", {"num_labels": 1}),
    ("multiple_choice", {"summary_type": "mean"}),
    ("multiple_choice", {"summary_type": "last", "summary_use_proj": False, "summary_activation": None}),
]


@pytest.mark.parametrize(("task", "overrides"), OPTIONS)
def test_torch_equals_transformers_in_every_option(transformers, float64, task, overrides):
    model = randomise(ours(V1, task, **overrides))
    fields = batch(task)
    if overrides.get("num_labels") == 1:
        fields["labels"] = np.array([0.3, -1.2, 2.5])
    fields["attention_mask"][-1] = 0
    expected = run(of_transformers(transformers, task, model, **overrides), fields)
    assert_parity(run(model, fields), expected, "float64")


def test_the_defaults_are_those_of_transformers(transformers):
    theirs = transformers.RoFormerConfig().to_dict()
    config = V1.RoFormerConfig.from_dict(theirs)
    assert config == dataclasses.replace(V1.RoFormerConfig(), embedding_size=768)
    with torch.device("meta"):
        model, reference = V1.RoFormerModel(config), transformers.RoFormerModel(transformers.RoFormerConfig())
    held = {name: tuple(value.shape) for name, value in reference.state_dict().items() if name != POSITIONS}
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == held
    choice = transformers.RoFormerForMultipleChoice(transformers.RoFormerConfig(**V1.VARIANTS["tiny"] | PLAIN))
    assert choice.sequence_summary.summary_type == "last"  # padding, where there is any


PLAIN = {"summary_type": "last", "summary_use_proj": False}


def test_transformers_table_is_rounded_to_float32_in_every_type(transformers, float64):
    encoder = transformers.RoFormerModel(transformers.RoFormerConfig(**V1.VARIANTS["tiny"])).double().encoder
    error = (encoder.embed_positions.weight - exact_table(encoder)).abs().max()
    assert 1e-9 < error < 1e-7


# --- PaddleNLP ---

_PIECES = {
    V1: [
        ("roformer.pooler", "pooler"), ("pooler.", "roformer.pooler."), ("classifier.dense", "roformer.pooler.dense"),
        ("sequence_summary.summary", "roformer.pooler.dense"), ("classifier.out_proj", "classifier"),
        ("predictions.transform.dense", "predictions.transform"),
        ("predictions.transform.LayerNorm", "predictions.layer_norm"),
        ("predictions.decoder.weight", "predictions.decoder_weight"), ("predictions.bias", "predictions.decoder_bias"),
    ],
    V2: [
        ("roformer.", "roformerv2."), ("cls.predictions.decoder.weight", "cls.decoder_weight"),
        ("cls.predictions.decoder.bias", "cls.decoder_bias"),
    ],
}  # fmt: skip


def of_paddlenlp(packages, side, task, model, **overrides):
    """PaddleNLP's model with the weights of ours. It is built in float32 whatever the default is."""

    def rename(name):
        if name == "cls.predictions.decoder.bias" and side is V1:
            return None
        for piece, theirs in _PIECES[side]:
            name = name.replace(piece, theirs)
        return paddlenlp_name(name if task != "backbone" else name.removeprefix("roformer."))

    known = {name: value for name, value in (side.VARIANTS["tiny"] | overrides).items() if "summary" not in name}
    kind = side.TASKS[task].replace("V2", "v2")
    config = packages[side].RoFormerConfig if side is V1 else packages[side].RoFormerv2Config
    with default_dtype("float64"):  # so that its tables are exact
        reference = getattr(packages[side], kind)(config(**known, num_choices=4))
    reference.to(dtype=paddle.get_default_dtype())
    reference.eval()
    return fill_paddlenlp(model, reference, rename)


def call_paddlenlp(reference, fields):
    """PaddleNLP's outputs, always as a tuple."""
    inputs = {name: paddle.to_tensor(fields[name]) for name in ("input_ids", "attention_mask", "token_type_ids")}
    outputs = reference(**inputs)
    return tuple(value.numpy() for value in (outputs if isinstance(outputs, tuple) else (outputs,)))


def compare_with_paddlenlp(packages, side, task, dtype, shape=(3, 17), **overrides):
    source = randomise(ours(side, task, **overrides))
    model = copy_weights(source, ours(TWINS[side], task, **overrides))
    fields = {name: value for name, value in batch(task, *shape).items() if name in INPUTS}
    expected = call_paddlenlp(of_paddlenlp(packages, side, task, source, **overrides), fields)
    actual, from_torch = run(model, fields), run(source, fields)
    assert len(actual) == len(expected)
    for name, theirs in zip(actual, expected, strict=True):
        assert gap(actual[name], theirs) <= LIMITS[dtype], name
        assert gap(actual[name], from_torch[name]) <= LIMITS[dtype], name


INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize(("side", "task"), CASES)
def test_paddle_equals_paddlenlp_and_torch(paddlenlp, dtype, side, task, shape):
    compare_with_paddlenlp(paddlenlp, side, task, dtype, shape, **({"pool_act": "tanh"} if side is V1 else {}))


@pytest.mark.parametrize(
    ("side", "task", "overrides"),
    [
        (V1, "backbone", {"rotary_value": True, "pool_act": "linear"}),
        (V1, "backbone", {"hidden_act": "relu", "pool_act": "relu"}),
        (V1, "sequence_classification", {"pool_act": "gelu"}),
        (V2, "backbone", {"rotary_value": True}),
        (V2, "backbone", {"hidden_act": "gelu"}),
        (V2, "masked_lm", {"use_bias": True}),
        (V2, "sequence_classification", {"use_bias": True}),
    ],
)
def test_paddle_equals_paddlenlp_in_every_option(paddlenlp, float64, side, task, overrides):
    compare_with_paddlenlp(paddlenlp, side, task, "float64", **overrides)


@pytest.mark.parametrize("side", TWINS)
def test_paddlenlp_guesses_the_mask_from_the_pad_id(paddlenlp, float64, side):
    options = {"pool_act": "tanh"} if side is V1 else {}
    source = randomise(ours(side, "backbone", **options))
    model = copy_weights(source, ours(TWINS[side], "backbone", **options))
    ids = batch("backbone")["input_ids"]
    found = of_paddlenlp(paddlenlp, side, "backbone", source, **options)(paddle.to_tensor(ids))
    theirs = (found[0] if isinstance(found, tuple) else found).numpy()
    guessed = run(model, {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64)})["last_hidden_state"]
    assert gap(guessed, theirs) <= LIMITS["float64"]
    assert gap(run(model, {"input_ids": ids})["last_hidden_state"], theirs) > 1e-2


@pytest.mark.parametrize("side", TWINS)
def test_paddlenlp_loses_four_digits_of_its_angles_in_float32(paddlenlp, side):
    theirs = paddlenlp[side].RotaryPositionEmbedding(64, 1536)
    angles = np.arange(1536)[:, None] * 10000.0 ** (-np.arange(0, 64, 2) / 64)
    own = models_torch.roformer.RoFormerPositions(64)(torch.zeros(1, 1536, 64))
    assert own.dtype == torch.float32
    assert np.abs(own[..., 1].numpy() - np.sin(angles)).max() < 1e-7
    assert 2e-5 < np.abs(theirs.sin.numpy() - np.sin(angles)).max() < 1e-3


def test_paddlenlp_does_not_initialise_roformer_v2(paddlenlp):
    """What its initialiser makes is thrown away: its layers start as Paddle's do, whatever the depth."""
    with paddle.utils.unique_name.guard():
        kind = paddlenlp[V2].RoFormerv2Config(
            vocab_size=211, hidden_size=40, num_hidden_layers=9, num_attention_heads=4
        )
        query = paddlenlp[V2].RoFormerv2Model(kind).encoder.layers[0].self_attn.q_proj.weight.numpy()
    xavier = np.sqrt(6 / 80)
    assert 0.95 * xavier < np.abs(query).max() <= xavier
    assert query.std() == pytest.approx(xavier / np.sqrt(3), rel=0.05)
    published = 1 / np.sqrt(40 * 9)
    assert abs(query.std() / published - 1) > 1


def test_paddlenlp_cannot_fold_choices_without_being_told_their_number(paddlenlp):
    config = paddlenlp[V1].RoFormerConfig(**{n: v for n, v in V1.VARIANTS["tiny"].items() if "summary" not in n})
    model = paddlenlp[V1].RoFormerForMultipleChoice(config)
    with pytest.raises(TypeError, match="NoneType"):
        model(paddle.to_tensor(batch("multiple_choice")["input_ids"]))
