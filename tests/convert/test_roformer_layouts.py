"""Checkpoints of both RoFormers: the authors' bundles, PaddleNLP's, the public port's, and what is refused."""

import dataclasses
import json
import os
import re
import warnings

import numpy as np
import paddle
import pytest
import torch

from convert import ConvertError, check_state, load, open_checkpoint, save, table
from convert.__main__ import main
from convert.configs import from_ours, to_ours
from convert.layouts import names, roformer, roformer_v2
from convert.originals import derived_config
from models_torch import roformer as first
from models_torch import roformer_v2 as second
from tests.convert import published
from tests.convert import published_roformer as tensors
from tests.convert.support import assert_same, build, read_all, shapes, tiny
from tests.pairs import randomise

PUBLISHED = [
    *((first, roformer, name, tensors.roformer(*sizes)) for name, sizes in tensors.FIRST.items()),
    *((first, roformer, name, tensors.roformer(*sizes, pooler=True)) for name, sizes in tensors.SIM.items()),
    *((second, roformer_v2, name, tensors.roformer_v2(*sizes)) for name, sizes in tensors.SECOND.items()),
]
LITTLE = {
    "roformer": tensors.roformer(61, 64, 128, 28, 2, pooler=True),
    "roformer_v2": tensors.roformer_v2(61, 128, 28, 2),
}
LAYOUT = {"roformer": "tf", "roformer_v2": "bert4keras"}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def run(model, source, destination, target, *options):
    assert main(["--model", model, str(source), str(destination), "--to", target, *options]) == 0


def numpy_state(module):
    return {name: np.asarray(tensor.detach()) for name, tensor in module.state_dict().items()}


def config_class(side):
    return next(value for name, value in vars(side).items() if name.endswith("Config"))


# --- the authors' TensorFlow bundles ---


@pytest.mark.parametrize(("side", "layout", "variant", "found"), PUBLISHED, ids=[case[2] for case in PUBLISHED])
def test_every_published_checkpoint_is_told_from_others_and_fits_its_variant(tmp_path, side, layout, variant, found):
    found = published.trained(found)
    config = derived_config(tmp_path, found, None, names())
    model = config["model_type"]
    assert side.__name__.endswith(model)
    plan = table(model, LAYOUT[model], "torch", config).plan(found)
    with torch.device("meta"):
        built = getattr(side, config["architectures"][0])(config_class(side).from_dict(config))
    check_state(plan.target_shapes, shapes(built.state_dict()), variant)
    assert all(re.search("adam_[mv]$|^global_step$", name) for name in plan.dropped)
    ours, read = config_class(side)(**side.VARIANTS[variant]), config_class(side).from_dict(config)
    same = {"max_position_embeddings": 512, "embedding_size": None} if side is first else {}
    assert dataclasses.replace(read, **same) == dataclasses.replace(ours, **same)


def bundle(folder, model):
    state = published.arrays(published.trained(LITTLE[model]))
    return published.write_bundle(folder, state, shards=2), state


def theirs(name):
    """bert4keras's name of one of our tensors, written down apart from our tables."""
    name = name.removeprefix("roformer.").replace("layer.", "layer_").replace("_embeddings.weight", "_embeddings")
    name = name.replace("embeddings_project", "encoder.embedding_hidden_mapping_in")
    name = re.sub(r"LayerNorm\.(weight|bias)$", lambda m: f"LayerNorm.{'gamma' if m[1] == 'weight' else 'beta'}", name)
    name = name.replace("cls.predictions.decoder.weight", "embeddings.word_embeddings").replace(".weight", ".kernel")
    name = re.sub(r"cls\.predictions\.(decoder\.)?bias$", "cls.predictions.output_bias", name).replace(".", "/")
    return name if name.startswith("cls/") else f"bert/{name}"


@pytest.mark.parametrize("part", ["masked_lm", "backbone"])
@pytest.mark.parametrize("model", LITTLE)
def test_our_models_hold_what_the_bundle_does_and_a_bundle_is_written_back_to_the_bit(tmp_path, model, part):
    folder, state = bundle(tmp_path / "tf", model)
    assert open_checkpoint(folder).layout == LAYOUT[model]
    run(model, folder, tmp_path / "torch", "torch", "--part", part)
    side = {"roformer": first, "roformer_v2": second}[model]
    module = load(getattr(side, side.TASKS[part]), tmp_path / "torch")
    for name, array in numpy_state(module).items():
        expected = state[theirs(name)]
        assert np.array_equal(array.T if theirs(name).endswith("kernel") else array, expected), name
    for between in ("paddle", "paddlenlp"):
        run(model, tmp_path / "torch", tmp_path / between, between)
        run(model, tmp_path / between, tmp_path / f"{between}-tf", LAYOUT[model])
        held = {name for name in LITTLE[model] if part == "masked_lm" or not name.startswith("cls/")}
        assert_same(read_all(open_checkpoint(tmp_path / f"{between}-tf")), {name: state[name] for name in held})


def test_a_bundle_without_a_head_is_a_backbone(tmp_path):
    bare = {name: shape for name, shape in LITTLE["roformer"].items() if not name.startswith("cls/")}
    assert roformer.derive(bare, {}, None)["architectures"] == ["RoFormerModel"]
    with pytest.raises(ConvertError, match="holds no head that predicts words; --part backbone"):
        roformer.derive(bare, {}, "masked_lm")


# --- PaddleNLP: RoFormerV2 (RoFormer is in test_references) ---


@pytest.fixture(scope="module")
def paddlenlp():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from paddlenlp.transformers.roformerv2 import modeling

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


HEADS = list(second.TASKS.values())


@pytest.mark.parametrize("number", range(len(HEADS)), ids=HEADS)
def test_paddlenlp_reads_what_we_write_and_we_read_what_it_writes(tmp_path, paddlenlp, reports, number):
    name, form = HEADS[number], ("pdparams", "safetensors")[number % 2]
    ours = randomise(build("torch", "roformer_v2", name)).eval()
    save(ours, tmp_path / "torch", "torch", config=tiny("roformer_v2"))
    run("roformer_v2", tmp_path / "torch", tmp_path / "nlp", "paddlenlp", "--format", form)
    written = json.loads((tmp_path / "nlp/config.json").read_text())
    assert (written["model_type"], written["architectures"]) == ("roformerv2", [name.replace("V2", "v2")])
    loaded = getattr(paddlenlp, name.replace("V2", "v2")).from_pretrained(str(tmp_path / "nlp"), num_choices=1)
    loaded.eval()
    assert reports == [[[], [], []]]
    ids = np.random.default_rng(1).integers(1, 211, (1, 1, 9) if "Choice" in name else (1, 9))
    expected = next(iter(ours(torch.from_numpy(ids)).values())).detach().numpy()
    outputs = loaded(paddle.to_tensor(ids))
    actual = (outputs[0] if isinstance(outputs, tuple) else outputs).numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    loaded.save_pretrained(str(tmp_path / "resaved"), safe_serialization=form == "safetensors")
    assert main([str(tmp_path / "resaved"), str(tmp_path / "back"), "--to", "torch"]) == 0  # its model_type tells
    assert_same(numpy_state(load(getattr(second, name), tmp_path / "back")), numpy_state(ours))


# --- the public port ---


def test_the_port_s_folder_fills_our_model_and_is_written_back(tmp_path):
    config = tiny("roformer_v2") | {"classifier_hidden": True, "classifier_bias": True}
    model = randomise(build("torch", "roformer_v2", "RoFormerV2ForSequenceClassification", **config))
    held = {name: value for name, value in config.items() if not name.startswith(("classifier", "dropout_before"))}
    held |= {"model_type": "roformer", "norm_type": "rms_norm", "embedding_size": 40, "pooler_activation": "tanh"}
    held |= {"architectures": ["RoFormerForSequenceClassification"]}
    (tmp_path / "port").mkdir()
    table_of_positions = {"roformer.encoder.embed_positions.weight": torch.zeros(48, 10)}
    torch.save(model.state_dict() | table_of_positions, tmp_path / "port/pytorch_model.bin")
    (tmp_path / "port/config.json").write_text(json.dumps(held))
    options = {"classifier_hidden": True, "classifier_bias": True}
    ours = load(second.RoFormerV2ForSequenceClassification, tmp_path / "port", config=options)
    assert_same(numpy_state(ours), numpy_state(model))
    save(ours, tmp_path / "back", "transformers", config=config)
    written = json.loads((tmp_path / "back/config.json").read_text())
    assert (written["model_type"], written["norm_type"]) == ("roformer", "rms_norm")
    assert written["architectures"] == ["RoFormerForSequenceClassification"]
    assert_same(read_all(open_checkpoint(tmp_path / "back")), numpy_state(model))


# --- heads that one library lacks ---

SEQUENCE, CHOICE = "RoFormerForSequenceClassification", "RoFormerForMultipleChoice"


def test_the_pooler_s_activation_is_put_into_the_words_of_each_library():
    ours = {"architectures": [SEQUENCE], "hidden_act": "relu"}
    theirs = from_ours("roformer", "paddlenlp", ours)
    assert theirs["pool_act"] == "relu"
    assert from_ours("roformer", "transformers", to_ours("roformer", "paddlenlp", theirs)).items() >= ours.items()
    summary = {"summary_type": "first", "summary_use_proj": True, "summary_activation": None}
    for dropout in ({"summary_last_dropout": 0.3}, {}):
        theirs = from_ours("roformer", "paddlenlp", {"architectures": [CHOICE], **summary, **dropout})
        assert theirs["pool_act"] == "linear"
        back = from_ours("roformer", "transformers", to_ours("roformer", "paddlenlp", theirs))
        assert back.items() >= (summary | {"summary_last_dropout": 0.0} | dropout).items()
    assert to_ours("roformer", "paddlenlp", {})["pool_act"] == "tanh"


def test_a_head_that_the_other_library_does_not_have_is_refused():
    with pytest.raises(ConvertError, match='"pool_act": "tanh"; there is no such model in transformers'):
        from_ours("roformer", "transformers", to_ours("roformer", "paddlenlp", {"architectures": [SEQUENCE]}))
    with pytest.raises(ConvertError, match=r'"summary_type": "last", .*; there is no such model in PaddleNLP'):
        from_ours("roformer", "paddlenlp", {"architectures": [CHOICE]})
