"""Weights at trained scale, and their saturated form."""

import numpy as np
import pytest

import fake_data
from fake_data import WeightError
from fake_data.spec import find_spec
from fake_data.weights import find_rules
from tests.fake_data.cases import SHAPES, digest, weights

PINNED = {
    "electra": "60ac918e677e0ad868a1b6bec3ebbe8e19e207d3a8598d3678f21b34e11019b8",
    "funnel": "540dad4867a051992f7e26e8db3abac601163885b702e948d8c5792b90d30310",
}
MODELS = sorted(SHAPES)


@pytest.mark.parametrize("model", MODELS)
def test_bytes_are_pinned(model):
    assert digest(weights(model)) == PINNED[model]


@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_is_generic(model):
    for name, array in weights(model).items():
        assert array.dtype == np.float32
        assert array.shape == SHAPES[model][name]
        assert (array != 0).mean() > 0.99, name
        if "norm.weight" in name.lower():
            assert 0.6 < array.min() < 0.95 < 1.05 < array.max() < 1.4, name
        elif array.ndim == 1 and array.size > 20:
            assert 0.05 < array.std() < 0.2, name


@pytest.mark.parametrize("model", MODELS)
def test_embedding_rows_differ_and_none_is_zero(model):
    for name, array in weights(model).items():
        if "embeddings.weight" in name:
            assert len(np.unique(array, axis=0)) == len(array)
            assert np.linalg.norm(array, axis=1).min() > 0.2 * np.linalg.norm(array, axis=1).max()


@pytest.mark.parametrize("model", MODELS)
def test_a_tensor_depends_on_its_name_and_the_seed_only(model):
    shapes = dict(reversed(SHAPES[model].items()))
    turned = dict(fake_data.make_weights(model, shapes))
    for name, array in weights(model).items():
        assert np.array_equal(array, turned[name])
    assert digest(weights(model, seed=1)) != digest(turned)
    assert len({array.tobytes() for array in turned.values()}) == len(turned)


@pytest.mark.parametrize("model", MODELS)
def test_every_rule_is_needed(model):
    used = set(find_rules(model, SHAPES[model]).values())
    assert [rule for rule in find_spec(model).weights if rule not in used] == []


@pytest.mark.parametrize("model", MODELS)
def test_unmatched_names_are_all_listed_before_anything_is_made(model):
    shapes = {**SHAPES[model], "pooler.dense_act": (3,), "electra.encoder.layer.0.attention.self.kye.weight": (2, 3)}
    with pytest.raises(WeightError, match=r"pooler\.dense_act, electra\.encoder.*kye\.weight.*fake_data/") as error:
        fake_data.make_weights(model, shapes)
    assert "\n" not in str(error.value)


def test_weights_are_drawn_one_at_a_time():
    drawn = fake_data.make_weights("electra", {"qa_outputs.bias": (2,), "qa_outputs.weight": (2, 10**12)})
    assert next(drawn)[0] == "qa_outputs.bias"  # the second would not fit anywhere


SATURATED = {
    "electra": {
        "electra.encoder.layer.0.attention.self.query.weight",
        "electra.encoder.layer.0.attention.self.query.bias",
        "generator.electra.encoder.layer.1.attention.self.query.weight",
        "generator_predictions.LayerNorm.weight",
        "generator_predictions.LayerNorm.bias",
        "discriminator_predictions.dense_prediction.weight",
        "classifier.out_proj.weight",
        "classifier.weight",
        "qa_outputs.weight",
    },
    "funnel": {
        "funnel.embeddings.word_embeddings.weight",
        "lm_head.weight",
        "funnel.encoder.blocks.0.1.attention.q_head.weight",
        "funnel.decoder.layers.0.attention.q_head.weight",
        "discriminator_predictions.dense_prediction.weight",
        "classifier.linear_out.weight",
        "classifier.weight",
        "qa_outputs.weight",
    },
}


@pytest.mark.parametrize("model", MODELS)
def test_saturation_changes_these_tensors_by_a_power_of_two(model):
    for name, array in weights(model).items():
        other = fake_data.saturate(model, name, array)
        factors = [factor for factor in (1, 16, 32, 64) if np.array_equal(other, array.astype(np.float64) * factor)]
        assert other.dtype == np.float32
        assert len(factors) == 1
        assert (factors[0] > 1) == (name in SATURATED[model]), name


def test_saturation_keeps_float64_and_refuses_unknown_names():
    assert fake_data.saturate("electra", "qa_outputs.weight", np.ones(3)).tolist() == [64.0] * 3
    with pytest.raises(WeightError, match="no weight rule for what"):
        fake_data.saturate("electra", "what", np.ones(3))
