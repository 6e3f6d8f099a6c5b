"""GAU-α's checkpoints: the public port's, PaddleNLP's, and the authors' TensorFlow bundle with bert4keras's names."""

import dataclasses
import json
import os
import warnings

import numpy as np
import paddle
import pytest
import torch

from convert import MappingError, check_state, load, open_checkpoint, save, table
from convert.__main__ import main
from convert.configs import from_ours, to_ours
from convert.layouts import gau_alpha
from models_torch import gau_alpha as torch_side
from tests.convert import published
from tests.convert.published_gau_alpha import BASE, SMALL
from tests.convert.published_gau_alpha import gau_alpha as tensors
from tests.convert.support import assert_same, build, read_all, shapes, tiny, torch_state
from tests.pairs import randomise
from tests.references.gau_alpha_formulae import hidden_states

HEADS = list(torch_side.TASKS.values())
MASKED_LM, BARE = "GAUAlphaForMaskedLM", "GAUAlphaModel"


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def run(source, destination, target, *options):
    assert main(["--model", "gau_alpha", str(source), str(destination), "--to", target, *options]) == 0


# --- which head ---


def test_the_decoder_is_due_where_the_architecture_says_so_and_nowhere_else():
    state = torch_state("gau_alpha", MASKED_LM)
    decoder, of = "cls.predictions.decoder.weight", "gau_alpha.embeddings.word_embeddings.weight"
    named = {"architectures": [MASKED_LM]}
    for absent in (decoder, of):
        part = {name: tensor.shape for name, tensor in state.items() if name != absent}
        whole = table("gau_alpha", "transformers", "torch", named).plan(part).target_shapes
        assert whole == shapes(state)
        theirs = table("gau_alpha", "torch", "paddlenlp", named).plan(part).target_shapes
        assert theirs["cls.decoder_weight"] == theirs[of]
    for config in ({}, {"architectures": ["GAUAlphaForTokenClassification"]}):
        found = shapes(torch_state("gau_alpha", "GAUAlphaForTokenClassification"))
        assert table("gau_alpha", "torch", "paddle", config).plan(found).target_shapes.keys() == found.keys()


def test_a_decoder_that_is_not_the_embeddings_is_refused():
    state = torch_state("gau_alpha", MASKED_LM)
    state["cls.predictions.decoder.weight"] = state["cls.predictions.decoder.weight"] + 1
    with pytest.raises(MappingError, match="are one tensor in this model"):
        list(table("gau_alpha", "torch", "paddle").plan(shapes(state)).convert(state.__getitem__))


# --- the public port ---


def test_the_port_s_folder_fills_our_models(tmp_path):
    """As its save_pretrained writes it: the published config.json, and no second name of a tied tensor."""
    model = randomise(build("torch", "gau_alpha", MASKED_LM))
    config = {key: value for key, value in tiny("gau_alpha").items() if key not in OURS_ALONE}
    config |= {"architectures": [MASKED_LM], "model_type": "gau_alpha", "transformers_version": "4.17.0"}
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("cls.")}
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert open_checkpoint(tmp_path).layout == "transformers"
    assert_same(numpy_state(load(torch_side.GAUAlphaForMaskedLM, tmp_path)), numpy_state(model))


OURS_ALONE = ("rotary_order", "dropout_before_norm", "initialization", "classifier_bias")


def numpy_state(module):
    return {name: np.asarray(tensor.detach()) for name, tensor in module.state_dict().items()}


# --- PaddleNLP ---


@pytest.fixture(scope="module")
def paddlenlp():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from paddlenlp.transformers.gau_alpha import modeling

        return modeling


@pytest.fixture
def reports(paddlenlp, monkeypatch):
    """The keys that PaddleNLP finds missing, unexpected or misshapen while it loads."""
    found, base = [], paddlenlp.PretrainedModel
    load_state = base._load_pretrained_model.__func__

    def recorded(cls, *arguments, **options):
        result = load_state(cls, *arguments, **options)
        found.append([list(keys) for keys in result[1:]])
        return result

    monkeypatch.setattr(base, "_load_pretrained_model", classmethod(recorded))
    return found


def first(outputs):
    return np.asarray(next(iter(outputs.values())).detach() if isinstance(outputs, dict) else outputs)


@pytest.mark.parametrize("number", range(len(HEADS)), ids=HEADS)
def test_paddlenlp_reads_what_we_write_and_we_read_what_it_writes(tmp_path, paddlenlp, reports, number):
    name, form = HEADS[number], ("pdparams", "safetensors")[number % 2]
    ours = randomise(build("torch", "gau_alpha", name, classifier_bias=False)).eval()
    save(ours, tmp_path / "torch", "transformers", config=tiny("gau_alpha") | {"classifier_bias": False})
    run(tmp_path / "torch", tmp_path / "nlp", "paddlenlp", "--format", form)
    theirs = getattr(paddlenlp, name).from_pretrained(str(tmp_path / "nlp"), num_choices=1)
    theirs.eval()
    assert reports == [[[], [], []]]
    ids = np.random.default_rng(1).integers(1, 211, (1, 1, 9) if "Choice" in name else (1, 9))
    expected, outputs = first(ours(torch.from_numpy(ids))), theirs(paddle.to_tensor(ids))
    actual = (outputs[0] if isinstance(outputs, tuple) else outputs).numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    theirs.save_pretrained(str(tmp_path / "resaved"), safe_serialization=form == "safetensors")
    resaved = open_checkpoint(tmp_path / "resaved")
    assert (resaved.layout, resaved.config["architectures"]) == ("paddlenlp", [name])
    back = load(getattr(torch_side, name), tmp_path / "resaved")
    assert_same(numpy_state(back), numpy_state(ours))
    run(tmp_path / "resaved", tmp_path / "back", "transformers")
    config = torch_side.GAUAlphaConfig.from_dict(json.loads((tmp_path / "back/config.json").read_text()))
    told = dataclasses.asdict(config) | {"rotary_order": "interleaved", "initialization": "bert4keras"}
    assert told == tiny("gau_alpha") | {"classifier_bias": False, "num_labels": told["num_labels"]}


def test_a_bias_that_paddlenlp_would_not_read_is_refused(tmp_path, capsys):
    ours = build("torch", "gau_alpha", "GAUAlphaForTokenClassification")
    save(ours, tmp_path / "torch", "transformers", config=tiny("gau_alpha"))
    assert main(["--model", "gau_alpha", str(tmp_path / "torch"), str(tmp_path / "nlp"), "--to", "paddlenlp"]) == 2
    assert "unexpected: classifier.bias" in capsys.readouterr().err
    found = shapes(torch_state("gau_alpha", "GAUAlphaForTokenClassification", use_bias=True))
    config = {"architectures": ["GAUAlphaForTokenClassification"], "use_bias": True}
    assert "classifier.bias" in table("gau_alpha", "torch", "paddlenlp", config).plan(found).target_shapes


def test_where_a_configuration_is_silent_each_library_has_its_own_defaults():
    theirs = to_ours("gau_alpha", "paddlenlp", {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 3})
    assert theirs == {
        "vocab_size": 30522,
        "intermediate_size": 3072,
        "num_hidden_layers": 3,
        "type_vocab_size": 16,
        "classifier_dropout": None,
        "classifier_bias": False,
    }
    config = {"activation": "relu", "norm_eps": 1e-6}
    assert to_ours("gau_alpha", "paddlenlp", config).items() >= {"hidden_act": "relu", "layer_norm_eps": 1e-6}.items()
    ours = from_ours("gau_alpha", "paddlenlp", {"hidden_act": "gelu", "vocab_size": 211})
    assert ours.items() >= {"activation": "gelu", "vocab_size": 211, "num_hidden_layers": 24}.items()
    default = torch_side.GAUAlphaConfig()
    assert all(ours == getattr(default, word) for word, (ours, _) in gau_alpha.DEFAULTS["paddlenlp"].items())


def test_paddlenlp_s_defaults_are_those_that_we_know(paddlenlp):
    theirs, ours = paddlenlp.GAUAlphaConfig(), torch_side.GAUAlphaConfig()
    known = dict(gau_alpha.DEFAULTS["paddlenlp"])
    for field in dataclasses.fields(ours):
        word = gau_alpha.OPTIONS["paddlenlp"].get(field.name, field.name)
        if hasattr(theirs, word) and field.name not in known:
            assert getattr(theirs, word) == getattr(ours, field.name), field.name
    assert all(getattr(theirs, word, value) == value for word, (_, value) in known.items())


# --- the authors' TensorFlow bundle ---


def test_the_published_checkpoint_fits_and_is_the_base_variant():
    found = published.trained(tensors(*BASE))
    config = gau_alpha.derive(found, {}, None)
    plan = table("gau_alpha", "bert4keras", "torch", config).plan(found)
    with torch.device("meta"):
        model = torch_side.GAUAlphaForMaskedLM(torch_side.GAUAlphaConfig.from_dict(config))
    check_state(plan.target_shapes, shapes(model.state_dict()), "gau_alpha")
    assert torch_side.GAUAlphaConfig.from_dict(config) == torch_side.GAUAlphaConfig(**torch_side.VARIANTS["base"])
    assert set(plan.dropped) == set(found) - set(tensors(*BASE))


def bundle(folder):
    """A small checkpoint as published, and its values."""
    state = published.arrays(published.trained(tensors(*SMALL)))
    return published.write_bundle(folder, state, shards=2), state


def port_name(name):
    """The port's name of a tensor that bert4keras calls `name`, written down apart from our table."""
    name = name.replace("bert/embeddings/", "embeddings.").replace("GAU_alpha/encoder/layer_", "encoder.layer.")
    for ending in ("/kernel", "/gamma"):
        name = name.replace(ending, ".weight")
    return name.replace("/", ".") + (".weight" if "embeddings" in name else "")


def test_our_models_compute_what_the_original_does(tmp_path):
    folder, state = bundle(tmp_path / "tf")
    assert open_checkpoint(folder).layout == "bert4keras"
    config = open_checkpoint(folder).config
    assert (config["architectures"], config["num_hidden_layers"]) == ([MASKED_LM], 2)
    run(folder, tmp_path / "hf", "transformers")
    model = load(torch_side.GAUAlphaForMaskedLM, tmp_path / "hf")
    by_hand = {port_name(name): state[name].T if name.endswith("kernel") else state[name] for name in tensors(*SMALL)}
    ids = np.random.default_rng(1).integers(1, 61, (2, 11))
    hidden = hidden_states(by_hand, torch_side.GAUAlphaConfig.from_dict(config), ids)
    expected = hidden @ by_hand["embeddings.word_embeddings.weight"].astype(np.float64).T
    actual = model(torch.from_numpy(ids))["logits"].detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("part", ["masked_lm", "backbone"])
@pytest.mark.parametrize("between", ["torch", "paddle", "paddlenlp"])
def test_what_is_written_back_to_a_bundle_is_the_original_to_the_bit(tmp_path, between, part):
    folder, state = bundle(tmp_path / "tf")
    run(folder, tmp_path / "between", between, "--part", part)
    run(tmp_path / "between", tmp_path / "again", "bert4keras")
    again = open_checkpoint(tmp_path / "again")
    assert again.layout == "bert4keras"
    assert again.config["architectures"] == [{"masked_lm": MASKED_LM, "backbone": BARE}[part]]
    assert_same(read_all(again), {name: state[name] for name in tensors(*SMALL)})


def test_biases_of_the_units_have_their_names_too():
    found = shapes(torch_state("gau_alpha", BARE, use_bias=True))
    there = table("gau_alpha", "torch", "bert4keras", {"architectures": [BARE]}).plan(found).target_shapes
    layer = "GAU_alpha/encoder/layer_1/gau"
    assert (there[f"{layer}/i_dense/bias"], there[f"{layer}/k_scaleoffset/beta"]) == ((176,), (64,))
    assert gau_alpha.derive(there, {}, "backbone")["use_bias"] is True
