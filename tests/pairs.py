"""Carry weights from a torch module to its Paddle twin without the rules under test: an independent oracle."""

import re

import numpy as np


def randomise(torch_module, seed=0):
    """Give every parameter a generic value in place: no zero bias, no unit gamma, no small matrix.

    Matrices get a standard deviation of 1.2/√fan_in, so that attention is far from uniform.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in torch_module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.ndim < 2:
                value = 0.1 * noise + (1.0 if re.search(r"(norm|scale).*weight$", name.lower()) else 0.0)
            elif "embedding" in name:
                value = 0.5 * noise
            else:
                value = 1.2 * noise / parameter.shape[-1] ** 0.5
            parameter.copy_(value.to(parameter.dtype))
    return torch_module


def copy_weights(torch_module, paddle_module):
    """Set every parameter of `paddle_module` from the same name in `torch_module`; Linear weights are transposed.

    Whether a weight belongs to a Linear is read off the live Paddle layer, not off any table. Names must agree exactly.
    """
    import paddle

    source = {name: tensor.detach().cpu().numpy() for name, tensor in torch_module.state_dict().items()}
    target = paddle_module.state_dict()
    assert set(source) == set(target), f"names differ: {sorted(set(source) ^ set(target))}"
    layers = dict(paddle_module.named_sublayers(include_self=True))
    for name, parameter in target.items():
        owner, _, leaf = name.rpartition(".")
        linear = isinstance(layers[owner], paddle.nn.Linear) and leaf == "weight"
        value = np.ascontiguousarray(source[name].T if linear else source[name])
        assert list(value.shape) == list(parameter.shape), f"{name}: {value.shape} into {parameter.shape}"
        parameter.set_value(value)
    return paddle_module
