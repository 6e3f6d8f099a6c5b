"""Two modules that none of us wrote: transformers' Funnel against PaddleNLP's, which share their module names."""

import types

import numpy as np
import paddle
import pytest
import torch

import align

pytestmark = pytest.mark.filterwarnings("ignore")  # what the references warn of is not ours to mend

SIZES = {"vocab_size": 97, "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 44, "block_sizes": [2, 2, 2]}
LENGTH = 17


def batch():
    rng = np.random.default_rng(0)
    lengths = np.array([[LENGTH], [12], [6]])
    place = np.arange(LENGTH)
    return {
        "input_ids": rng.integers(1, SIZES["vocab_size"], (3, LENGTH)),
        "attention_mask": (place < lengths).astype(np.int64),
        "token_type_ids": np.where(place == 0, 2, place >= lengths // 2).astype(np.int64),
    }


def returning_one_tensor(model, **options):
    """The same model with a forward that both sides can be called by."""
    original = model.forward

    def forward(self, input_ids, attention_mask, token_type_ids):
        return original(input_ids, attention_mask, token_type_ids, **options).last_hidden_state

    model.forward = types.MethodType(forward, model)
    return model


@pytest.fixture
def pair():
    from paddlenlp.transformers import FunnelConfig as TheirConfig
    from paddlenlp.transformers.funnel.modeling import FunnelModel as TheirFunnel
    from transformers import FunnelConfig, FunnelModel

    torch.manual_seed(0)
    expected, actual = FunnelModel(FunnelConfig(**SIZES)), TheirFunnel(TheirConfig(**SIZES))
    for parameter in expected.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    state = {name: tensor.numpy() for name, tensor in expected.state_dict().items()}
    linear = {f"{n}.weight" for n, layer in actual.named_sublayers() if isinstance(layer, paddle.nn.Linear)}
    for name, tensor in actual.state_dict().items():
        tensor.set_value(np.ascontiguousarray(state[name].T) if name in linear else state[name])
    return returning_one_tensor(expected.eval()), returning_one_tensor(actual, return_dict=True)


def test_the_clean_pair_agrees(pair):
    report = align.assert_parity(*pair, batch())
    assert len(report.stages[0].verdicts) > 250
    assert report.stages[0].worst.ratio < 0.01


def test_one_eps_of_1e_8_instead_of_1e_9_is_named(pair):
    """About 3e-8 at the output: no float32 comparison sees it."""
    pair[1].encoder.blocks[1][0].ffn.layer_norm._epsilon = 1e-8
    report = align.compare(*pair, batch())
    assert [finding.module for finding in report.blame] == ["encoder.blocks.1.0.ffn.layer_norm"]
    assert report.blame[0].evidence["ratio"] > 100
