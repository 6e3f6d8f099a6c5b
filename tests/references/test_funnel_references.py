"""Our Funnel-Transformers against transformers' and PaddleNLP's, on the same weights; their known defects are pinned.

Both references round attention scores to float32 even in float64 (`.float()`, `.astype("float32")`). Most tests take
that cast away, so that the comparison is exact; others leave it in place and say what it costs.
"""

import itertools
import json
import warnings
from dataclasses import asdict, replace

import numpy as np
import paddle
import pytest
import torch

from models_paddle import funnel as paddle_funnel
from models_torch import funnel as torch_funnel
from tests.pairs import copy_weights, randomise

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers
    from paddlenlp.transformers.funnel import configuration as paddlenlp_configuration
    from paddlenlp.transformers.funnel import modeling as paddlenlp_funnel

pytestmark = pytest.mark.filterwarnings(
    "ignore:Using a non-tuple sequence for multidimensional indexing:UserWarning",  # transformers' stride_pool
    "ignore:We strongly recommend passing in an `attention_mask`:UserWarning",
)

TINY = torch_funnel.FunnelConfig(**torch_funnel.VARIANTS["tiny"] | {"num_labels": 2})  # all that their QA can have
TASKS = torch_funnel.TASKS
LABELLED = [task for task in TASKS if task not in ("backbone", "encoder")]


@pytest.fixture(autouse=True)
def _threads_and_dtype():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    paddle.set_default_dtype("float32")


@pytest.fixture
def exact(monkeypatch):
    """Both references without their float32 islands."""
    astype = paddle.Tensor.astype
    keep = lambda x, dtype: x if dtype == "float32" and x.dtype == paddle.float64 else astype(x, dtype)  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(paddle.Tensor, "astype", keep)
    paddle.set_default_dtype("float64")


def options(config, *theirs_lack):
    return {key: value for key, value in asdict(config).items() if key not in ("mask_pooling", *theirs_lack)}


def ours_and_transformers(task, config=TINY, dtype=torch.float64):
    """Our torch model and transformers', which loads its state dict strictly."""
    ours = randomise(getattr(torch_funnel, TASKS[task])(config)).to(dtype).eval()
    theirs = getattr(transformers, TASKS[task])(transformers.FunnelConfig(**options(config))).to(dtype).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def paddlenlp_model(task, config=TINY):
    fields = options(config) | {"block_sizes": list(config.block_sizes), "block_repeats": list(config.block_repeats)}
    return getattr(paddlenlp_funnel, TASKS[task])(paddlenlp_configuration.FunnelConfig(**fields))


def ours_and_paddlenlp(task, config=TINY, dtype="float64"):
    """Our torch model, our Paddle model and PaddleNLP's (which is built in float32 whatever the default)."""
    paddle.set_default_dtype(dtype)
    expected = randomise(getattr(torch_funnel, TASKS[task])(config).to(getattr(torch, dtype))).eval()
    ours = getattr(paddle_funnel, TASKS[task])(paddle_funnel.FunnelConfig(**asdict(config)))
    copy_weights(expected, ours)
    theirs = paddlenlp_model(task, config)
    theirs.to(dtype=dtype)
    values = theirs.state_dict()
    assert set(values) == set(ours.state_dict())
    for name, value in ours.state_dict().items():
        values[name].set_value(value)
    ours.eval()
    theirs.eval()
    return expected, ours, theirs


def texts(task, B=4, L=11, seed=0):
    """Ids, mask and types with padding at the right; no row is padding only. Ids are never 0: see the test of that."""
    rng = np.random.default_rng(seed)
    shape = (B, 3, L) if task == "multiple_choice" else (B, L)
    mask = np.ones(shape, np.int64)
    for row, padding in zip(mask.reshape(-1, L)[1:], (3, L // 2, 1, 2), strict=False):
        row[L - padding :] = 0
    types = np.broadcast_to(np.arange(L) > L // 3, shape).astype(np.int64)
    types[..., 0] = 2
    return {"input_ids": rng.integers(1, TINY.vocab_size, shape), "attention_mask": mask, "token_type_ids": types}


def labels(task, B=4, L=11):
    """Labels of which every loss of transformers has something to count."""
    rng = np.random.default_rng(9)
    if task == "question_answering":
        return {"start_positions": rng.integers(0, L, B), "end_positions": rng.integers(0, L + 3, B)}
    if task in ("sequence_classification", "multiple_choice"):
        return {"labels": rng.integers(0, 2, B)}
    values = rng.integers(0, TINY.vocab_size if task == "masked_lm" else 2, (B, L))
    return {"labels": values if task == "replaced_token" else np.where(rng.random((B, L)) < 0.4, -100, values)}


def run(model, inputs):
    """Outputs as arrays, by our names, from any of the four."""
    tensor = torch.from_numpy if isinstance(model, torch.nn.Module) else paddle.to_tensor
    own = type(model).__module__.startswith("models_")
    with torch.no_grad(), paddle.no_grad():
        outputs = model(
            **{key: tensor(value) for key, value in inputs.items()}, **({} if own else {"return_dict": True})
        )
    if isinstance(outputs, paddle.Tensor):
        outputs = {"logits": outputs}
    elif isinstance(outputs, tuple):
        outputs = dict(zip(("start_logits", "end_logits"), outputs, strict=True))
    elif not own:
        names = ("last_hidden_state", "logits", "start_logits", "end_logits", "loss")
        outputs = {name: getattr(outputs, name) for name in names if getattr(outputs, name, None) is not None}
    return {key: value.numpy() for key, value in outputs.items()}


def difference(actual, expected):
    assert set(actual) == set(expected)
    assert all(actual[key].shape == value.shape for key, value in expected.items())
    return max(np.abs(actual[key] - value).max() / np.abs(value).max() for key, value in expected.items())


# ---- transformers --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("task", TASKS)
def test_torch_equals_transformers(task):
    ours, theirs = ours_and_transformers(task)
    for B, L in ((4, 11), (1, 9), (2, 16)):
        inputs = texts(task, B, L) | (labels(task, B, L) if task in LABELLED else {})
        assert difference(run(ours, inputs), run(theirs, inputs)) < 1e-13


@pytest.mark.parametrize("task", TASKS)
def test_torch_equals_transformers_in_float32(task):
    ours, theirs = ours_and_transformers(task, dtype=torch.float32)
    inputs = texts(task) | (labels(task) if task in LABELLED else {})
    assert difference(run(ours, inputs), run(theirs, inputs)) < 1e-5


OPTIONS = ("attention_type", "pooling_type", "separate_cls", "truncate_seq", "pool_q_only")
FACTORS = (("relative_shift", "factorized"), ("mean", "max"), (True, False), (True, False), (True, False))


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("values", list(itertools.product(*FACTORS)), ids=lambda values: "-".join(map(str, values)))
def test_torch_equals_transformers_with_all_options(values):
    config = replace(TINY, **dict(zip(OPTIONS, values, strict=True)))
    ours, theirs = ours_and_transformers("backbone", config)
    for L in (11, 16):
        # Where CLS is not apart, a masked window may be all there is: 1e6 then costs transformers six digits.
        limit = 1e-13 if config.separate_cls else 1e-10
        assert difference(run(ours, texts("backbone", 4, L)), run(theirs, texts("backbone", 4, L))) < limit


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    "changes",
    [{"hidden_act": name} for name in torch_funnel.ACTIVATIONS]
    + [{"block_sizes": (3,), "block_repeats": (1,)}, {"block_sizes": (2, 1, 1, 2), "block_repeats": (1, 3, 1, 1)}]
    + [{"num_decoder_layers": 0}, {"layer_norm_eps": 1e-3}, {"d_head": 9}],
    ids=str,
)
def test_torch_equals_transformers_with_other_sizes(changes):
    ours, theirs = ours_and_transformers("replaced_token", replace(TINY, **changes))
    assert difference(run(ours, texts("", 3, 21)), run(theirs, texts("", 3, 21))) < 1e-13


@pytest.mark.usefixtures("exact")
def test_regression_equals_transformers():
    ours, theirs = ours_and_transformers("sequence_classification", replace(TINY, num_labels=1))
    inputs = texts("") | {"labels": np.array([0.5, -1.0, 2.0, 0.25])}
    assert difference(run(ours, inputs), run(theirs, inputs)) < 1e-13


def test_config_reads_what_transformers_writes(tmp_path):
    theirs = transformers.FunnelConfig(
        block_sizes=[2, 3], d_model=64, attention_type="factorized", hidden_act="relu", num_labels=7
    )
    theirs.architectures = ["FunnelForMaskedLM"]
    theirs.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for module in (torch_funnel, paddle_funnel):
        read = module.FunnelConfig.from_dict(written)
        assert (read.block_sizes, read.block_repeats, read.num_labels) == ((2, 3), (1, 1), 7)
        assert read == module.FunnelConfig.from_dict(theirs.to_dict())
        assert module.FunnelConfig.from_dict(transformers.FunnelConfig().to_dict()) == module.FunnelConfig()


@pytest.mark.parametrize("variant", [name for name in torch_funnel.VARIANTS if not name.endswith("-base")])
def test_sizes_equal_transformers(variant):
    config = torch_funnel.FunnelConfig(**torch_funnel.VARIANTS[variant])
    with torch.device("meta"):
        for name in ("FunnelModel", "FunnelBaseModel"):
            ours = getattr(torch_funnel, name)(config).state_dict()
            theirs = getattr(transformers, name)(transformers.FunnelConfig(**options(config))).state_dict()
            assert {key: value.shape for key, value in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.usefixtures("exact")
def test_pad_mode_is_transformers_with_the_smallest_of_the_padding(monkeypatch):
    """The authors' rule, put into transformers, is our `mask_pooling="pad"`; as it stands transformers differs much."""
    structure = transformers.models.funnel.modeling_funnel.FunnelAttentionStructure
    pool = structure.pool_tensor

    def smallest_padding(self, tensor, mode="mean", stride=2):
        return 1 - pool(self, 1 - tensor, mode, stride) if mode == "min" else pool(self, tensor, mode, stride)

    ours, theirs = ours_and_transformers("encoder", replace(TINY, mask_pooling="pad"))
    inputs = texts("encoder", 4, 16)
    found = difference(run(ours, inputs), run(theirs, inputs))
    assert found > 0.02
    monkeypatch.setattr(structure, "pool_tensor", smallest_padding)
    assert difference(run(ours, inputs), run(theirs, inputs)) < 1e-13


@pytest.mark.parametrize("task", ["masked_lm", "encoder"])
def test_transformers_has_a_float32_island(task):
    """In float64 its attention scores are rounded to float32: seven digits of its outputs are right."""
    ours, theirs = ours_and_transformers(task)
    assert 1e-9 < difference(run(ours, texts(task)), run(theirs, texts(task))) < 1e-5


def test_transformers_rounds_the_scores_of_a_row_of_padding(monkeypatch):
    """All of them lose 10⁶ there, which leaves steps of 1/16 in float32; ours lose nothing and stay right."""
    ours, theirs = ours_and_transformers("backbone", dtype=torch.float32)
    inputs = texts("backbone", 2)
    inputs["attention_mask"][1] = 0
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        right = run(theirs.double(), inputs)["last_hidden_state"][1]
    assert np.abs(run(ours, inputs)["last_hidden_state"][1] - right).max() < 1e-4
    assert np.abs(run(theirs.float(), inputs)["last_hidden_state"][1] - right).max() > 1e-2


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    ("lengths", "changes"),
    [((1, 2, 3, 4), {}), ((1, 2), {"separate_cls": False}), ((1, 2, 3, 4, 6), {"truncate_seq": False})],
    ids=str,
)
def test_transformers_fails_on_short_texts_with_relative_shift(lengths, changes):
    """Its tables are made as if every block pooled, and end too early. With `factorized` it takes them: we agree."""
    ours, theirs = ours_and_transformers("backbone", replace(TINY, **changes))
    factorized = ours_and_transformers("backbone", replace(TINY, attention_type="factorized", **changes))[1]
    for L in lengths:
        inputs = texts("backbone", 2, L)
        inputs["attention_mask"][:] = 1
        with pytest.raises(RuntimeError):
            run(theirs, inputs)
        assert difference(run(ours, inputs), run(factorized, inputs)) < 1e-12


@pytest.mark.usefixtures("exact")
def test_transformers_takes_the_residual_from_within_a_repeated_first_block():
    """Ours does too. The authors take the end of the block, which no checkpoint tells apart."""
    config = replace(TINY, block_sizes=(2, 2), block_repeats=(3, 1), num_decoder_layers=0)
    ours, theirs = ours_and_transformers("backbone", config)
    states = []
    for layer in ours.encoder.blocks[0]:
        layer.register_forward_hook(lambda _, __, output: states.append(output.numpy()))
    inputs = texts("backbone")
    final = run(ours, inputs)["last_hidden_state"]
    assert difference(run(theirs, inputs), {"last_hidden_state": final}) < 1e-13
    assert len(states) == 2 * 3
    ours.decoder.upsampling.register_forward_hook(lambda _, __, output: torch.zeros_like(output))
    residual = run(ours, inputs)["last_hidden_state"]
    assert np.array_equal(residual, states[1])
    assert np.abs(residual - states[5]).max() > 0.1


def test_transformers_counts_ignored_labels_its_own_way():
    """Nothing to count is NaN there and 0 here; an answer at −100 counts as one at 0 there and is ignored here."""
    ours, theirs = ours_and_transformers("masked_lm")
    inputs = texts("") | {"labels": np.full((4, 11), -100)}
    assert np.isnan(run(theirs, inputs)["loss"])
    assert run(ours, inputs)["loss"] == 0
    ours, theirs = ours_and_transformers("question_answering")
    inputs = texts("") | {"start_positions": np.array([1, 2, 3, -100]), "end_positions": np.array([4, 5, 6, 7])}
    moved = inputs | {"start_positions": np.array([1, 2, 3, 0])}
    assert run(theirs, inputs)["loss"] == run(theirs, moved)["loss"]
    assert abs(run(ours, moved)["loss"] - run(theirs, moved)["loss"]) < 1e-5
    assert abs(run(ours, inputs)["loss"] - run(theirs, inputs)["loss"]) > 1e-2


# ---- PaddleNLP -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("task", TASKS)
def test_paddle_equals_paddlenlp(task):
    expected, ours, theirs = ours_and_paddlenlp(task)
    for B, L in ((4, 11), (2, 16)):
        inputs = texts(task, B, L)
        assert difference(run(ours, inputs), run(theirs, inputs)) < 1e-13
        assert difference(run(ours, inputs), run(expected, inputs)) < 1e-13


@pytest.mark.parametrize("task", TASKS)
def test_paddle_equals_paddlenlp_in_float32(task):
    expected, ours, theirs = ours_and_paddlenlp(task, dtype="float32")
    inputs = texts(task)
    assert difference(run(ours, inputs), run(theirs, inputs)) < 1e-5
    assert difference(run(ours, inputs), run(expected, inputs)) < 1e-5


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    "changes",
    [{"pooling_type": "max"}, {"pool_q_only": False}, {"hidden_act": "gelu"}, {"block_repeats": (2, 1, 2)}],
    ids=str,
)
def test_paddle_equals_paddlenlp_with_the_options_that_work_there(changes):
    _, ours, theirs = ours_and_paddlenlp("backbone", replace(TINY, **changes))
    for L in (11, 16):
        assert difference(run(ours, texts("", 3, L)), run(theirs, texts("", 3, L))) < 1e-13


def test_paddlenlp_has_a_float32_island():
    _, ours, theirs = ours_and_paddlenlp("encoder")
    assert 1e-9 < difference(run(ours, texts("")), run(theirs, texts(""))) < 1e-5


def test_paddlenlp_pools_the_mask_like_transformers():
    _, ours, theirs = ours_and_paddlenlp("encoder", replace(TINY, mask_pooling="pad"))
    assert difference(run(ours, texts("", 4, 16)), run(theirs, texts("", 4, 16))) > 0.02


@pytest.mark.parametrize(
    ("changes", "length", "error"),
    [
        ({"attention_type": "factorized"}, 11, AttributeError),  # its stride_pool takes a tuple for a tensor
        ({"truncate_seq": False}, 8, ValueError),  # the segment matrix is truncated whatever the option
        ({"separate_cls": False}, 11, ValueError),  # … and whether CLS is apart or not
        ({}, 2, ValueError),  # too short for its table of positions, as in transformers
    ],
    ids=str,
)
def test_paddlenlp_fails_with_some_options_where_we_do_not(changes, length, error):
    expected, ours, theirs = ours_and_paddlenlp("backbone", replace(TINY, **changes))
    with pytest.raises(error):
        run(theirs, texts("", 3, length))
    assert difference(run(ours, texts("", 3, length)), run(expected, texts("", 3, length))) < 1e-13


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("length", [3, 4])
def test_paddlenlp_takes_texts_of_three_and_four_tokens(length):
    """Its table is too short there as well, but broadcasts to the one score that counts: a reference for ours."""
    _, ours, theirs = ours_and_paddlenlp("backbone")
    inputs = texts("", 3, length)
    inputs["attention_mask"][:] = 1
    assert difference(run(ours, inputs), run(theirs, inputs)) < 1e-13


def test_paddlenlp_needs_return_dict():
    model, inputs = paddlenlp_model("backbone"), texts("")
    with pytest.raises(AttributeError, match="last_hidden_state"):
        model(paddle.to_tensor(inputs["input_ids"]))


def test_paddlenlp_loses_a_batch_of_one_in_replaced_token_detection():
    _, ours, theirs = ours_and_paddlenlp("replaced_token")
    inputs = texts("", B=1)
    assert run(theirs, inputs)["logits"].shape == (11,)
    assert run(ours, inputs)["logits"].shape == (1, 11)


def test_paddlenlp_zeroes_the_embedding_of_padding():
    """Its padding_idx makes the state of id 0 a constant, whatever the trained row; torch's and ours read the row."""
    expected, ours, theirs = ours_and_paddlenlp("encoder")
    embedded = [model.embeddings(paddle.zeros([1, 1], "int64")).numpy() for model in (ours, theirs)]
    assert (
        np.abs(embedded[0] - expected.embeddings(torch.zeros(1, 1, dtype=torch.int64)).detach().numpy()).max() < 1e-13
    )
    assert np.array_equal(embedded[1].squeeze(), theirs.embeddings.layer_norm.bias.numpy())
    assert np.abs(embedded[0] - embedded[1]).max() > 0.1


def test_paddlenlp_does_not_initialise():
    """Its initialiser is never called: attention's own parameters start at 0, Linear weights from Xavier's uniform."""
    attention = paddlenlp_model("encoder").encoder.blocks[0][0].attention
    assert not attention.r_kernel.numpy().any()
    assert not attention.seg_embed.numpy().any()
    ours = paddle_funnel.FunnelBaseModel(paddle_funnel.FunnelConfig(**asdict(TINY))).encoder.blocks[0][0].attention
    assert ours.r_kernel.numpy().all()
