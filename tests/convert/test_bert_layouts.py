"""BERT's checkpoints as they were published: the authors' bundles, old names, pre-training heads under any config."""

import json
import os

import numpy as np
import pytest
import torch
import transformers

from align.__main__ import main as align
from convert import MappingError, convert_state, load, open_checkpoint, table
from convert.configs import from_ours, to_ours
from convert.transfer import plan_transfer
from models_torch import bert
from tests.convert import published
from tests.convert.support import assert_same, read_all, torch_state, write_folder
from tests.convert.test_originals import assert_fits, described_as


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


TINY = (61, 20, 28, 2, 19)
PUBLISHED = {  # vocabulary, hidden, inner, layers, positions, by the variant that has them
    "base": (30522, 768, 3072, 12, 512),
    "large": (30522, 1024, 4096, 24, 512),
    "base-chinese": (21128, 768, 3072, 12, 512),
    "zh-wwm-ext-large": (21128, 1024, 4096, 24, 512),
    "L2-H128": (30522, 128, 512, 2, 512),
    "L8-H512": (30522, 512, 2048, 8, 512),
}
CONFIG = {  # bert_config.json of chinese_L-12_H-768_A-12, in little
    "attention_probs_dropout_prob": 0.1,
    "directionality": "bidi",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 20,
    "initializer_range": 0.02,
    "intermediate_size": 28,
    "max_position_embeddings": 19,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12,
    "pooler_num_fc_layers": 3,
    "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform",
    "type_vocab_size": 2,
    "vocab_size": 61,
}
HEADS = {
    "BertForPreTraining": ("cls/predictions", "cls/seq_relationship"),
    "BertForMaskedLM": ("cls/predictions",),
    "BertForSequenceClassification": ("output_",),
    "BertForQuestionAnswering": ("cls/squad",),
    "BertModel": (),
}


def shapes_of(words, hidden, inner, layers, positions, heads=("cls/predictions", "cls/seq_relationship"), classes=3):
    """Name → shape of one checkpoint, by modeling.py, run_pretraining.py, run_classifier.py and run_squad.py."""
    tables = {"word": words, "position": positions, "token_type": 2}
    shapes = {f"bert/embeddings/{kind}_embeddings": (count, hidden) for kind, count in tables.items()}
    shapes |= published.norm("bert/embeddings/LayerNorm", hidden) | published.dense("bert/pooler/dense", hidden, hidden)
    for layer in (f"bert/encoder/layer_{number}" for number in range(layers)):
        for part in ("query", "key", "value"):
            shapes |= published.dense(f"{layer}/attention/self/{part}", hidden, hidden)
        shapes |= published.dense(f"{layer}/attention/output/dense", hidden, hidden)
        shapes |= published.norm(f"{layer}/attention/output/LayerNorm", hidden)
        shapes |= published.dense(f"{layer}/intermediate/dense", hidden, inner)
        shapes |= published.dense(f"{layer}/output/dense", inner, hidden) | published.norm(
            f"{layer}/output/LayerNorm", hidden
        )
    head = {
        "cls/predictions/output_bias": (words,),
        **published.dense("cls/predictions/transform/dense", hidden, hidden),
        **published.norm("cls/predictions/transform/LayerNorm", hidden),
        "cls/seq_relationship/output_weights": (2, hidden),
        "cls/seq_relationship/output_bias": (2,),
        "output_weights": (classes, hidden),
        "output_bias": (classes,),
        "cls/squad/output_weights": (2, hidden),
        "cls/squad/output_bias": (2,),
    }
    return shapes | {name: shape for name, shape in head.items() if name.startswith(tuple(heads))}


def bundle(folder, heads=("cls/predictions", "cls/seq_relationship"), config=CONFIG):
    state = published.arrays(published.trained(shapes_of(*TINY, heads)))
    folder.mkdir(parents=True)
    if config:
        (folder / "bert_config.json").write_text(json.dumps(config))
    return published.write_bundle(folder, state, shards=2), state


@pytest.mark.parametrize("variant", PUBLISHED)
def test_every_published_bert_fits(variant):
    from convert.layouts.bert import derive

    found = published.trained(shapes_of(*PUBLISHED[variant]))
    config = derive(found, {}, None)
    assert config["architectures"] == ["BertForPreTraining"]
    plan = assert_fits("bert", config, found)
    assert all(name.endswith(("/adam_m", "/adam_v")) or name == "global_step" for name in plan.dropped)
    described_as(config, "bert", variant)


@pytest.mark.parametrize("name", HEADS)
def test_the_model_of_a_bundle_is_found_and_written_back_to_the_bit(tmp_path, name):
    folder, state = bundle(tmp_path / "tf", HEADS[name])
    source = open_checkpoint(folder)
    assert (source.layout, source.config["architectures"]) == ("tf", [name])
    assert source.config["num_attention_heads"] == 4
    if name == "BertForSequenceClassification":
        assert source.config["num_labels"] == 3
    model = load(getattr(bert, name), folder)  # SPARE: the pooler, where this head has none
    assert isinstance(model, getattr(bert, name))
    for between in ("torch", "paddle", "paddlenlp", "transformers"):
        plan_transfer(source, "bert", between).run(tmp_path / between)
        plan_transfer(open_checkpoint(tmp_path / between), "bert", "tf").run(tmp_path / f"{between}-back")
        back = read_all(open_checkpoint(tmp_path / f"{between}-back"))
        assert_same(back, {key: array for key, array in state.items() if "/adam_" not in key and key != "global_step"})


def test_without_a_bert_config_heads_are_of_64(tmp_path):
    sizes = (61, 128, 28, 2, 19)
    folder = published.write_bundle(tmp_path / "tf", published.arrays(shapes_of(*sizes)))
    assert open_checkpoint(folder).config["num_attention_heads"] == 2


def test_transformers_computes_what_the_original_does(tmp_path):
    folder, state = bundle(tmp_path / "tf")
    plan_transfer(open_checkpoint(folder), "bert", "transformers").run(tmp_path / "hf")
    module, report = transformers.BertForPreTraining.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    by_hand = transformers.BertForPreTraining(module.config).eval()
    with torch.no_grad():
        for name, parameter in by_hand.named_parameters():
            parameter.copy_(torch.from_numpy(_of_tf(state, name)))
    ids = torch.from_numpy(np.random.default_rng(1).integers(1, 61, (3, 17)))
    for expected, actual in zip(by_hand(ids).to_tuple(), module.eval()(ids).to_tuple(), strict=True):
        assert expected.std() > 0.01
        assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()


def _of_tf(state, name):
    """The value of transformers' parameter in the authors' checkpoint, written down apart from our tables."""
    name = name.replace("cls.predictions.bias", "cls.predictions.output_bias").replace("layer.", "layer_")
    if name.startswith("cls.seq_relationship."):
        return state[
            name.replace("relationship.", "relationship/output_").replace("weight", "weights").replace(".", "/")
        ]
    for ours, theirs in {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}.items():
        name = name.replace(ours, theirs)
    name = name.replace(".", "/")
    if "_embeddings/" in name:
        return state[name.removesuffix("/weight")]
    return np.ascontiguousarray(state[name.replace("weight", "kernel")].T) if name.endswith("weight") else state[name]


# --- transformers' older checkpoints ---


def _older(state):
    """As bert-base-uncased was converted in 2018: other names in norms, no second name of a tied tensor."""
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in state.items()
        if "decoder" not in name
    }


@pytest.fixture
def uncased(tmp_path):
    """A checkpoint like bert-base-uncased: all of pre-training, but config.json names the masked language model."""
    state = torch_state("bert", "BertForPreTraining")
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"], **bert.VARIANTS["tiny"]}
    return write_folder(tmp_path / "uncased", _older(state), config, {"format": "pt"}), state


def test_names_of_the_past_are_read_and_never_written(uncased, tmp_path):
    folder, state = uncased
    plan_transfer(open_checkpoint(folder), "bert", "transformers").run(tmp_path / "new")
    assert_same(read_all(open_checkpoint(tmp_path / "new")), state)
    norm = "bert.embeddings.LayerNorm.weight"
    both = {name: array.shape for name, array in state.items()} | {norm.replace("weight", "gamma"): (40,)}
    with pytest.raises(MappingError, match=f"doubly filled: {norm}, from "):
        table("bert", "transformers", "paddle").plan(both)
    with pytest.raises(MappingError, match=r"unexpected: bert\.embeddings\.LayerNorm\.gamma"):
        table("bert", "torch", "paddle").plan(both)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForNextSentencePrediction", "BertForPreTraining"])
def test_every_head_of_pretraining_loads_strictly(uncased, name):
    folder, state = uncased
    loaded = load(getattr(bert, name), folder).state_dict()
    assert_same({key: value.numpy() for key, value in loaded.items()}, {key: state[key] for key in loaded})


@pytest.mark.parametrize("task", [(), ("--task", "next_sentence")])
def test_align_reads_it_straight(uncased, task):
    assert align(["step1", "--model", "bert", "--checkpoint", str(uncased[0]), "--in-process", "--quiet", *task]) == 0


def test_nothing_of_pretraining_is_lost_on_the_way(uncased, tmp_path):
    folder, state = uncased
    plan_transfer(open_checkpoint(folder), "bert", "paddlenlp").run(tmp_path / "nlp")
    found = read_all(open_checkpoint(tmp_path / "nlp"))
    config = {"architectures": ["BertForPreTraining"]}
    assert_same(found, convert_state(state, "bert", "torch", "paddlenlp", config))


def test_a_classifier_takes_the_pooler_if_there_is_one(uncased, tmp_path):
    folder, state = uncased
    with pytest.raises(MappingError, match=r"2 problems\n  missing: classifier\.weight"):
        load(bert.BertForSequenceClassification, folder)
    with pytest.warns(UserWarning, match="as initialised: classifier; .* not used: cls.predictions, cls.seq_rel"):
        found = load(bert.BertForSequenceClassification, folder, strict=False).state_dict()
    assert (found["bert.pooler.dense.weight"].numpy() == state["bert.pooler.dense.weight"]).all()
    without = {name: array for name, array in state.items() if "pooler" not in name and "seq_rel" not in name}
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"], **bert.VARIANTS["tiny"]}
    write_folder(tmp_path / "mlm", without, config, {"format": "pt"})
    with pytest.warns(UserWarning, match="as initialised: bert.pooler, classifier; .* not used: cls.predictions"):
        load(bert.BertForSequenceClassification, tmp_path / "mlm", strict=False)


def test_paddlenlp_has_sixteen_token_types_unless_told():
    assert from_ours("bert", "paddlenlp", {"hidden_size": 8}) == {"type_vocab_size": 2, "hidden_size": 8}
    assert to_ours("bert", "paddlenlp", {"hidden_size": 8}) == {"type_vocab_size": 16, "hidden_size": 8}
    assert to_ours("bert", "paddlenlp", {"type_vocab_size": 2}) == {"type_vocab_size": 2}
