"""Funnel's attention goes by parts of its queries where nobody looks on: the same function."""

from dataclasses import replace

import numpy as np
import pytest

from models_paddle import funnel as paddle_funnel
from tests.models.test_funnel import ATTENTIONS, TENSOR, TINY, _one_thread_and_float64, batch, both_sides, pair

__all__ = ["_one_thread_and_float64"]  # a fixture that every test uses


@both_sides
@pytest.mark.parametrize("attention_type", ATTENTIONS)
@pytest.mark.parametrize("length", [11, 13])  # the last part is 2 queries or 1 in the first block, 3 or 1 in the second
def test_attention_by_parts_is_attention_as_a_whole(monkeypatch, side, attention_type, length):
    """Nobody looks on: three queries at a time. A hook on a softmax: all of its attention at once."""
    config = replace(TINY, attention_type=attention_type, hidden_dropout=0.0, attention_dropout=0.0)
    monkeypatch.setattr(side, "QUERIES", 3)
    model = pair("masked_lm", config)[side is paddle_funnel]
    model.train()
    modules = (getattr(model, "named_modules", None) or model.named_sublayers)()
    attentions = [module for _, module in modules if isinstance(module, side.FunnelRelMultiheadAttention)]
    calls, results = [], []
    for watched in (False, True):
        for attention in attentions:
            if watched:
                hook = getattr(attention.softmax, "register_forward_hook", None)
                (hook or attention.softmax.register_forward_post_hook)(lambda *_: calls.append(1))
        outputs = model(**{key: TENSOR[side](value) for key, value in batch("masked_lm", L=length).items()})
        outputs["loss"].backward()
        gradients = [parameter.grad.numpy().copy() for parameter in model.parameters()]
        results.append([outputs["logits"].detach().numpy(), *gradients])
        for parameter in model.parameters():
            parameter.grad = None
    assert len(calls) == sum(TINY.block_sizes[i] * TINY.block_repeats[i] for i in range(3)) + TINY.num_decoder_layers
    for parts, whole in zip(*results, strict=True):
        assert np.abs(parts - whole).max() <= 1e-12 * max(1, np.abs(whole).max())


@both_sides
@pytest.mark.parametrize("step", ["position_score", "segment_score", "softmax", "attention_dropout"])
def test_what_is_put_in_the_place_of_a_step_sees_all_queries(monkeypatch, side, step):
    monkeypatch.setattr(side, "QUERIES", 3)
    config = replace(TINY, block_repeats=())
    model, seen = pair("encoder", config)[side is paddle_funnel], []
    for block in model.encoder.blocks:
        for layer in block:
            module = getattr(layer.attention, step)
            module.forward = lambda *inputs, own=module.forward: seen.append(own(*inputs)) or seen[-1]
    model(**{key: TENSOR[side](value) for key, value in batch("encoder").items()})
    assert [scores.shape[2] for scores in seen] == [11, 11, 6, 3, 3]  # queries, in blocks of 2, 1 and 2 layers
