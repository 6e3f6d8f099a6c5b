"""ConvBERT's own layouts: the authors' checkpoints fit and compute as transformers loads them; PaddleNLP's pooler."""

import dataclasses
import itertools
import json
import re
import sys
from types import SimpleNamespace

import pytest
import torch
import transformers

from convert import ConvertError, check_state, load, open_checkpoint, save, table
from convert.configs import from_ours
from convert.layouts import convbert
from convert.transfer import plan_transfer
from models_torch import convbert as ours
from tests.convert import published
from tests.convert.published_convbert import CONVBERT, Net
from tests.convert.published_convbert import convbert as shapes_of
from tests.convert.support import assert_same, build, read_all, shapes, tiny, torch_state
from tests.pairs import randomise

PARTS = {
    "discriminator": "ConvBertForPreTraining",
    "generator": "ConvBertForMaskedLM",
    "joint": "ConvBertForJointPreTraining",
}


@pytest.mark.parametrize("size", CONVBERT)
@pytest.mark.parametrize("part", PARTS)
def test_every_published_checkpoint_fits(size, part):
    found = published.trained(shapes_of(*CONVBERT[size]))
    config = convbert.derive(found, {}, part)
    assert config["architectures"] == [PARTS[part]]
    plan = table("convbert", "tf", "torch", config).plan(found)
    read = ours.ConvBertConfig.from_dict(config)
    with torch.device("meta"):
        check_state(plan.target_shapes, shapes(getattr(ours, PARTS[part])(read).state_dict()), size)
    variant = ours.ConvBertConfig(**ours.VARIANTS[f"{size}-generator" if part == "generator" else size])
    told = [key for key in config if key in dataclasses.asdict(read) and not re.search("generator|heads_as", key)]
    assert {key: getattr(read, key) for key in told} == {key: getattr(variant, key) for key in told}
    if part == "joint":
        generator, published_one = read.generator(), ours.ConvBertConfig(**ours.VARIANTS[f"{size}-generator"])
        assert {key: getattr(generator, key) for key in SIZES} == {key: getattr(published_one, key) for key in SIZES}


SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
GROUPED = (24, Net(96, 4, 12, groups=2, layers=2), Net(48, 1, 24, groups=2, layers=2), 61, 19)
WHOLE = (24, Net(64, 1, 32, layers=2), Net(32, 1, 32, layers=3), 61, 19)  # a generator of a single head


def bundle(folder, sizes):
    state = published.arrays(published.trained(shapes_of(*sizes)))
    return published.write_bundle(folder, state, shards=2), state


def converted(source, folder, target, part=None):
    plan_transfer(open_checkpoint(source, part=part), "convbert", target).run(folder)
    return folder


@pytest.mark.parametrize("sizes", [GROUPED, WHOLE])
def test_transformers_own_conversion_makes_the_same_of_the_encoder(tmp_path, sizes, monkeypatch):
    folder, state = bundle(tmp_path / "tf", sizes)
    checkpoint = open_checkpoint(converted(folder, tmp_path / "torch", "torch", "discriminator"))
    assert checkpoint.config["model_type"] == "convbert"  # not ELECTRA, whose names these checkpoints bear
    encoder = {name.removeprefix("convbert."): array for name, array in read_all(checkpoint).items()}
    config = transformers.ConvBertConfig(**checkpoint.config)
    reference = transformers.ConvBertModel(config)
    stand_in(monkeypatch, state)
    transformers.models.convbert.modeling_convbert.load_tf_weights_in_convbert(reference, config, "unused")
    expected = {name: tensor.detach().numpy() for name, tensor in reference.state_dict().items()}
    assert_same({name: encoder[name] for name in expected}, expected)


def stand_in(monkeypatch, state):
    """The two functions of TensorFlow that transformers' conversion calls, on a state in memory."""
    listed = [(name, array.shape) for name, array in state.items()]
    train = SimpleNamespace(list_variables=lambda path: listed, load_variable=lambda path, name: state[name])
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(train=train))


@pytest.mark.parametrize("sizes", [GROUPED, WHOLE])
@pytest.mark.parametrize("part", PARTS)
def test_what_is_written_back_to_a_bundle_is_the_original_to_the_bit(tmp_path, sizes, part):
    folder, state = bundle(tmp_path / "tf", sizes)
    converted(folder, tmp_path / "between", "paddle", part)
    back = read_all(open_checkpoint(converted(tmp_path / "between", tmp_path / "again", "tf")))
    left = {"joint": "-", "discriminator": "generator", "generator": r"discriminator|electra/e(ncoder|mbeddings_p)"}[
        part
    ]
    kept = {name for name in shapes_of(*sizes) if not re.match(left, name)}
    assert_same(back, {name: state[name] for name in kept})


HEADS = ("ConvBertForSequenceClassification", "ConvBertForMultipleChoice")


@pytest.mark.parametrize("name", HEADS)
def test_sentence_heads_go_to_paddlenlp_with_a_pooler_only(name):
    config = {"architectures": [name], "pool_act": "tanh"}
    pooled = torch_state("convbert", name, pool_act="tanh")
    plan = table("convbert", "torch", "paddlenlp", config).plan(shapes(pooled))
    assert "convbert.pooler.dense.weight" in plan.target_shapes
    back = table("convbert", "paddlenlp", "torch", config).plan(plan.target_shapes)
    assert back.target_shapes == shapes(pooled)
    for source, target in (("transformers", "paddlenlp"), ("paddlenlp", "transformers")):
        with pytest.raises(ConvertError, match="read a pooler, which this model lacks"):
            table("convbert", source, target, {"architectures": [name]})
    with pytest.raises(ConvertError, match=r"unexpected: convbert\.pooler\.dense\.weight"):
        table("convbert", "torch", "transformers", config).plan(shapes(pooled))


def test_a_pooler_that_nothing_reads_is_left_out_for_transformers():
    config = {"architectures": ["ConvBertForTokenClassification"], "pool_act": "tanh"}
    found = shapes(torch_state("convbert", "ConvBertForTokenClassification", pool_act="tanh"))
    plan = table("convbert", "paddle", "transformers", config).plan(found)
    assert set(plan.dropped) == {"convbert.pooler.dense.weight", "convbert.pooler.dense.bias"}
    with pytest.raises(ConvertError, match="unexpected"):  # no one says which head it is
        table("convbert", "torch", "transformers", {}).plan(found)


def test_what_only_paddlenlp_s_pooler_is_called_stays_in_its_configurations():
    pooled = {"architectures": ["ConvBertForTokenClassification"], "pool_act": "linear"}
    assert from_ours("convbert", "paddlenlp", pooled) == pooled
    assert from_ours("convbert", "paddlenlp", pooled | {"pool_act": None}).keys() == {"architectures"}
    assert from_ours("convbert", "transformers", pooled).keys() == {"architectures"}  # the file has no pooler either


@pytest.mark.parametrize("act", [None, "tanh"])
def test_a_silent_folder_of_paddlenlp_s_has_its_heads_and_the_pooler_that_its_file_holds(tmp_path, act):
    config = tiny("convbert") | {"architectures": ["ConvBertModel"], "num_attention_heads": 1, "pool_act": act}
    model = randomise(build("torch", "convbert", "ConvBertModel", **config | {"heads_as": "paddlenlp"}))
    save(model, tmp_path / "torch", "torch", config=config | {"heads_as": "paddlenlp"})
    folder = converted(tmp_path / "torch", tmp_path / "nlp", "paddlenlp")
    said = json.loads((folder / "config.json").read_text())
    assert "heads_as" not in said
    (folder / "config.json").write_text(json.dumps({word: said[word] for word in said if word != "pool_act"}))
    options = open_checkpoint(folder).options("convbert")
    assert (options["heads_as"], options["pool_act"]) == ("paddlenlp", act)
    back = load(ours.ConvBertModel, folder)
    assert_same(*({name: tensor.detach().numpy() for name, tensor in of.state_dict().items()} for of in (back, model)))


@pytest.mark.parametrize("target", ["transformers", "paddlenlp"])
def test_a_published_generator_with_a_single_head_is_nobody_else_s(tmp_path, target):
    folder, _ = bundle(tmp_path / "tf", WHOLE)
    with pytest.raises(ConvertError, match=r'"num_attention_heads": 1, "head_ratio": 2 .*"original"; there is no such'):
        converted(folder, tmp_path / "out", target, "generator")


PUBLIC = ("transformers", "original", "paddlenlp")


@pytest.mark.parametrize(("heads", "ratio"), [(12, 2), (4, 2), (2, 4), (3, 2), (12, 3), (1, 2), (1, 1)])
def test_heads_go_where_our_model_has_the_same_shapes_with_theirs(heads, ratio):
    config = {"num_attention_heads": heads, "head_ratio": ratio, "hidden_size": 24, "intermediate_size": 32}
    held = {}
    with torch.device("meta"):
        for whose in PUBLIC:
            read = ours.ConvBertConfig.from_dict(config | {"heads_as": whose, "num_hidden_layers": 1})
            held[whose] = shapes(ours.ConvBertModel(read).state_dict())
    for whose, target in itertools.product(PUBLIC, ("transformers", "paddlenlp")):
        try:
            assert from_ours("convbert", target, config | {"heads_as": whose}) == config
            taken = True
        except ConvertError:
            taken = False
        assert taken == (held[whose] == held[target]), (whose, target)


@pytest.mark.parametrize("wrong", [{"head_ratio": 0}, {"num_attention_heads": "4"}])
def test_heads_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(ConvertError, match="these are whole numbers, at least 1"):
        from_ours("convbert", "paddlenlp", wrong)


def test_the_authors_word_for_groups_is_understood_and_not_handed_on():
    config = {"architectures": ["ConvBertForPreTraining"], "linear_groups": 4, "num_hidden_layers": 2}
    name = "convbert.encoder.layer.1.output.dense.weight"
    (step,) = table("convbert", "torch", "tf", config).plan({name: (4, 14, 12)}).steps
    assert step.target == "electra/encoder/layer_1/output/g_dense/kernel"
    for target in ("transformers", "paddlenlp"):
        theirs = from_ours("convbert", target, config)
        assert theirs["num_groups"] == 4
        assert "linear_groups" not in theirs


def test_a_separable_convolutions_bias_has_one_axis_outside_of_transformers():
    name = "encoder.layer.1.attention.self.key_conv_attn_layer.bias"
    for layout, shape in {"paddle": (21, 1), "transformers": (21, 1), "paddlenlp": (21,), "tf": (21,)}.items():
        config = {"architectures": ["ConvBertModel"], "num_hidden_layers": 2}
        (step,) = table("convbert", "torch", layout, config).plan({name: (21, 1)}).steps
        assert step.shape == shape
