"""config.json in each library's words."""

import pytest

from convert.configs import from_ours, to_ours, told_by_tensors
from convert.layouts import names


def test_electra_in_paddlenlp_s_words_and_back():
    ours = {"architectures": ["ElectraForMaskedLM"], "discriminator_weight": 20.0, "hidden_size": 8}
    theirs = {"architectures": ["ElectraGenerator"], "disc_weight": 20.0, "hidden_size": 8}
    assert from_ours("electra", "paddlenlp", ours) == theirs
    assert to_ours("electra", "paddlenlp", theirs) == ours


def test_what_only_paddlenlp_says_is_left_behind_or_renamed():
    theirs = {"paddlenlp_version": None, "num_choices": 2, "num_classes": 3, "dropout": 0.2, "d_model": 8}
    assert to_ours("funnel", "paddlenlp", theirs) == {"num_labels": 3, "classifier_dropout": 0.2, "d_model": 8}


@pytest.mark.parametrize("layout", ["torch", "paddle", "transformers", "tf"])
@pytest.mark.parametrize("model", names())
def test_all_others_have_our_words(model, layout):
    config = {"architectures": ["Any"], "num_classes": 3, "paddlenlp_version": "2.8"}
    assert to_ours(model, layout, config) == from_ours(model, layout, config) == config


def test_a_module_that_paddlenlp_makes_by_itself_is_there_only_if_the_file_holds_it():
    with_it, without = ("roformer.pooler.dense.weight", "x"), ("x",)
    assert told_by_tensors("roformer", "paddlenlp", with_it) == {}
    assert told_by_tensors("roformer", "paddlenlp", without) == {"pool_act": None}
    assert told_by_tensors("electra", "paddlenlp", without) == {}
