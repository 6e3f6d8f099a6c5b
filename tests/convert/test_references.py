"""The references load what we write, with the same logits; we read what they write."""

import json
import os
import re
import warnings
from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import paddle
import pytest
import torch
import transformers

from convert import check_state, load, open_checkpoint, table
from convert.__main__ import main
from convert.live import config_class
from tests.convert import referenced
from tests.convert.support import assert_same, build, read_all, shapes
from tests.pairs import randomise

MODELS = [module.name for module in iter_modules(referenced.__path__)]
REFERENCED = {model: import_module(f"{referenced.__name__}.{model}") for model in MODELS}
CONFIGS = {model: module.CONFIG for model, module in REFERENCED.items()}
HEADS = [(model, *classes) for model, module in REFERENCED.items() for classes in module.HEADS]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def saved(folder, model, name, **options):
    """A transformers model with generic weights, and the folder it saved itself into."""
    module = getattr(transformers, name)(CONFIGS[model])
    computed = {name: tensor.clone() for name, tensor in module.state_dict().items() if is_theirs(model, name)}
    randomise(module).eval().load_state_dict(computed, strict=False)
    module.save_pretrained(folder, **options)
    return module


def is_theirs(model, name):
    """Whether only a reference has this tensor, and makes it by itself."""
    return re.fullmatch(getattr(REFERENCED[model], "THEIRS", "-"), name) is not None


def numpy_state(module):
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def shared(model, state):
    """What is converted."""
    return {name: array for name, array in state.items() if not is_theirs(model, name)}


SINGLE = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin", "pdparams": "model_state.pdparams"}
LARGE, SMALL = "5GB", "24KB"  # more and less than any of the models here takes


def stored(*forms):
    """Every head; each format and one shard or several by turns."""
    cases = [
        pytest.param(*head, forms[row % 2], SMALL if row // 2 % 2 else LARGE, id=f"{head[1]}-{forms[row % 2]}")
        for row, head in enumerate(HEADS)
    ]
    return pytest.mark.parametrize(("model", "name", "paddle_name", "form", "size"), cases)


@stored("safetensors", "bin")
def test_what_transformers_saves_fits_our_torch_model(tmp_path, model, name, paddle_name, form, size):
    module = saved(tmp_path, model, name, safe_serialization=form == "safetensors", max_shard_size=size)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.layout == "transformers"
    assert (len(checkpoint.files) > 2) == (size == SMALL)
    plan = table(model, checkpoint.layout, "torch", checkpoint.config).plan(checkpoint.shapes)
    assert_same(shared(model, dict(plan.convert(checkpoint.read))), shared(model, numpy_state(module)))
    ours = build("torch", model, name, **own_options(model))
    check_state(plan.target_shapes, shapes(ours.state_dict()), name)


def own_options(model):
    """What our configuration knows of the reference's."""
    known = CONFIGS[model].to_dict() | {"num_labels": CONFIGS[model].num_labels}
    ours = config_class(import_module(f"models_torch.{model}"))
    names = [field.name for field in fields(ours)]
    return {name: tuple(value) if isinstance(value := known[name], list) else value for name in names if name in known}


@stored("safetensors", "bin")
def test_transformers_loads_what_we_write(tmp_path, model, name, paddle_name, form, size):
    module = saved(tmp_path / "hf", model, name)
    run(model, tmp_path / "hf", tmp_path / "paddle", "paddle")
    run(model, tmp_path / "paddle", tmp_path / "back", "transformers", "--format", form, "--max-shard-size", size)
    assert ((tmp_path / "back" / SINGLE[form]).exists()) == (size != SMALL)
    loaded, report = getattr(transformers, name).from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not any(report[kind] for kind in ("unexpected_keys", "mismatched_keys", "error_msgs"))
    assert all(is_theirs(model, key) for key in report["missing_keys"])
    assert_same(numpy_state(loaded), numpy_state(module))
    assert (tmp_path / "back/config.json").read_bytes() == (tmp_path / "hf/config.json").read_bytes()


def run(model, source, destination, target, *options):
    assert main(["--model", model, str(source), str(destination), "--to", target, *options]) == 0


@pytest.fixture(scope="session")
def paddlenlp():
    """A function from (model, class name) to PaddleNLP's class; what PaddleNLP imports warns about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import paddlenlp.transformers.funnel.modeling
    return lambda model, name: getattr(getattr(paddlenlp.transformers, model).modeling, name)


@pytest.fixture
def reports(paddlenlp, monkeypatch):
    """The keys that PaddleNLP finds missing, unexpected or misshapen while it loads."""
    found, base = [], paddlenlp("electra", "PretrainedModel")
    load = base._load_pretrained_model.__func__

    def recorded(cls, *arguments, **options):
        result = load(cls, *arguments, **options)
        found.append(result[1:])
        return result

    monkeypatch.setattr(base, "_load_pretrained_model", classmethod(recorded))
    return found


def from_pretrained(cls, model, folder):
    return cls.from_pretrained(str(folder), **getattr(REFERENCED[model], "PADDLENLP_CONFIG", {}))


def ids(name):
    shape = (3, 2, 9) if "MultipleChoice" in name else (3, 10)
    return np.random.default_rng(1).integers(1, 61, shape)


def first_tensor(output):
    """The logits, start logits or hidden states: what comes first in an output of either library."""
    if isinstance(output, torch.Tensor):
        return output.detach().numpy()
    if isinstance(output, paddle.Tensor):
        return output.numpy()
    return first_tensor(output.logits if hasattr(output, "logits") else output[0])


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")  # transformers' Funnel, in torch 2.13
@stored("pdparams", "safetensors")
def test_paddlenlp_loads_what_we_write_and_computes_the_same(
    tmp_path, paddlenlp, reports, model, name, paddle_name, form, size
):
    module = saved(tmp_path / "hf", model, name)
    run(model, tmp_path / "hf", tmp_path / "nlp", "paddlenlp", "--format", form, "--max-shard-size", size)
    assert ((tmp_path / "nlp" / SINGLE[form]).exists()) == (size != SMALL)
    loaded = from_pretrained(paddlenlp(model, paddle_name), model, tmp_path / "nlp")
    loaded.eval()
    ((missing, *others),) = reports
    assert all(is_theirs(model, key) for key in missing)
    assert not any(map(len, others))
    numbers = ids(name)
    expected = first_tensor(module(torch.from_numpy(numbers), return_dict=False))
    options = getattr(REFERENCED[model], "PADDLENLP_OPTIONS", {})
    actual = first_tensor(loaded(paddle.to_tensor(numbers), **options))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@stored("pdparams", "safetensors")
def test_what_paddlenlp_saves_comes_back_to_transformers(tmp_path, paddlenlp, model, name, paddle_name, form, size):
    module = saved(tmp_path / "hf", model, name)
    run(model, tmp_path / "hf", tmp_path / "nlp", "paddlenlp")
    loaded = from_pretrained(paddlenlp(model, paddle_name), model, tmp_path / "nlp")
    loaded.save_pretrained(str(tmp_path / "resaved"), safe_serialization=form == "safetensors", max_shard_size=size)
    checkpoint = open_checkpoint(tmp_path / "resaved")
    assert checkpoint.layout == "paddlenlp"
    assert (len(checkpoint.files) > 2) == (size == SMALL)
    assert checkpoint.config["architectures"] == [paddle_name]
    ours = load(getattr(import_module(f"models_torch.{model}"), name), tmp_path / "resaved")
    assert_same(shared(model, numpy_state(ours)), shared(model, numpy_state(module)))
    run(model, tmp_path / "resaved", tmp_path / "back", "transformers")
    assert_same(shared(model, read_all(open_checkpoint(tmp_path / "back"))), shared(model, numpy_state(module)))


def test_an_older_paddlenlp_configuration_is_understood(tmp_path):
    module = saved(tmp_path / "hf", "electra", "ElectraForQuestionAnswering")
    run("electra", tmp_path / "hf", tmp_path / "nlp", "paddlenlp")
    inner = {"vocab_size": 61, "hidden_size": 20, "init_class": "ElectraModel"}
    old = {"init_args": [inner], "init_class": "ElectraForQuestionAnswering", "num_classes": 2}
    (tmp_path / "nlp/config.json").unlink()
    (tmp_path / "nlp/model_config.json").write_text(json.dumps(old))
    flat = {"vocab_size": 61, "hidden_size": 20, "architectures": ["ElectraForQuestionAnswering"]}
    assert open_checkpoint(tmp_path / "nlp").config == flat | {"num_classes": 2}
    run("electra", tmp_path / "nlp", tmp_path / "back", "torch")
    assert json.loads((tmp_path / "back/config.json").read_text()) == flat | {"num_labels": 2}
    assert_same(read_all(open_checkpoint(tmp_path / "back")), numpy_state(module))
