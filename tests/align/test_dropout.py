"""Dropout on both sides from one stream of masks: layers, functions and attention fall alike."""

import numpy as np
import paddle
import pytest
import torch

from align.backends import get_backend
from align.dropout import SharedMasks, shared_dropout
from tests.align import toy
from tests.pairs import copy_weights, randomise

Q, K, V = (np.random.default_rng(seed).normal(size=(2, 3, 5, 4)) for seed in range(3))  # (B, H, L, d)


def in_training(framework, model, masks, *inputs):
    backend = get_backend(framework)
    backend.set_training(model, True)
    tensors = [torch.from_numpy(x) if framework == "torch" else paddle.to_tensor(x) for x in inputs]
    with shared_dropout(backend, model, masks):
        masks.start(0)
        return model(*tensors).detach().numpy()


def both(torch_model, paddle_model, *inputs, **options):
    return [
        in_training(name, model, SharedMasks(**options), *inputs)
        for name, model in (("torch", torch_model), ("paddle", paddle_model))
    ]


class TorchCalls(torch.nn.Module):
    """Dropout as a layer, then as a function."""

    def __init__(self, p=0.3):
        super().__init__()
        self.dropout = torch.nn.Dropout(p)
        self.p = p

    def forward(self, x):
        return torch.nn.functional.dropout(self.dropout(x), self.p, self.training)


class PaddleCalls(paddle.nn.Layer):
    """The same with functions alone."""

    def __init__(self, p=0.3, **options):
        super().__init__()
        self.p, self.options = p, options

    def forward(self, x):
        once = paddle.nn.functional.dropout(x, self.p, training=self.training, **self.options)
        return paddle.nn.functional.dropout(once, self.p, training=self.training)


def test_layers_and_functions_drop_the_same_values():
    expected, actual = both(TorchCalls(), PaddleCalls(), Q, common=())
    np.testing.assert_array_equal(actual, expected)
    assert 0.3 < (expected == 0).mean() < 0.7


def test_the_probability_can_be_set_from_outside():
    expected, actual = both(TorchCalls(), PaddleCalls(), Q, probability=0.9, common=())
    np.testing.assert_array_equal(actual, expected)
    assert (expected == 0).mean() > 0.9
    unchanged, _ = both(TorchCalls(0.0), PaddleCalls(0.0), Q, probability=0.9)
    np.testing.assert_array_equal(unchanged, Q)


@pytest.mark.parametrize("options", [{"axis": 0}, {"axis": [0, 1]}, {"mode": "downscale_in_infer"}], ids=str)
def test_another_kind_of_dropout_is_another_function(options):
    expected, actual = both(TorchCalls(), PaddleCalls(**options), Q)
    assert not np.allclose(actual, expected)


def test_masks_depend_on_seed_and_step_and_repeat():
    masks = SharedMasks(seed=1)
    draws = []
    for step in (0, 1, 0):
        masks.start(step)
        draws.append(masks.factors((50,), 0.5))
    assert (draws[0] == draws[2]).all()
    assert (draws[0] != draws[1]).any()
    assert (SharedMasks(seed=2).factors((50,), 0.5) != draws[0]).any()


class TorchAttention(torch.nn.Module):
    def forward(self, q, k, v, mask):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=0.2)


class PaddleAttention(paddle.nn.Layer):
    def forward(self, q, k, v, mask):
        q, k, v = (x.transpose([0, 2, 1, 3]) for x in (q, k, v))
        return paddle.nn.functional.scaled_dot_product_attention(q, k, v, mask, 0.2).transpose([0, 2, 1, 3])


@pytest.mark.parametrize("boolean", [False, True])
def test_fused_attention_drops_the_same_probabilities(boolean):
    kept = np.tril(np.ones((5, 5), bool))[None, None].repeat(2, 0)
    mask = kept if boolean else np.where(kept, 0.0, -1e9)
    expected, actual = both(TorchAttention(), PaddleAttention(), Q, K, V, mask)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-14)


def test_evaluation_and_the_functions_are_left_as_they_were():
    paddle.seed(0)
    model = paddle.nn.Dropout(0.5)
    before = paddle.nn.functional.dropout
    with shared_dropout(get_backend("paddle"), model, SharedMasks()):
        model.eval()
        assert (model(paddle.to_tensor(Q)).numpy() == Q).all()
    assert paddle.nn.functional.dropout is before
    assert "forward" not in model.__dict__


def test_a_whole_network_trains_on_the_same_masks():
    paddle.set_default_dtype("float64")
    try:
        torch_net = randomise(toy.TorchNet().double())
        paddle_net = copy_weights(torch_net, toy.PaddleNet())
    finally:
        paddle.set_default_dtype("float32")

    batch = toy.batch()
    values = []
    for name, net in (("torch", torch_net), ("paddle", paddle_net)):
        backend = get_backend(name)
        backend.set_training(net, True)
        with shared_dropout(backend, net, SharedMasks()):
            values.append(backend.forward(net, batch)["logits"].detach().numpy())
    np.testing.assert_allclose(values[1], values[0], rtol=0, atol=1e-12)
    plain = torch_net.eval()(**{k: torch.from_numpy(v) for k, v in batch.items()})["logits"].detach().numpy()
    assert not np.allclose(values[0], plain)
