"""bfloat16, float8 and unsigned words: bit for bit in every format that marks them, and named by hand in the other."""

import json
import pickle

import numpy as np
import paddle
import pytest
import safetensors.torch
import torch

from convert import CheckpointError, open_checkpoint
from convert.__main__ import main
from convert.arrays import widen
from convert.formats import pdparams, safetensors_file
from convert.formats.stored import WORDS
from tests.convert.drawn import write_drawn
from tests.convert.test_torch_bin import described, drawable

CONFIG = {"model_type": "electra", "architectures": ["ElectraModel"]}
NAME = "embeddings_project.weight"


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_all_256_values_of_a_float8_widen_as_torch_widens_them(dtype):
    words = np.arange(256, dtype=np.uint8)
    expected = torch.from_numpy(words).view(getattr(torch, dtype)).float().numpy()
    actual = widen(words, dtype)
    assert actual.dtype == np.float32
    assert (np.isnan(actual) == np.isnan(expected)).all()
    assert (np.signbit(actual) == np.signbit(expected)).all()
    numbers = ~np.isnan(expected)
    assert (actual.view(np.uint32)[numbers] == expected.view(np.uint32)[numbers]).all()
    assert 250 <= numbers.sum() <= 254


def test_safetensors_keeps_every_type_bit_for_bit_in_and_out(tmp_path):
    found, words = drawable()
    safetensors.torch.save_file(found, tmp_path / "theirs.safetensors")
    tensors, _ = safetensors_file.index(tmp_path / "theirs.safetensors")
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()} == described(found)
    assert {dtype for dtype, _ in described(found).values()} == set(WORDS)
    assert all((tensor.read() == words[name]).all() for name, tensor in tensors.items())
    write_drawn(tmp_path, safetensors_file.draw([described(found)], {}), words)
    loaded = safetensors.torch.load_file(tmp_path / "model.safetensors")
    for name, tensor in found.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)), name


def folder(path, state):
    """A PaddleNLP folder, as paddle.save writes it."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    paddle.save(state, str(path / "model_state.pdparams"))
    return path


@pytest.fixture
def values():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_what_paddle_does_not_mark_is_read_as_it_is_named(tmp_path, values, dtype):
    source = folder(tmp_path / "a", {NAME: paddle.to_tensor(values.numpy()).astype(dtype)})
    with pytest.raises(CheckpointError, match=rf"{NAME}: u?int\d+ may stand for .* say .*--stored-as {dtype}"):
        open_checkpoint(source)
    checkpoint = open_checkpoint(source, stored_as=dtype)
    assert checkpoint.dtypes == {NAME: dtype}
    expected = values.to(getattr(torch, dtype))
    width = {1: torch.uint8, 2: torch.uint16}[expected.element_size()]
    assert (checkpoint.words(NAME) == expected.view(width).numpy()).all()
    assert (checkpoint.read(NAME) == expected.float().numpy()).all()


def test_each_kind_of_unmarked_words_is_named_for_itself(tmp_path):
    words = {"half": np.arange(3, dtype=np.uint16), "quarter": np.arange(4, dtype=np.int8)}
    path = tmp_path / "model_state.pdparams"
    path.write_bytes(pickle.dumps(words))

    def dtypes(stored_as):
        return {name: tensor.dtype for name, tensor in pdparams.index(path, stored_as)[0].items()}

    assert dtypes("bfloat16,float8_e5m2") == {"half": "bfloat16", "quarter": "float8_e5m2"}
    assert dtypes("int8,uint16") == {"half": "uint16", "quarter": "int8"}
    for stored_as, told in (
        ("bfloat16", "quarter: int8 may stand for another type in this file; say --stored-as int8 or"),
        ("float32", "--stored-as float32: not one of bfloat16, uint16, int8, float8_e4m3fn, float8_e5m2"),
        ("bfloat16,uint16", "names one kind of element twice"),
        ("bfloat16,bfloat16", "names one kind of element twice"),
        (",", "--stored-as : not one of"),
    ):
        with pytest.raises(CheckpointError, match=told):
            dtypes(stored_as)


def test_the_shards_of_a_checkpoint_are_read_as_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    places = {"a": "model_state-00001-of-00002.pdparams", "b": "model_state-00002-of-00002.pdparams"}
    for name, file in places.items():
        (tmp_path / file).write_bytes(pickle.dumps({name: np.arange(3, dtype=np.uint16)}))
    (tmp_path / "model_state.pdparams.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    with pytest.raises(CheckpointError, match=r"00001-of-00002\.pdparams: a: uint16 may stand for"):
        open_checkpoint(tmp_path)
    checkpoint = open_checkpoint(tmp_path, stored_as="bfloat16")
    assert checkpoint.layout == "paddlenlp"
    assert checkpoint.dtypes == {"a": "bfloat16", "b": "bfloat16"}


def test_the_option_is_refused_where_the_file_marks_its_types(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="marks the type of each tensor; leave --stored-as out"):
        open_checkpoint(tmp_path, stored_as="bfloat16")


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int8"])
def test_integers_that_paddle_does_not_read_are_not_written(dtype):
    with pytest.raises(CheckpointError, match=rf"cannot mark the type of w \({dtype}\)$"):
        pdparams.draw([{"w": (dtype, (3,))}], {})


def run(*arguments):
    return main(["--model", "electra", *map(str, arguments)])


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_unmarked_words_keep_their_bits_from_paddlenlp_to_transformers(tmp_path, values, capsys, dtype, form):
    source = folder(tmp_path / "a", {f"electra.{NAME}": paddle.to_tensor(values.numpy()).astype(dtype)})
    assert run(source, tmp_path / "b", "--to", "transformers", "--format", form) == 2
    assert f"--stored-as {dtype}" in capsys.readouterr().err
    arguments = ["--to", "transformers", "--format", form, "--stored-as", dtype]
    assert run(source, tmp_path / "b", *arguments) == 0, capsys.readouterr().err
    if form == "bin":
        (loaded,) = torch.load(tmp_path / "b/pytorch_model.bin", weights_only=True).values()
    else:
        (loaded,) = safetensors.torch.load_file(tmp_path / "b/model.safetensors").values()
    expected = values.to(getattr(torch, dtype)).T.contiguous()
    assert loaded.dtype == expected.dtype
    assert torch.equal(loaded.view(torch.uint8), expected.view(torch.uint8))
    assert run(tmp_path / "b", tmp_path / "c", "--to", "paddlenlp") == 2
    assert "use --dtype float32" in capsys.readouterr().err
    assert run(tmp_path / "b", tmp_path / "c", "--to", "paddlenlp", "--dtype", "float32") == 0
    (wide,) = paddle.load(str(tmp_path / "c/model_state.pdparams")).values()
    assert (wide.numpy() == values.to(getattr(torch, dtype)).float().numpy()).all()
