"""convert.load: any checkpoint becomes a model of either framework, to the bit, or is refused with every offender."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

import convert
from convert import CheckpointError, ConvertError, MappingError, convert_state, load, open_checkpoint, save
from convert.configs import from_ours
from convert.layouts import layouts
from convert.live.fit import fit
from tests.convert.support import CASES, assert_same, build, tiny, torch_state, write_folder
from tests.convert.test_rules import held_by

FRAMEWORKS = ("torch", "paddle")
ANY_LAYOUT = [
    (model, name, layout)
    for model, task, name in CASES
    for layout in layouts(model)
    if task in ("masked_lm", "backbone") and held_by(model, layout, name)
]


def model_class(framework, model, name):
    return getattr(importlib.import_module(f"models_{framework}.{model}"), name)


def write(folder, model, name, layout="torch", state=None):
    """A checkpoint of a tiny model in one of our layouts, marked as such."""
    state = torch_state(model, name) if state is None else state
    config = tiny(model) | {"architectures": [name]}
    there = convert_state(state, model, "torch", layout, config)
    config = from_ours(model, layout, config)
    return write_folder(folder, there, config, {"format": "pt", "plumbline_layout": layout})


def values(model):
    """The state of a live model of either framework, tied tensors under each of their names."""
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("model", "task", "name"), CASES)
def test_every_head_loads_to_the_bit(tmp_path, model, task, name, framework):
    state = torch_state(model, name)
    loaded = load(model_class(framework, model, name), write(tmp_path, model, name, state=state))
    assert not loaded.training
    assert_same(values(loaded), convert_state(state, model, "torch", framework))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("model", "name", "layout"), ANY_LAYOUT)
def test_every_layout_loads_and_tied_weights_stay_one_tensor(tmp_path, model, name, layout, framework):
    state = torch_state(model, name)
    loaded = load(model_class(framework, model, name), write(tmp_path, model, name, layout, state))
    assert_same(values(loaded), convert_state(state, model, "torch", framework))
    assert len(loaded.parameters() if framework == "paddle" else list(loaded.parameters())) == len(
        list(build("torch", model, name).parameters())
    )


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_dtype_is_the_file_s_or_the_one_given(tmp_path, framework):
    cls = model_class(framework, "electra", "ElectraModel")
    folder = write(tmp_path, "electra", "ElectraModel")
    exact = {name: torch.from_numpy(array).bfloat16() for name, array in torch_state("electra", "ElectraModel").items()}
    safetensors.torch.save_file(exact, folder / "model.safetensors", {"plumbline_layout": "torch"})
    kept = load(cls, folder).state_dict()
    assert {str(tensor.dtype).rpartition(".")[2] for tensor in kept.values()} == {"bfloat16"}
    wide = values(load(cls, folder, dtype="float32"))
    source = {name: tensor.float().numpy() for name, tensor in exact.items()}
    assert_same(wide, convert_state(source, "electra", "torch", framework))
    narrow = values(load(cls, folder, dtype="float16"))
    assert {array.dtype.name for array in narrow.values()} == {"float16"}


def test_no_dtype_is_chosen_for_a_file_of_two(tmp_path):
    folder = write(tmp_path, "electra", "ElectraModel")
    state = {name: torch.from_numpy(array) for name, array in torch_state("electra", "ElectraModel").items()}
    state["embeddings.LayerNorm.bias"] = state["embeddings.LayerNorm.bias"].half()
    safetensors.torch.save_file(state, folder / "model.safetensors", {"plumbline_layout": "torch"})
    cls = model_class("torch", "electra", "ElectraModel")
    with pytest.raises(CheckpointError, match="float16 and float32; name the model's type with dtype="):
        load(cls, folder)
    assert load(cls, folder, dtype="float32").embeddings.LayerNorm.bias.dtype == torch.float32
    with pytest.raises(ConvertError, match="unknown dtype 'float31'"):
        load(cls, folder, dtype="float31")


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, None), (np.inf, None), (1e5, "float16")])
def test_values_that_the_model_could_not_hold_are_refused(tmp_path, value, dtype):
    state = torch_state("electra", "ElectraModel")
    state["embeddings.LayerNorm.bias"][3] = value
    folder = write(tmp_path, "electra", "ElectraModel", state=state)
    with pytest.raises(CheckpointError, match=r"embeddings.LayerNorm.bias at \[3\]"):
        load(model_class("torch", "electra", "ElectraModel"), folder, dtype=dtype)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_all_names_that_do_not_fit_are_listed(tmp_path, framework):
    folder = write(tmp_path, "electra", "ElectraForPreTraining")
    with pytest.raises(MappingError) as refused:
        load(model_class(framework, "electra", "ElectraForMaskedLM"), folder)
    assert "missing: generator_predictions.dense.weight" in str(refused.value)
    assert "missing: generator_lm_head.bias" in str(refused.value)
    assert "unexpected: discriminator_predictions.dense.weight" in str(refused.value)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_new_head_is_put_on_the_backbone_of_another(tmp_path, framework):
    state = torch_state("electra", "ElectraForPreTraining")
    folder = write(tmp_path, "electra", "ElectraForPreTraining", "paddlenlp", state)
    cls = model_class(framework, "electra", "ElectraForSequenceClassification")
    with pytest.warns(UserWarning, match="as initialised: classifier; .*not used: discriminator_predictions"):
        loaded = load(cls, folder, strict=False, config={"num_labels": 7})
    due = convert_state(state, "electra", "torch", framework)
    found = values(loaded)
    assert_same(
        {name: array for name, array in found.items() if name.startswith("electra.")},
        {name: array for name, array in due.items() if name.startswith("electra.")},
    )
    assert found["classifier.out_proj.bias"].shape == (7,)


@pytest.mark.parametrize(
    ("have", "want"), [("ElectraModel", "ElectraForPreTraining"), ("ElectraForPreTraining", "ElectraModel")]
)
def test_a_backbone_loads_into_a_model_with_a_head_and_the_other_way(tmp_path, have, want):
    state = torch_state("electra", have)
    folder = write(tmp_path, "electra", have, state=state)
    cls = model_class("torch", "electra", want)
    with pytest.raises(MappingError):
        load(cls, folder)
    with pytest.warns(UserWarning, match="discriminator_predictions"):
        found = values(load(cls, folder, strict=False))
    bare = {name.removeprefix("electra."): array for name, array in found.items()}
    due = {name.removeprefix("electra."): array for name, array in state.items()}
    common = bare.keys() & due.keys()
    assert len(common) == len(build("torch", "electra", "ElectraModel").state_dict())
    assert_same({name: bare[name] for name in common}, {name: due[name] for name in common})


def test_half_a_module_is_refused_however_lax():
    needed = {"body.a": (2,), "body.b": (3,), "head.w": (4,)}
    with pytest.raises(MappingError, match=r"missing: body\.b"):
        fit({"body.a": (2,)}, needed, "here", strict=False)
    with pytest.raises(MappingError, match=r"misshapen: head.w is \(5,\)"):
        fit({"body.a": (2,), "body.b": (3,), "head.w": (5,)}, needed, "here", strict=False)
    with pytest.raises(MappingError, match="the model has body, head, the checkpoint other"):
        fit({"other.a": (2,)}, needed, "here", strict=False)


def test_what_is_no_model_and_what_cannot_be_built_is_said(tmp_path):
    folder = write(tmp_path, "electra", "ElectraModel")
    with pytest.raises(ConvertError, match=r"dict is neither a torch.nn.Module nor a paddle.nn.Layer"):
        load(dict, folder)
    with pytest.raises(ConvertError, match="has no configuration class"):
        load(torch.nn.Linear, folder)
    with pytest.raises(CheckpointError, match=r"ElectraModel refuses this configuration: unsupported: .*'rope': 1"):
        load(model_class("torch", "electra", "ElectraModel"), folder, config={"rope": 1})
    with pytest.raises(CheckpointError, match="does not exist"):
        load(model_class("torch", "electra", "ElectraModel"), tmp_path / "nowhere")


LOADS_ONE = """
import sys, convert, models_{framework}.electra as electra
convert.load(electra.ElectraModel, sys.argv[1])
assert "{other}" not in sys.modules
"""


@pytest.mark.parametrize(("framework", "other"), [FRAMEWORKS, FRAMEWORKS[::-1]])
def test_only_the_model_s_own_framework_is_imported(tmp_path, framework, other):
    folder = write(tmp_path, "electra", "ElectraModel")
    code = LOADS_ONE.format(framework=framework, other=other)
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, stderr=subprocess.DEVNULL)


def test_the_model_is_the_only_full_copy(tmp_path):
    """Peak memory of loading, over that of the model alone, is that of a few tensors."""
    import tracemalloc

    sizes = {"hidden_size": 240, "intermediate_size": 480, "num_hidden_layers": 9}
    state = torch_state("electra", "ElectraModel", **sizes)
    folder = write(tmp_path, "electra", "ElectraModel", "paddle", state)
    tracemalloc.start()  # counts numpy's arrays, and not torch's tensors
    load(model_class("torch", "electra", "ElectraModel"), folder, config=sizes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < sum(array.nbytes for array in state.values()) / 4


def test_convert_names_its_loader():
    assert convert.load is load


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("model", "name", "layout"), [*ANY_LAYOUT, ("electra", "ElectraForMaskedLM", None)])
def test_a_model_saved_in_any_layout_is_the_same_model(tmp_path, model, name, layout, framework):
    state = torch_state(model, name)
    cls = model_class(framework, model, name)
    first = load(cls, write(tmp_path / "a", model, name, state=state))
    save(first, tmp_path / "b", layout, config=tiny(model))
    assert open_checkpoint(tmp_path / "b").layout == (layout or framework)
    other = model_class(FRAMEWORKS[framework == "torch"], model, name)
    assert_same(values(load(cls, tmp_path / "b")), values(first))
    assert_same(
        values(load(other, tmp_path / "b")), convert_state(state, model, "torch", FRAMEWORKS[framework == "torch"])
    )
    config = json.loads((tmp_path / "b/config.json").read_text())
    spelled = from_ours(model, layout or framework, {**tiny(model), "model_type": model, "architectures": [name]})
    assert config["model_type"] == spelled["model_type"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_bfloat16_is_saved_to_the_bit(tmp_path, framework):
    cls = model_class(framework, "electra", "ElectraModel")
    model = load(cls, write(tmp_path / "a", "electra", "ElectraModel"), dtype="bfloat16")
    save(model, tmp_path / "b", "transformers", config=tiny("electra"), max_shard_size="20KB")
    assert set(open_checkpoint(tmp_path / "b").dtypes.values()) == {"bfloat16"}
    again = load(model_class("torch", "electra", "ElectraModel"), tmp_path / "b", dtype="float32")
    rounded = {
        name: torch.from_numpy(array).bfloat16().float().numpy()
        for name, array in torch_state("electra", "ElectraModel").items()
    }
    assert_same(values(again), rounded)


def test_a_tokenizer_goes_along_and_a_folder_without_one_is_refused(tmp_path):
    model = load(model_class("torch", "electra", "ElectraModel"), write(tmp_path / "a", "electra", "ElectraModel"))
    (tmp_path / "a/vocab.txt").write_text("[PAD]\n[UNK]\n")
    save(model, tmp_path / "b", "paddlenlp", config=tiny("electra"), tokenizer=tmp_path / "a")
    assert (tmp_path / "b/vocab.txt").read_text() == "[PAD]\n[UNK]\n"
    assert json.loads((tmp_path / "b/tokenizer_config.json").read_text()) == {"tokenizer_class": "ElectraTokenizer"}
    with pytest.raises(ConvertError, match="is no folder"):
        save(model, tmp_path / "c", config=tiny("electra"), tokenizer=tmp_path / "nowhere")
    assert not (tmp_path / "c").exists()
