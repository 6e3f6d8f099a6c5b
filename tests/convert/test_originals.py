"""The authors' TensorFlow checkpoints: every published one fits, the right part of it is taken, and it computes."""

import dataclasses
import importlib
import json
import re

import numpy as np
import pytest
import torch
import transformers

from convert import CheckpointError, ConvertError, MappingError, check_state, open_checkpoint, table
from convert.__main__ import main
from convert.layouts import electra, funnel
from convert.live import config_class
from convert.transfer import plan_transfer
from tests.convert import published
from tests.convert.support import assert_same, read_all, shapes

PARTS = {
    "discriminator": "ElectraForPreTraining",
    "generator": "ElectraForMaskedLM",
    "joint": "ElectraForJointPreTraining",
}
SMALL = (61, 24, 128, 56, 2, 64, 36, 19)  # ELECTRA-small in little: embeddings narrower than both models
BASE = (61, 128, 128, 56, 2, 64, 36, 19)  # ELECTRA-base in little: only the generator projects its embeddings
NET = published.NET_CONFIG | {
    "block_size": "2_1x2_2", "vocab_size": 61, "d_embed": 28, "d_model": 28, "n_head": 4, "d_head": 6, "d_inner": 44
}  # fmt: skip


def needed(model, config):
    """Name → shape of our torch model of this configuration, which takes no memory."""
    module = importlib.import_module(f"models_torch.{model}")
    with torch.device("meta"):
        built = getattr(module, config["architectures"][0])(config_class(module).from_dict(config))
    return shapes(built.state_dict())


def assert_fits(model, config, found):
    """A checkpoint of these names and shapes fills our model, and nothing of it but training's own is left out."""
    plan = table(model, "tf", "torch", config).plan(found)
    check_state(plan.target_shapes, needed(model, config), model)
    return plan


def described_as(config, model, variant):
    """The configuration makes the same network as a variant of ours."""
    module = importlib.import_module(f"models_torch.{model}")
    kind = config_class(module)
    ours, theirs = (dataclasses.asdict(kind.from_dict(raw)) for raw in (module.VARIANTS[variant], config))
    other = r"generator|temperature|weight|label|problem|summary|pad|init|eps|mask"  # of pre-training, heads, or ours
    told = [key for key in ours if not re.search(other, key)]
    assert {key: theirs[key] for key in told} == {key: ours[key] for key in told}


@pytest.mark.parametrize("size", published.ELECTRA)
@pytest.mark.parametrize("part", PARTS)
def test_every_published_electra_fits(size, part):
    found = published.trained(published.electra(*published.ELECTRA[size])) | {"generator_predictions/temperature": ()}
    config = electra.derive(found, {}, part)
    assert config["architectures"] == [PARTS[part]]
    plan = assert_fits("electra", config, found)
    left = {name for name in plan.dropped if not re.search(r"/adam_[mv]$|^global_step$|temperature$", name)}
    other = {
        "discriminator": "generator",
        "generator": "discriminator|electra/e(ncoder|mbeddings_project)",
        "joint": "-",
    }
    assert left == {name for name in published.electra(*published.ELECTRA[size]) if re.match(other[part], name)}
    if part == "joint":
        assert config["generator_hidden_size"] == published.ELECTRA[size][5]
    else:
        described_as(config, "electra", {"discriminator": size, "generator": f"{size}-generator"}[part])


@pytest.mark.parametrize("size", published.FUNNEL)
@pytest.mark.parametrize("part", ["backbone", "encoder"])
def test_every_published_funnel_fits(size, part):
    net = published.FUNNEL[size]
    own = published.funnel(net)
    extra = {"generator/encoder/layer_0/ff/layer_1/kernel": (2, 3), "model/binary_proj/dense/bias": (net["d_model"],)}
    extra |= {"model/binary_loss/weight": (net["d_model"],), "model/binary_loss/bias": (1,)}
    found = published.trained(own | extra)
    config = funnel.derive(found, net, part)
    plan = assert_fits("funnel", config, found)
    decoder = {name for name in own if name.startswith("model/decoder/")} if part == "encoder" else set()
    assert {name for name in plan.dropped if name in own | extra} == decoder | set(extra)
    described_as(config, "funnel", size if part == "backbone" else f"{size}-base")
    assert funnel.derive(found, net, None)["architectures"] == ["FunnelModel"]


def bundle(folder, model, sizes, shards=1):
    """A small checkpoint as published, and its values."""
    found = published.electra(*sizes) if model == "electra" else published.funnel(sizes)
    state = published.arrays(published.trained(found))
    if model == "funnel":
        folder.mkdir(parents=True)
        (folder / "net_config.json").write_text(json.dumps(sizes))
    return published.write_bundle(folder, state, shards), state


def converted(source, model, folder, target="transformers", part=None):
    plan_transfer(open_checkpoint(source, part=part), model, target).run(folder)
    return folder


def loaded(name, folder):
    module, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    return module.eval()


def filled(module, state, rename):
    """`module` with the values that TensorFlow has under the names that `rename` makes of the module's."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            array = state[rename(name)]
            if rename(name).endswith("/kernel") and name != "r_kernel":
                array = array.reshape(parameter.shape[::-1]).T if parameter.ndim == 2 else array
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array.reshape(parameter.shape))))
    return module.eval()


def electra_name(part):
    """transformers' name → TensorFlow's, written down apart from our tables."""

    def rename(name):
        scope = "generator" if part == "generator" else "electra"
        name = re.sub(r"^electra\.(?!embeddings\.)", f"{scope}.", name).replace(
            "generator_lm_head.weight", "electra.embeddings.word_embeddings.weight"
        )
        name = name.replace("layer.", "layer_").replace("dense_prediction", "dense_1")
        name = name.replace("generator_lm_head.bias", "generator_predictions.output_bias").replace(".", "/")
        name = re.sub(r"LayerNorm/weight$", "LayerNorm/gamma", name)
        name = re.sub(r"LayerNorm/bias$", "LayerNorm/beta", name)
        return re.sub(r"/weight$", "" if "_embeddings/" in name else "/kernel", name)

    return rename


@pytest.mark.parametrize("sizes", [SMALL, BASE])
@pytest.mark.parametrize("part", ["discriminator", "generator"])
def test_transformers_computes_what_the_original_electra_does(tmp_path, sizes, part):
    folder, state = bundle(tmp_path / "tf", "electra", sizes, shards=2)
    module = loaded(PARTS[part], converted(folder, "electra", tmp_path / "hf", part=part))
    by_hand = filled(type(module)(module.config), state, electra_name(part))
    ids = torch.from_numpy(np.random.default_rng(1).integers(1, 61, (3, 17)))
    expected, actual = by_hand(ids).logits, module(ids).logits
    assert expected.std() > 0.01
    assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()


def funnel_name(name):
    """transformers' name → TensorFlow's, for block sizes 2, 1, 2."""
    name = re.sub(r"encoder\.blocks\.(\d)\.(\d)", lambda m: f"encoder.layer_{(0, 2, 3)[int(m[1])] + int(m[2])}", name)
    name = re.sub(r"decoder\.layers\.(\d)", lambda m: f"decoder.layer_{5 + int(m[1])}", name)
    for ours, theirs in {
        "attention.": "rel_attn.", "_head.": ".", "post_proj": "o", "ffn.linear": "ff.layer", "ffn.": "ff.",
        "r_kernel": "r.kernel", "embeddings.word_embeddings.weight": "input.word_embedding.lookup_table",
        "embeddings.": "input.", "layer_norm.weight": "layer_norm.gamma", "layer_norm.bias": "layer_norm.beta",
        ".weight": ".kernel", ".": "/",
    }.items():  # fmt: skip
        name = name.replace(ours, theirs)
    return f"model/{name}"


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")  # transformers' Funnel, in torch 2.13
@pytest.mark.parametrize(("part", "name"), [(None, "FunnelModel"), ("encoder", "FunnelBaseModel")])
def test_transformers_computes_what_the_original_funnel_does(tmp_path, part, name):
    folder, state = bundle(tmp_path / "tf", "funnel", NET, shards=2)
    module = loaded(name, converted(folder, "funnel", tmp_path / "hf", part=part))
    assert module.config.block_repeats == [1, 2, 1]
    by_hand = filled(type(module)(module.config), state, funnel_name)
    ids = torch.from_numpy(np.random.default_rng(1).integers(1, 61, (3, 18)))
    expected, actual = by_hand(ids).last_hidden_state, module(ids).last_hidden_state
    assert expected.std() > 0.01
    assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("model", "sizes", "part"), [("electra", SMALL, part) for part in PARTS] + [("funnel", NET, None)]
)
@pytest.mark.parametrize("between", ["torch", "paddle", "paddlenlp", "tf"])
def test_what_is_written_back_to_a_bundle_is_the_original_to_the_bit(tmp_path, model, sizes, part, between):
    folder, state = bundle(tmp_path / "tf", model, sizes)
    converted(folder, model, tmp_path / "between", between, part)
    again = converted(tmp_path / "between", model, tmp_path / "again", "tf")
    back = read_all(open_checkpoint(again))
    kept = plan_transfer(open_checkpoint(folder, part=part), model, "tf").tensors
    assert_same(back, {name: state[name] for name in kept})
    assert (
        json.loads((again / "config.json").read_text())["architectures"]
        == open_checkpoint(folder, part=part).config["architectures"]
    )


def test_both_parts_of_one_checkpoint_have_the_same_embeddings(tmp_path):
    folder, state = bundle(tmp_path / "tf", "electra", SMALL)
    words = "electra.embeddings.word_embeddings.weight"
    for part in ("discriminator", "generator"):
        found = open_checkpoint(converted(folder, "electra", tmp_path / part, "torch", part))
        assert (found.read(words) == state["electra/embeddings/word_embeddings"]).all()
    query = "electra.encoder.layer.1.attention.self.query.weight"
    assert (found.read(query) == state["generator/encoder/layer_1/attention/self/query/kernel"].T).all()
    assert (found.read("generator_lm_head.weight") == found.read(words)).all()


def refused(told, *arguments, **options):
    with pytest.raises(CheckpointError, match=told) as caught:
        open_checkpoint(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_the_part_of_an_electra_checkpoint_must_be_named_once(tmp_path):
    folder, _ = bundle(tmp_path / "tf", "electra", SMALL)
    refused("a discriminator and a generator: choose by --part discriminator, generator or joint", folder)
    refused("no part 'critic': its parts are discriminator, generator, joint", folder, part="critic")
    (folder / "config.json").write_text(json.dumps({"model_type": "electra", "vocab_size": 61}))
    assert open_checkpoint(folder, part="joint").config["architectures"] == [PARTS["joint"]]
    (folder / "config.json").write_text(json.dumps({"architectures": ["ElectraForMaskedLM"]}))
    assert open_checkpoint(folder).config == open_checkpoint(folder, part="generator").config
    refused("config.json says ElectraForMaskedLM, which is not the discriminator", folder, part="discriminator")
    torch_folder = converted(folder, "electra", tmp_path / "torch", "torch")
    refused("it is not of several parts; leave --part out", torch_folder, part="generator")


def test_the_only_part_of_a_checkpoint_needs_no_name(tmp_path):
    state = published.arrays(published.electra(*SMALL))
    only = {name: array for name, array in state.items() if not name.startswith("discriminator_predictions")}
    folder = published.write_bundle(tmp_path / "g", only)
    assert open_checkpoint(folder).config["hidden_size"] == 64
    refused("holds no discriminator", folder, part="joint")
    bare = {name: array for name, array in only.items() if not name.startswith("generator")}
    folder = published.write_bundle(tmp_path / "bare", bare)
    config = open_checkpoint(folder).config
    assert (config["architectures"], config["hidden_size"], config["num_attention_heads"]) == (["ElectraModel"], 128, 2)
    converted(folder, "electra", tmp_path / "torch", "torch")


def test_the_summary_says_what_was_derived_and_what_left_out(tmp_path, capsys):
    folder, _ = bundle(tmp_path / "tf", "electra", SMALL)
    arguments = [str(folder), str(tmp_path / "torch"), "--to", "torch"]
    assert main(arguments) == 2
    assert main([*arguments, "--part", "generator"]) == 0
    told = capsys.readouterr().out
    assert "derived config.json: model_type electra, architectures ['ElectraForMaskedLM'], vocab_size 61, " in told
    assert "hidden_size 64, num_hidden_layers 2, num_attention_heads 1, intermediate_size 36" in told
    assert "dropped electra/embeddings/LayerNorm/beta/adam_m and 87 more: a moment of the optimizer" in told
    assert main([str(tmp_path / "torch"), str(tmp_path / "back"), "--to", "tf"]) == 0
    assert "derived" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"d_embed": 30}, "asks for another network than ours: d_embed 30"),
        ({"decoder_size": "2x2"}, "decoder_size '2x2'"),
        ({"rel_attn_type": "null"}, "rel_attn_type 'null'"),
        ({"pooling_size": 3}, "pooling_size 3"),
        ({"block_size": 4}, r"cannot be derived \(AttributeError: .*; add a config\.json"),
        ({"block_size": "two"}, r"cannot be derived \(ValueError"),
        ({"d_head": None}, None),
    ],
)
def test_another_network_of_the_authors_code_is_refused(tmp_path, change, told):
    folder, _ = bundle(tmp_path / "tf", "funnel", NET)
    net = {key: value for key, value in (NET | change).items() if value is not None}
    (folder / "net_config.json").write_text(json.dumps(net))
    refused(told or r"cannot be derived \(KeyError: 'd_head'\)", folder)


def test_funnel_needs_its_own_configuration_file(tmp_path):
    folder, _ = bundle(tmp_path / "tf", "funnel", NET)
    (folder / "net_config.json").unlink()
    refused(r"has neither config\.json nor the authors' net_config\.json; add one of them", folder)


def test_a_funnel_without_a_decoder_is_an_encoder(tmp_path):
    folder, _ = bundle(tmp_path / "tf", "funnel", NET | {"decoder_size": "0"})
    assert open_checkpoint(folder).config["architectures"] == ["FunnelBaseModel"]
    refused("holds no decoder", folder, part="backbone")


def test_sizes_that_contradict_the_configuration_are_named(tmp_path):
    folder, _ = bundle(tmp_path / "tf", "funnel", NET)
    (folder / "net_config.json").write_text(json.dumps(NET | {"n_head": 6, "d_head": 4}))
    with pytest.raises(ValueError, match=r"wrong shape: model/encoder/layer_0/rel_attn/q/kernel .*with n_head 6"):
        plan_transfer(open_checkpoint(folder), "funnel", "torch")


def test_what_is_left_out_has_a_reason_and_nothing_else_is_left_out():
    found = published.trained(published.electra(*SMALL))
    config = electra.derive(found, {}, "discriminator")
    dropped = table("electra", "tf", "torch", config).plan(found).dropped
    assert dropped["generator/encoder/layer_0/output/dense/bias"] == "the generator, which --part generator takes"
    assert "optimizer" in dropped["electra/embeddings/word_embeddings/adam_v"]
    assert dropped["global_step"] == "how many steps the training had taken"
    for stray in ("electra/pooler/dense/kernel", "electra/encoder/layer_0/output/dense/adam_m_scale", "cls/bias"):
        with pytest.raises(MappingError, match=f"1 problem\n  unexpected: {stray}"):
            table("electra", "tf", "torch", config).plan(found | {stray: (3,)})


def test_layers_are_numbered_by_the_configuration_or_refused():
    config = {
        "block_sizes": [2, 1],
        "num_decoder_layers": 0,
        "n_head": 4,
        "d_head": 6,
        "architectures": ["FunnelModel"],
    }
    found = {f"model/encoder/layer_{number}/ff/layer_1/bias": (5,) for number in range(3)}
    plan = table("funnel", "tf", "torch", config).plan(found)
    places = [f"encoder.blocks.{place}.ffn.linear_1.bias" for place in ("0.0", "0.1", "1.0")]
    assert [step.target for step in plan.steps] == places
    for stray in ("model/encoder/layer_3/ff/layer_1/bias", "model/decoder/layer_3/ff/layer_1/bias"):
        with pytest.raises(MappingError, match=f"unexpected: {stray}"):
            table("funnel", "tf", "torch", config).plan(found | {stray: (5,)})
    with pytest.raises(ConvertError, match='does not say "block_sizes", by which this layout numbers its layers'):
        table("funnel", "torch", "tf", {"architectures": ["FunnelModel"]})


def test_a_layout_that_an_architecture_lacks_is_refused():
    with pytest.raises(ConvertError, match="electra has no bert4keras layout; it has torch, paddle, paddlenlp, "):
        table("electra", "torch", "bert4keras")
