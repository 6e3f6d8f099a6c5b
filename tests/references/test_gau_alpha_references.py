"""Our GAU-α is its formulae, and PaddleNLP's where that is right; what PaddleNLP gets wrong is pinned.

transformers has no GAU-α. Limits are relative to the largest expected value: in float64 rounding leaves about 1e-15
and 1e-12 is allowed, in float32 about 1e-6 and 1e-5. PaddleNLP is asked one sequence at a time.
"""

import dataclasses
import warnings

import numpy as np
import paddle
import pytest
import torch

from models_paddle import gau_alpha as paddle_side
from models_torch import gau_alpha as torch_side
from tests.pairs import copy_weights, randomise
from tests.references.electra_names import batch, default_dtype, gap, run
from tests.references.gau_alpha_formulae import hidden_states

TINY = torch_side.VARIANTS["tiny"]
LIMITS = {"float32": 1e-5, "float64": 1e-12}
NORMALIZATIONS = list(torch_side.NORMALIZATIONS)
HEADS = [task for task in torch_side.TASKS if task != "backbone"]


def pair(task, **overrides):
    """Our torch and Paddle models with the same generic weights."""
    config = TINY | overrides
    ours, theirs = (
        getattr(side, side.TASKS[task])(side.GAUAlphaConfig(**config)) for side in (torch_side, paddle_side)
    )
    copy_weights(randomise(ours), theirs)
    ours.eval(), theirs.eval()
    return ours, theirs


def by_formulae(model, fields, prefix="", **overrides):
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    config = torch_side.GAUAlphaConfig(**TINY | overrides)
    return hidden_states(
        state, config, fields["input_ids"], fields.get("attention_mask"), fields.get("token_type_ids"), prefix
    )


# --- the formulae ---

OPTIONS = [
    {},
    {"rotary_order": "concatenated"},
    {"attention_scale": False},
    {"use_bias": True},
    {"layer_norm_eps": 2.0**-6},
    *({"hidden_act": name} for name in torch_side.ACTIVATIONS if name != "swish"),
]
CASES = [{"normalization": name} for name in NORMALIZATIONS] + OPTIONS[1:]


@pytest.mark.parametrize(("B", "L"), [(3, 17), (1, 12), (2, 1)])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_both_sides_are_the_formulae(options, B, L):
    fields = batch("backbone", B, L)
    with default_dtype("float64"):
        models = pair("backbone", **options)
    expected = by_formulae(models[0], fields, **options)
    for model in models:
        assert gap(run(model, fields)["last_hidden_state"], expected) <= 1e-12


def no_mask(fields):
    return {name: fields[name] for name in ("input_ids", "token_type_ids")}


def one_key(fields):
    return fields | {"attention_mask": np.eye(17, dtype=np.int64)[[0, 4, 16]]}


def no_key(fields):
    return fields | {"attention_mask": fields["attention_mask"] * np.array([[1], [0], [1]])}


def mask_of_each_query(fields):
    mask = np.random.default_rng(5).integers(0, 2, (3, 17, 17))
    mask[0, 3], mask[1, 5] = 0, np.eye(17)[2]  # a query that sees nothing, and one that sees a single key
    return fields | {"attention_mask": mask}


def booleans(fields):
    return fields | {"attention_mask": fields["attention_mask"] == 1}


@pytest.mark.parametrize("change", [no_mask, one_key, no_key, mask_of_each_query, booleans])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_every_mask_is_as_in_the_formulae(change, normalization):
    fields = change(batch("backbone", 3, 17))
    with default_dtype("float64"):
        models = pair("backbone", normalization=normalization)
    expected = by_formulae(models[0], fields, normalization=normalization)
    assert np.isfinite(expected).all()
    for model in models:
        assert gap(run(model, fields)["last_hidden_state"], expected) <= 1e-12


def scores(task, state, hidden):
    """The logits of a head by name."""
    if task == "masked_lm":
        return {"logits": hidden @ state["gau_alpha.embeddings.word_embeddings.weight"].T}
    if task == "question_answering":
        both = hidden @ state["qa_outputs.weight"].T + state["qa_outputs.bias"]
        return {"start_logits": both[..., 0], "end_logits": both[..., 1]}
    read = hidden if task == "token_classification" else hidden[:, 0]
    return {"logits": read @ state["classifier.weight"].T + state["classifier.bias"]}


@pytest.mark.parametrize("task", HEADS)
def test_every_head_is_its_formula(task):
    fields = batch(task)
    with default_dtype("float64"):
        models = pair(task)
    flat = {name: value.reshape(-1, value.shape[-1]) for name, value in fields.items() if value.ndim > 1}
    state = {name: value.numpy() for name, value in models[0].state_dict().items()}
    expected = scores(task, state, by_formulae(models[0], flat, "gau_alpha."))
    for model in models:
        actual = run(model, fields)
        for name, value in expected.items():
            shape = fields["input_ids"].shape[:2] if task == "multiple_choice" else value.shape
            assert gap(actual[name], value.reshape(shape)) <= 1e-12


# --- PaddleNLP ---


@pytest.fixture(scope="module")
def paddlenlp():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from paddlenlp.transformers.gau_alpha import modeling

        return modeling


RENAMED = {"cls.predictions.decoder.weight": "cls.decoder_weight", "qa_outputs.weight": "classifier.weight"}


def of_paddlenlp(package, task, model, **overrides):
    """PaddleNLP's model with the weights of our Paddle model. It is built in float32 whatever the default is."""
    known = dataclasses.asdict(torch_side.GAUAlphaConfig(**TINY | overrides))
    known |= {"activation": known["hidden_act"], "norm_eps": known["layer_norm_eps"], "num_choices": 1}
    reference = getattr(package, torch_side.TASKS[task])(package.GAUAlphaConfig(**known))
    reference.to(dtype=paddle.get_default_dtype())
    reference.eval()
    source = {RENAMED.get(name, name): value for name, value in model.state_dict().items()}
    target = reference.state_dict()
    assert set(source) == set(target)
    for name, parameter in target.items():
        parameter.set_value(source[name])
    return reference


def call(reference, fields):
    """PaddleNLP's outputs for these inputs, as a tuple of arrays."""
    known = ("input_ids", "attention_mask", "token_type_ids")
    outputs = reference(**{name: paddle.to_tensor(fields[name]) for name in known if name in fields})
    return tuple(value.numpy() for value in (outputs if isinstance(outputs, tuple) else (outputs,)))


def rows(fields):
    """The batch as single sequences."""
    return [{name: value[row : row + 1] for name, value in fields.items()} for row in range(len(fields["input_ids"]))]


def choices(fields):
    """The questions as questions of a single choice: PaddleNLP takes the choices for a batch too."""
    return [
        {name: value[b : b + 1, c : c + 1] for name, value in fields.items() if value.ndim == 3}
        for b, c in np.ndindex(fields["input_ids"].shape[:2])
    ]


def assert_equals_paddlenlp(package, task, fields, limit, **overrides):
    _, model = pair(task, classifier_bias=bool(overrides.get("use_bias")), **overrides)
    reference = of_paddlenlp(package, task, model, **overrides)
    whole = run(model, {name: value for name, value in fields.items() if name != "labels" and "positions" not in name})
    parts = [call(reference, part) for part in (choices if task == "multiple_choice" else rows)(fields)]
    for actual, theirs in zip(whole.values(), zip(*parts, strict=True), strict=True):
        assert gap(actual, np.concatenate(theirs).reshape(actual.shape)) <= limit


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("task", torch_side.TASKS)
def test_paddle_equals_paddlenlp_sequence_by_sequence(paddlenlp, dtype, task):
    with default_dtype(dtype):
        assert_equals_paddlenlp(paddlenlp, task, batch(task), LIMITS[dtype])


@pytest.mark.parametrize("change", [no_mask, one_key, booleans], ids=lambda change: change.__name__)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_masks_are_as_in_paddlenlp(paddlenlp, change, normalization):
    with default_dtype("float64"):
        fields = change(batch("backbone"))
        if change is booleans:  # it subtracts the mask from 1, which its own cast to float allows
            assert fields["attention_mask"].dtype == bool
        assert_equals_paddlenlp(paddlenlp, "backbone", fields, 1e-12, normalization=normalization)


@pytest.mark.parametrize("options", [o for o in CASES if o.get("hidden_act") not in ("gelu_new", "silu")], ids=str)
def test_options_are_as_in_paddlenlp(paddlenlp, options):
    with default_dtype("float64"):
        assert_equals_paddlenlp(
            paddlenlp, "sequence_classification", batch("sequence_classification"), 1e-12, **options
        )


def test_paddlenlp_gives_every_sequence_the_first_one_s_update(paddlenlp):
    """It takes `gau_output[0]`, meant for a tuple, of a tensor: the first sequence of the batch."""
    fields = batch("backbone", 3, 17)
    with default_dtype("float64"):
        _, model = pair("backbone")
        reference = of_paddlenlp(paddlenlp, "backbone", model)
        expected, (actual,) = run(model, fields)["last_hidden_state"], call(reference, fields)
    assert gap(actual[0], expected[0]) <= 1e-12
    assert gap(actual[1], expected[1]) > 0.1
    assert gap(actual[2], expected[2]) > 0.1


def test_paddlenlp_computes_nothing_without_a_key(paddlenlp):
    fields = batch("backbone", 1, 9)
    fields["attention_mask"] = np.zeros_like(fields["attention_mask"])
    with default_dtype("float64"):
        _, model = pair("backbone")
        (actual,) = call(of_paddlenlp(paddlenlp, "backbone", model), fields)
        assert np.isnan(actual).all()
        assert np.isfinite(run(model, fields)["last_hidden_state"]).all()


def test_paddlenlp_does_not_initialise_as_bert4keras_does(paddlenlp):
    """It makes the initializer, but nobody calls it: Linears keep Paddle's uniform weights."""
    known = TINY | {"hidden_size": 320, "intermediate_size": 480}
    reference = paddlenlp.GAUAlphaModel(paddlenlp.GAUAlphaConfig(**known))
    weight = reference.encoder.layer[0].gau.i_dense.weight.numpy()
    assert np.abs(weight).max() <= np.sqrt(6 / sum(weight.shape)) * (1 + 1e-6)  # uniform, as Xavier has it
    assert weight.std() / np.sqrt(2 / sum(weight.shape)) == pytest.approx(1, abs=0.02)
    assert weight.std() / torch_side.GAUAlphaConfig(**known).initial_std(320) < 0.9


# --- what is published ---


def test_rotated_pairs_may_be_interleaved_or_concatenated():
    """q·k is the same: its terms are added in another order."""
    interleaved, concatenated = (
        torch_side.GAUAlphaRotary(torch_side.GAUAlphaConfig(**TINY, rotary_order=order))
        for order in ("interleaved", "concatenated")
    )
    with default_dtype("float64"):
        q, k = torch.randn(2, 3, 11, 64, generator=torch.Generator().manual_seed(0))
        tables = torch_side.GAUAlphaPositions(torch_side.GAUAlphaConfig(**TINY))(torch.zeros(3, 11, 40))
    one, other = (rotary(q, *tables) @ rotary(k, *tables).transpose(1, 2) for rotary in (interleaved, concatenated))
    assert not torch.equal(interleaved(q, *tables), concatenated(q, *tables))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-13)
