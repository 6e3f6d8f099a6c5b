"""State dicts of our own models, and the folders that tests convert."""

import dataclasses
import importlib
import json

import numpy as np
import safetensors.numpy

import convert
from convert.live import config_class
from tests.pairs import randomise

MODELS = tuple(convert.names())


def heads(model):
    """(task, class name) of every head of `model`."""
    return list(importlib.import_module(f"models_torch.{model}").TASKS.items())


CASES = [(model, task, name) for model in MODELS for task, name in heads(model)]


def build(framework, model, name, **options):
    """A tiny model of one framework; `options` override the tiny variant's."""
    module = importlib.import_module(f"models_{framework}.{model}")
    return getattr(module, name)(config_class(module).from_dict(tiny(model) | options))


def tiny(model):
    """The content of a config.json for the tiny variant, every option spelled out."""
    module = importlib.import_module(f"models_torch.{model}")
    return json.loads(json.dumps(dataclasses.asdict(config_class(module).from_dict(module.VARIANTS["tiny"]))))


def torch_state(model, name, **options):
    """The state dict of a tiny torch model with generic values, as numpy arrays."""
    module = randomise(build("torch", model, name, **options))
    return {key: value.detach().numpy() for key, value in module.state_dict().items()}


def shapes(state):
    return {name: tuple(array.shape) for name, array in state.items()}


def assert_same(actual, expected):
    """The same names, types, shapes and bits."""
    assert set(actual) == set(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        assert actual[name].tobytes() == np.ascontiguousarray(array).tobytes(), name


def write_folder(folder, state, config, metadata=None):
    """A transformers folder with one safetensors file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file(state, folder / "model.safetensors", metadata or {"format": "pt"})
    return folder


def read_all(checkpoint):
    return {name: checkpoint.read(name) for name in checkpoint.names}
