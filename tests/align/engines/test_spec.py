"""What a specification means for the names of a model, and what it refuses."""

import re

import pytest

from align.engines.spec import PRESETS, OptimizerSpec, decays, depths, groups, preset, single
from align.errors import CannotCompareError

ADAMW = PRESETS["adamw"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoder.layer.0.attention.self.query.weight", True),
        ("embeddings.word_embeddings.weight", True),
        ("encoder.layer.0.attention.self.query.bias", False),
        ("encoder.layer.0.output.LayerNorm.weight", False),
        ("encoder.layer.0.layer_norm.weight", False),
        ("encoder.norm1.weight", False),
        ("encoder.blocks.0.0.attention.r_w_bias", False),
        ("encoder.layers.3.gamma", True),
    ],
)
def test_what_decays_goes_by_names_whatever_the_case(name, expected):
    assert decays(ADAMW, name) is expected


def test_depths_of_electra():
    names = [
        "discriminator_predictions.dense.weight",
        "electra.embeddings.LayerNorm.weight",
        "electra.embeddings_project.weight",
        *(f"electra.encoder.layer.{n}.output.dense.weight" for n in (10, 2, 0, 1)),
        "classifier.out_proj.bias",
    ]
    assert depths(names) == dict(zip(names, [5, 0, 0, 4, 3, 1, 2, 5], strict=True))


def test_depths_of_both_fastformers():
    """The authors' layers are `encoders.N`, and neither calls its tables `embeddings` alone."""
    names = ["fastformer_model.encoders.1.attention.self.query.bias", "word_embedding.weight", "token_emb.weight"]
    names += ["fastformer_model.position_embeddings.weight", "fastformer_model.encoders.0.output.dense.weight"]
    names += ["classifier.weight"]
    assert list(depths(names).values()) == [2, 0, 0, 0, 1, 3]


def test_depths_of_funnel_go_from_stack_to_stack():
    names = [
        "funnel.embeddings.word_embeddings.weight",
        *(f"funnel.encoder.blocks.{b}.{n}.ffn.linear_1.weight" for b in (0, 1) for n in (0, 1)),
        "funnel.decoder.layers.0.ffn.linear_1.weight",
        "lm_head.weight",
    ]
    assert list(depths(names).values()) == [0, 1, 2, 3, 4, 5, 6]


def test_numbers_that_count_no_layers_belong_to_the_head():
    assert depths(["embeddings.weight", "layers.0.weight", "classifier.2.weight"]) == {
        "embeddings.weight": 0,
        "layers.0.weight": 1,
        "classifier.2.weight": 2,
    }


def test_groups_share_factor_and_decay():
    spec = OptimizerSpec("adamw", 1e-3, weight_decay=0.5, layer_decay=0.5)
    names = ["embeddings.weight", "layers.0.weight", "layers.0.bias", "head.weight", "head.norm.weight"]
    found = groups(spec, names)
    assert [(g.names, g.factor, g.weight_decay) for g in found] == [
        (("embeddings.weight",), 0.25, 0.5),
        (("layers.0.weight",), 0.5, 0.5),
        (("layers.0.bias",), 0.5, 0.0),
        (("head.weight",), 1.0, 0.5),
        (("head.norm.weight",), 1.0, 0.0),
    ]
    plain = groups(PRESETS["sgd"], names)
    assert [group.factor for group in plain] == [1.0, 1.0]


def test_hyper_parameters_are_float32_numbers():
    spec = OptimizerSpec("adamw", 0.1, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, clip_norm=0.3)
    assert (spec.lr, spec.betas, spec.eps) == (single(0.1), (single(0.9), single(0.98)), single(1e-6))
    assert (spec.weight_decay, spec.clip_norm) == (single(0.01), single(0.3))
    assert spec.lr != 0.1


@pytest.mark.parametrize("name", PRESETS)
def test_a_specification_survives_json(name):
    assert OptimizerSpec(**PRESETS[name].as_json()) == PRESETS[name]


def test_what_is_unknown_is_refused():
    with pytest.raises(CannotCompareError, match=re.escape("unknown optimizer 'adamv': did you mean 'adam'?")):
        preset("adamv")
    with pytest.raises(CannotCompareError, match="choose from sgd, momentum"):
        preset("xyz")
    with pytest.raises(ValueError, match="unknown algorithm"):
        OptimizerSpec("lion", 1e-3)
    with pytest.raises(ValueError, match="without bias correction"):
        OptimizerSpec("adam", 1e-3, bias_correction=False)
