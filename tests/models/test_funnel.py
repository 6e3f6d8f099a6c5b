"""Our two Funnel-Transformers: one set of names, one function, whatever the options; rules stated again in NumPy."""

import ast
import itertools
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import paddle
import pytest
import torch

from models_paddle import funnel as paddle_funnel
from models_torch import funnel as torch_funnel
from tests.pairs import copy_weights, randomise

TINY = torch_funnel.FunnelConfig(**torch_funnel.VARIANTS["tiny"])
TASKS = torch_funnel.TASKS
ATTENTIONS = ["relative_shift", "factorized"]
TENSOR = {torch_funnel: torch.from_numpy, paddle_funnel: paddle.to_tensor}
both_sides = pytest.mark.parametrize("side", [torch_funnel, paddle_funnel], ids=["torch", "paddle"])


@pytest.fixture(autouse=True)
def _one_thread_and_float64():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")
    torch.set_num_threads(threads)


def pair(task, config=TINY, seed=0):
    """A torch model with generic float64 weights, and its Paddle twin, both in evaluation mode."""
    expected = randomise(getattr(torch_funnel, TASKS[task])(config).double(), seed).eval()
    actual = getattr(paddle_funnel, TASKS[task])(paddle_funnel.FunnelConfig(**asdict(config)))
    actual.eval()
    return expected, copy_weights(expected, actual)


def texts(*shape, seed=0):
    """Ids, mask and types of the shape (…, L): a full row, then rows with padding, the third of nothing else."""
    rng = np.random.default_rng(seed)
    length = shape[-1]
    ids = rng.integers(1, TINY.vocab_size, shape)
    mask = np.ones(shape, np.int64)
    rows = mask.reshape(-1, length)
    for row, padding in zip(rows[1:], (min(3, length - 1), length, 1, length // 2), strict=False):
        row[length - padding :] = 0
    types = np.broadcast_to(np.arange(length) > length // 3, shape).astype(np.int64)
    types[..., 0] = 2
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": types}


def batch(task, B=4, L=11, seed=0):
    """`texts` and, for a task that has them, labels with ignored places."""
    rng = np.random.default_rng(seed + 1)
    inputs = texts(*((B, 3, L) if task == "multiple_choice" else (B, L)), seed=seed)
    sizes = {"masked_lm": TINY.vocab_size, "replaced_token": 2, "token_classification": TINY.num_labels}
    if task in sizes:
        labels = rng.integers(0, sizes[task], (B, L))
        inputs["labels"] = np.where(rng.random((B, L)) < 0.4, -100, labels)
    if task in ("sequence_classification", "multiple_choice"):
        inputs["labels"] = rng.integers(0, 3, (B,))
        inputs["labels"][-1:] = -100 if B > 1 else 1
    if task == "question_answering":
        inputs |= {"start_positions": rng.integers(0, L, (B,)), "end_positions": np.arange(B) + L - 2}  # some outside
    return inputs


def run(model, inputs):
    """The outputs of either side's model as arrays."""
    tensor = torch.from_numpy if isinstance(model, torch.nn.Module) else paddle.to_tensor
    return {key: value.detach().numpy() for key, value in model(**{k: tensor(v) for k, v in inputs.items()}).items()}


def assert_equal(actual, expected, limit=1e-13):
    assert set(actual) == set(expected)
    for key, value in expected.items():
        assert (actual[key].shape, actual[key].dtype) == (value.shape, value.dtype)
        assert np.abs(actual[key] - value).max() <= limit * np.abs(value).max(), key


@pytest.mark.parametrize("task", TASKS)
def test_paddle_equals_torch(task):
    expected, actual = pair(task)
    for B, L in ((4, 11), (1, 9), (2, 16)):
        assert_equal(run(actual, batch(task, B, L)), run(expected, batch(task, B, L)))


@pytest.mark.parametrize("task", TASKS)
def test_gradients_agree(task):
    expected, actual = pair(task)
    for model, tensor in ((expected, torch.from_numpy), (actual, paddle.to_tensor)):
        outputs = model(**{key: tensor(value) for key, value in batch(task).items()})
        (outputs["loss"] if "loss" in outputs else (outputs["last_hidden_state"] ** 3).sum()).backward()
    largest = max(parameter.grad.abs().max() for parameter in expected.parameters())
    parameters, layers = dict(actual.named_parameters()), dict(actual.named_sublayers())
    for name, parameter in expected.named_parameters():
        grad = parameters[name].grad.numpy()
        linear = isinstance(layers[name.rpartition(".")[0]], paddle.nn.Linear) and grad.ndim == 2
        assert np.abs((grad.T if linear else grad) - parameter.grad.numpy()).max() <= 1e-13 * largest, name


@pytest.mark.parametrize("task", TASKS)
def test_names_of_modules_agree(task):
    expected, actual = pair(task)
    assert [name for name, _ in actual.named_sublayers()] == [name for name, _ in expected.named_modules() if name]


OPTIONS = ("attention_type", "pooling_type", "separate_cls", "truncate_seq", "pool_q_only", "mask_pooling")
PRODUCT = itertools.product(ATTENTIONS, ("mean", "max"), (True, False), (True, False), (True, False), ("keep", "pad"))


@pytest.mark.parametrize("values", list(PRODUCT), ids=lambda values: "-".join(map(str, values)))
def test_paddle_equals_torch_with_all_options(values):
    expected, actual = pair("backbone", replace(TINY, **dict(zip(OPTIONS, values, strict=True))))
    for L in (7, 10):
        assert_equal(run(actual, texts(4, L)), run(expected, texts(4, L)))


@pytest.mark.parametrize(
    "options",
    [{"hidden_act": name} for name in torch_funnel.ACTIVATIONS]
    + [{"block_sizes": (3,), "block_repeats": (1,)}, {"block_sizes": (1, 1, 1, 1, 1), "block_repeats": (2, 1, 3, 1, 1)}]
    + [{"num_decoder_layers": 0}, {"layer_norm_eps": 2**-10}, {"d_head": 9}],
    ids=str,
)
def test_paddle_equals_torch_with_other_sizes(options):
    expected, actual = pair("replaced_token", replace(TINY, **options))
    assert_equal(run(actual, batch("replaced_token", 3, 21)), run(expected, batch("replaced_token", 3, 21)))


@pytest.mark.parametrize("separate_cls", [True, False])
@pytest.mark.parametrize("truncate_seq", [True, False])
def test_every_length_in_both_attention_types(separate_cls, truncate_seq):
    config = replace(TINY, separate_cls=separate_cls, truncate_seq=truncate_seq)
    shifting, paddle_shifting = pair("backbone", config)
    factorized, paddle_factorized = pair("backbone", replace(config, attention_type="factorized"))
    for L in range(1, 11):
        expected = run(shifting, texts(3, L))
        assert expected["last_hidden_state"].shape == (3, L, TINY.d_model)
        assert_equal(run(factorized, texts(3, L)), expected, limit=1e-12)
        assert_equal(run(paddle_shifting, texts(3, L)), expected)
        assert_equal(run(paddle_factorized, texts(3, L)), expected, limit=1e-12)


def test_defaults_are_no_padding_and_one_segment():
    inputs = texts(2, 9)
    explicit = inputs | {"attention_mask": np.ones_like(inputs["input_ids"]), "token_type_ids": 0 * inputs["input_ids"]}
    for model in pair("backbone"):
        assert_equal(run(model, {"input_ids": inputs["input_ids"]}), run(model, explicit), limit=0)


@pytest.mark.parametrize("attention_type", ATTENTIONS)
def test_float64_is_float64_throughout(attention_type):
    """No module of a float64 run returns float32, nor float64 that float32 could hold (whole numbers aside: masks)."""
    expected, actual = pair("masked_lm", replace(TINY, attention_type=attention_type))
    seen = []

    def check(module, _, output):
        for value in output if isinstance(output, (list, tuple)) else [output]:
            array = value.detach().numpy() if hasattr(value, "numpy") else np.zeros(1, np.int64)
            if array.dtype.kind == "f" and (array != np.round(array)).any():
                seen.append(type(module).__name__)
                assert array.dtype == np.float64, type(module)
                assert (array != array.astype(np.float32)).any(), type(module)

    for module in expected.modules():
        module.register_forward_hook(check)
    for layer in actual.sublayers(include_self=True):
        layer.register_forward_post_hook(check)
    for model in (expected, actual):
        run(model, batch("masked_lm"))
    assert seen.count("FunnelMaskedSoftmax") == 2 * (2 + 2 + 2 + 2)


@pytest.mark.parametrize("attention_type", ATTENTIONS)
def test_float32_stays_float32_and_close(attention_type):
    config = replace(TINY, attention_type=attention_type)
    exact, inputs = run(pair("masked_lm", config)[0], batch("masked_lm", L=40)), batch("masked_lm", L=40)
    paddle.set_default_dtype("float32")
    expected = randomise(torch_funnel.FunnelForMaskedLM(config)).eval()
    actual = copy_weights(expected, paddle_funnel.FunnelForMaskedLM(paddle_funnel.FunnelConfig(**asdict(config))))
    actual.eval()
    for model in (expected, actual):
        for key, value in run(model, inputs).items():
            assert value.dtype == np.float32
            assert np.abs(value - exact[key]).max() <= 1e-5 * np.abs(exact[key]).max()


def pool_positions(positions, level, separate_cls, truncate_seq):
    """The authors' rule: CLS at 1 − 2^level, then every other token, without the last if truncated."""
    if not separate_cls:
        return positions[::2]
    return np.concatenate([[1 - 2.0**level], (positions[1:-1] if truncate_seq else positions[1:])[::2]])


@pytest.mark.parametrize("attention_type", ATTENTIONS)
@pytest.mark.parametrize("separate_cls", [True, False])
@pytest.mark.parametrize("truncate_seq", [True, False])
@both_sides
def test_position_scores_are_those_of_the_distances(side, attention_type, separate_cls, truncate_seq):
    """q_i · (kernel applied to [sin, cos] of position i − position j), at each pooling and within each block."""
    config = replace(TINY, attention_type=attention_type, separate_cls=separate_cls, truncate_seq=truncate_seq)
    tensor = TENSOR[side]
    structure, score = side.FunnelAttentionStructure(config, 3), side.POSITION_SCORES[attention_type]()
    structure.eval()
    rng, kept, L, D = np.random.default_rng(0), int(separate_cls), 15, TINY.d_model
    kernel = rng.standard_normal((D, TINY.n_head, TINY.d_head))
    levels = [np.arange(L, dtype=float)]
    for level in (1, 2):
        levels.append(pool_positions(levels[-1], level, separate_cls, truncate_seq))
    blocks = structure(tensor(np.zeros((1, L), np.int64)), tensor(np.ones((1, L))))
    for block, (first, others) in enumerate(blocks):
        for entry, keys in ((first, levels[block - 1]), (others, levels[block])):
            if entry is None:
                assert block == 0
                continue
            query = rng.standard_normal((1, len(levels[block]), TINY.n_head, TINY.d_head))
            angles = (levels[block][:, None] - keys)[..., None] / 10000 ** (np.arange(D // 2) / (D // 2))
            encoding = np.concatenate([np.sin(angles), np.cos(angles)], -1)
            expected = np.einsum("bqnd,qke,end->bnqk", query, encoding, kernel)
            actual = score(tensor(query), tensor(kernel), entry[0]).numpy()
            assert actual.shape == expected.shape
            assert np.abs(actual - expected)[..., kept:, kept:].max() < 1e-12


@both_sides
@pytest.mark.parametrize("mode", ["keep", "pad"])
@pytest.mark.parametrize("separate_cls", [True, False])
@pytest.mark.parametrize("truncate_seq", [True, False])
def test_masks_are_pooled_as_stated(side, mode, separate_cls, truncate_seq):
    """The authors' smallest of two padding marks, and transformers' smallest of two token marks."""

    def pool(mask):
        if separate_cls:
            mask = np.concatenate([mask[:, :1], mask[:, :-1] if truncate_seq else mask], 1)
        windows = [mask[:, i : i + 2] for i in range(0, mask.shape[1], 2)]
        return np.stack([w.min(1) if mode == "keep" else 1 - (1 - w).min(1) for w in windows], 1)

    tensor = TENSOR[side]
    config = replace(TINY, mask_pooling=mode, separate_cls=separate_cls, truncate_seq=truncate_seq)
    structure = side.FunnelAttentionStructure(config, 3)  # which does not mind whose configuration it is
    for L in (11, 14):
        mask = (np.arange(L) < np.arange(L + 1)[:, None]).astype(float)  # every amount of padding
        blocks = structure(tensor(np.zeros(mask.shape, np.int64)), tensor(mask))
        for first, others in blocks:
            if first is not None:
                assert np.array_equal(first[3].numpy(), mask)  # the keys of the first layer are not pooled yet
                mask = pool(mask)
            assert np.array_equal(others[3].numpy(), mask)


def test_the_modes_of_mask_pooling_differ_where_a_window_is_half_padding():
    keep, pad = (pair("encoder", replace(TINY, mask_pooling=mode))[0] for mode in ("keep", "pad"))
    L, differing = 16, set()
    for padding in range(L):
        inputs = texts(1, L) | {"attention_mask": (np.arange(L) < L - padding).astype(np.int64)[None]}
        difference = run(keep, inputs)["last_hidden_state"] - run(pad, inputs)["last_hidden_state"]
        differing |= {padding} if np.abs(difference).max() > 0.05 else set()
    # No window of either level is half padding after 1, 5, 9 or 13 tokens; and what 15 and 16 would fill is truncated.
    assert differing == {L - tokens for tokens in range(1, L + 1)} - {L - tokens for tokens in (1, 5, 9, 13, 15, 16)}


def test_padding_alone_is_no_mask():
    """A text without any valid token attends as if all were valid, to the last digit."""
    inputs = texts(3, 11)
    assert not inputs["attention_mask"][2].any()
    for model in pair("backbone"):
        masked = run(model, inputs)["last_hidden_state"]
        unmasked = run(model, inputs | {"attention_mask": 0 * inputs["attention_mask"] + 1})["last_hidden_state"]
        assert np.abs(masked[2] - unmasked[2]).max() < 1e-13


def test_padding_is_not_seen_within_a_block():
    inputs = texts(2, 11)
    other = inputs | {"input_ids": np.where(inputs["attention_mask"] == 1, inputs["input_ids"], 77)}
    for model in pair("encoder", replace(TINY, block_sizes=(2,), block_repeats=(2,))):
        one, two = (run(model, x)["last_hidden_state"][inputs["attention_mask"] == 1] for x in (inputs, other))
        assert np.array_equal(one, two)


def test_cls_is_in_every_segment_and_segments_have_no_names():
    inputs = texts(2, 11)
    swapped = inputs | {"token_type_ids": np.array([1, 0, 2])[inputs["token_type_ids"]]}
    typed = inputs | {"token_type_ids": inputs["token_type_ids"] * (inputs["token_type_ids"] != 2)}  # CLS: 0
    for model in pair("backbone", replace(TINY, separate_cls=False)):
        assert_equal(run(model, swapped), run(model, inputs), limit=0)
        assert np.abs(run(model, typed)["last_hidden_state"] - run(model, inputs)["last_hidden_state"]).max() > 1e-3
    for model in pair("backbone"):  # apart, CLS has no segment score at all
        assert_equal(run(model, typed), run(model, inputs), limit=0)


def negative_log_likelihood(logits, labels):
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    kept = labels != -100
    return -log_probabilities[kept][np.arange(kept.sum()), labels[kept]].mean()


@pytest.mark.parametrize("task", ["masked_lm", "token_classification", "sequence_classification", "multiple_choice"])
def test_cross_entropy_is_the_mean_over_labels_that_count(task):
    inputs = batch(task)
    for model in pair(task):
        outputs = run(model, inputs)
        assert np.isclose(outputs["loss"], negative_log_likelihood(outputs["logits"], inputs["labels"]), 1e-13)
        assert run(model, inputs | {"labels": np.full_like(inputs["labels"], -100)})["loss"] == 0


def test_cross_entropy_does_not_saturate():
    logits, labels = np.array([[0.0, 500.0, -3.0], [200.0, 1.0, 2.0]]), np.array([0, 2])
    for side, tensor in ((torch_funnel, torch.from_numpy), (paddle_funnel, paddle.to_tensor)):
        assert np.isclose(side.CrossEntropy()(tensor(logits), tensor(labels)).numpy(), (500 + 198) / 2, 1e-14)


def test_replaced_token_loss_leaves_padding_out():
    inputs = batch("replaced_token")
    kept = (inputs["attention_mask"] == 1) & (inputs["labels"] != -100)
    for model in pair("replaced_token"):
        outputs = run(model, inputs)
        signed = np.where(inputs["labels"] == 1, 1, -1) * outputs["logits"]
        assert np.isclose(outputs["loss"], np.log1p(np.exp(-signed[kept])).mean(), 1e-13)
        assert run(model, inputs | {"attention_mask": 0 * inputs["attention_mask"]})["loss"] == 0


def test_span_loss_ignores_positions_outside_of_the_text():
    inputs = batch("question_answering")
    ends = np.where(inputs["end_positions"] < 11, inputs["end_positions"], -100)
    assert (ends == -100).sum() == 2
    for model in pair("question_answering"):
        outputs = run(model, inputs)
        start = negative_log_likelihood(outputs["start_logits"], inputs["start_positions"])
        end = negative_log_likelihood(outputs["end_logits"], ends)
        assert np.isclose(outputs["loss"], (start + end) / 2, 1e-13)


@pytest.mark.parametrize("options", [{"num_labels": 1}, {"num_labels": 3, "problem_type": "regression"}], ids=str)
def test_regression(options):
    expected, actual = pair("sequence_classification", replace(TINY, **options))
    targets = np.random.default_rng(0).standard_normal((4, options["num_labels"])).astype(np.float32)
    inputs = texts(4, 11) | {"labels": targets.squeeze()}
    assert_equal(run(actual, inputs), run(expected, inputs))
    assert np.isclose(run(expected, inputs)["loss"], ((run(expected, inputs)["logits"] - targets) ** 2).mean(), 1e-13)


def test_variants_and_tasks_are_the_same_literals():
    found = []
    for module in (torch_funnel, paddle_funnel):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        literals = {
            n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id.isupper()
        }
        found.append([ast.literal_eval(literals[name]) for name in ("VARIANTS", "TASKS")])
        assert all(hasattr(module, name) for name in module.TASKS.values())
    assert found[0] == found[1] == [torch_funnel.VARIANTS, torch_funnel.TASKS]
    assert [next(iter(torch_funnel.VARIANTS)), *list(TASKS)[::7]] == ["tiny", "masked_lm", "encoder"]


# fmt: off
SIZES = {  # full, base
    "small": (130_973_184, 115_611_648), "medium": (130_973_184, 115_611_648), "large": (386_127_872, 358_830_080),
    "intermediate": (177_057_792, 161_696_256), "xlarge": (468_021_248, 440_723_456),
}
# fmt: on


@pytest.mark.parametrize("variant", SIZES)
def test_sizes_are_those_of_the_checkpoints(variant):
    """The parameters of the model with and without its decoder, counted without allocating any."""
    for name in (variant, f"{variant}-base"):
        config = torch_funnel.FunnelConfig(**torch_funnel.VARIANTS[name])
        with torch.device("meta"):
            models = torch_funnel.FunnelModel(config), torch_funnel.FunnelBaseModel(config)
        assert [sum(p.numel() for p in model.parameters()) for model in models] == list(SIZES[variant])


@both_sides
def test_config_reads_what_it_writes_and_what_transformers_writes(side):
    config = side.FunnelConfig(
        **asdict(TINY),
    )
    assert side.FunnelConfig.from_dict(asdict(config)) == config
    written = {"model_type": "funnel", "architectures": ["FunnelForMaskedLM"], "transformers_version": "4.57.6"}
    written |= {"block_sizes": [2, 3], "block_repeats": None, "d_model": 64, "pad_token_id": None, "dtype": "float32"}
    written |= {"id2label": {"0": "a", "1": "b", "2": "c"}, "max_position_embeddings": 512, "type_vocab_size": 3}
    expected = side.FunnelConfig(block_sizes=(2, 3), block_repeats=(1, 1), d_model=64, num_labels=3)
    assert side.FunnelConfig.from_dict(written) == expected


# fmt: off
WRONG = [
    {"rope_scaling": {"factor": 2}}, {"model_type": "bert"}, {"tie_word_embeddings": False}, {"is_decoder": True},
    {"pruned_heads": {"0": [1]}}, {"attention_type": "linear"}, {"pooling_type": "min"}, {"mask_pooling": "first"},
    {"hidden_act": "gelu_fast_and_wrong"}, {"block_sizes": []}, {"block_sizes": [2, 0, 1]}, {"block_repeats": [1, 2]},
    {"block_repeats": [1, 0, 1]}, {"d_model": 29}, {"pad_token_id": 199}, {"problem_type": "multi_label"},
]
# fmt: on


@both_sides
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_config_refuses_what_it_does_not_know(side, wrong):
    with pytest.raises(ValueError, match="unsupported: ") as refusal:
        side.FunnelConfig.from_dict(torch_funnel.VARIANTS["tiny"] | wrong)
    assert next(iter(wrong)) in str(refusal.value)


@both_sides
@pytest.mark.parametrize("std", [None, 0.05])
def test_initial_values_are_as_published(side, std):
    torch.manual_seed(0)
    paddle.seed(0)
    config = replace(TINY, initializer_std=std, pad_token_id=3, block_sizes=(2, 2), block_repeats=(1, 1), d_model=60)
    model = side.FunnelForMaskedLM(side.FunnelConfig(**asdict(config)))
    normals = 0
    for name, parameter in model.state_dict().items():
        value, leaf = parameter.numpy().astype(float), name.rsplit(".", 1)[-1]
        if "word_embeddings" in name or name == "lm_head.weight":
            assert (value[3] == 0).all()
            assert np.isclose(np.delete(value, 3, 0).std(), std or 1.0, rtol=0.05)
        elif "norm" in name or leaf == "bias":
            assert (value == (leaf == "weight")).all()
        elif leaf == "weight":
            normals += 1
            assert np.isclose(value.std(), std or sum(value.shape) ** -0.5, rtol=0.1)
            assert abs(value.mean()) < 5 * value.std() / value.size**0.5
        else:
            assert value.min() >= 0
            assert value.max() <= config.initializer_range
            assert abs(value.mean() - 0.05) < 5 * 0.1 / (12 * value.size) ** 0.5
    assert normals == 6 * (2 + 2 + 2)


@both_sides
def test_the_word_decoder_is_tied(side):
    model = side.FunnelForMaskedLM(side.FunnelConfig(**asdict(TINY)))
    assert model.lm_head.weight is model.funnel.embeddings.word_embeddings.weight
    assert {"lm_head.weight", "lm_head.bias", "funnel.embeddings.word_embeddings.weight"} <= set(model.state_dict())
    assert [list(p.shape) for p in model.parameters()].count([TINY.vocab_size, TINY.d_model]) == 1


def test_dropout_is_where_and_as_large_as_the_options_say():
    P = {"hidden_dropout": 0.11, "attention_dropout": 0.22, "activation_dropout": 0.33}
    expected, actual = pair("token_classification", replace(TINY, **P))
    theirs = dict(actual.named_sublayers())
    dropouts = {name: m for name, m in expected.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert len(dropouts) == 1 + 2 + 4 * 5 + 2 + 4 * 2 + 1  # words, sin and cos, 4 in each layer, and the classifier's
    for name, dropout in dropouts.items():
        assert dropout.p == theirs[name].p == P.get(name.rsplit(".", 1)[-1], 0.11)


def test_training_without_dropout_is_evaluation_and_with_it_is_not():
    inputs = batch("replaced_token")
    for dropout in (0.0, 0.1):
        for model in pair("replaced_token", replace(TINY, hidden_dropout=dropout, attention_dropout=dropout)):
            evaluated = run(model, inputs)["logits"]
            model.train()
            assert (np.abs(run(model, inputs)["logits"] - evaluated).max() > 1e-3) == (dropout > 0)
