"""python -m convert: exit codes, one-line messages, and never half a checkpoint."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import convert.transfer.stream
from convert import convert_state, open_checkpoint
from convert.__main__ import main
from convert.layouts import layouts
from tests.convert.support import assert_same, read_all, torch_state, write_folder

CONFIG = {"model_type": "electra", "architectures": ["ElectraForMaskedLM"], "vocab_size": 211}


@pytest.fixture
def state():
    return torch_state("electra", "ElectraForMaskedLM")


@pytest.fixture
def source(tmp_path, state):
    return write_folder(tmp_path / "source", state, CONFIG)


def run(source, destination, *options, target="paddle"):
    return main(["--model", "electra", str(source), str(destination), "--to", target, *options])


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(capsys, code=2):
    """The one-line message of a refusal."""
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith("convert: ")
    assert "Traceback" not in error
    return code, error


@pytest.mark.parametrize("target", layouts("electra"))
def test_a_checkpoint_is_converted_verified_and_summed_up(tmp_path, source, state, capsys, target):
    assert run(source, tmp_path / "out", target=target) == 0
    checkpoint = open_checkpoint(tmp_path / "out")
    assert checkpoint.layout == target
    assert_same(read_all(checkpoint), convert_state(state, "electra", "transformers", target, CONFIG))
    assert (target == "paddlenlp") != (files(tmp_path / "out")["config.json"] == files(source)["config.json"])
    summary = capsys.readouterr().out
    assert f"electra, transformers → {target}: wrote and verified {len(checkpoint.names)} tensors" in summary
    due = {"config.json", "plumbline.json", *(path.name for path in checkpoint.files)}
    assert set(os.listdir(tmp_path / "out")) - {"checkpoint"} == due  # TensorFlow's file that names the bundle


def test_a_chain_through_every_layout_ends_where_it_began(tmp_path, source, state):
    here = source
    for target in ("paddle", "paddlenlp", "tf", "torch", "paddlenlp", "paddle", "transformers"):
        there = tmp_path / f"{here.name}-{target}"
        assert run(here, there, target=target) == 0
        here = there
    assert_same(read_all(open_checkpoint(here)), state)


def test_the_metadata_name_layout_and_producer(tmp_path, source):
    for target, form in (("torch", "pt"), ("transformers", "pt"), ("paddle", "np")):
        run(source, tmp_path / target, target=target)
        with safetensors.safe_open(tmp_path / target / "model.safetensors", "np") as file:
            assert file.metadata() == {"format": form, "plumbline_layout": target, "producer": "plumbline"}


def test_a_dry_run_shows_every_tensor_and_writes_nothing(tmp_path, source, capsys):
    assert run(source, tmp_path / "out", "--dry-run", target="paddlenlp") == 0
    output = capsys.readouterr().out
    assert "electra.encoder.layer.2.output.dense.weight → electra.encoder.layers.2.linear2.weight (56, 40)" in output
    assert "would write" in output
    assert not (tmp_path / "out").exists()


def test_bfloat16_travels_as_it_is_or_is_widened(tmp_path, state):
    source = write_folder(tmp_path / "source", {}, CONFIG)
    half = {name: torch.from_numpy(array).bfloat16() for name, array in state.items()}
    half["generator_lm_head.weight"] = half["electra.embeddings.word_embeddings.weight"].clone()
    safetensors.torch.save_file(half, source / "model.safetensors", {"format": "pt"})
    assert run(source, tmp_path / "bits", target="paddle") == 0
    assert set(open_checkpoint(tmp_path / "bits").dtypes.values()) == {"bfloat16"}
    assert run(tmp_path / "bits", tmp_path / "back", target="transformers") == 0
    back = safetensors.torch.load_file(tmp_path / "back/model.safetensors")
    assert all(torch.equal(back[name], tensor) for name, tensor in half.items())
    assert run(source, tmp_path / "wide", "--dtype", "float32", target="paddlenlp") == 0
    assert set(open_checkpoint(tmp_path / "wide").dtypes.values()) == {"float32"}


def test_pdparams_cannot_hold_bfloat16(tmp_path, capsys):
    source = write_folder(tmp_path / "source", {}, CONFIG)
    tensors = {"embeddings_project.weight": torch.ones(3, 2).bfloat16()}
    safetensors.torch.save_file(tensors, source / "model.safetensors", {"format": "pt"})
    assert run(source, tmp_path / "out", target="paddlenlp") == 2
    assert "use --dtype float32" in refused(capsys)[1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "elektra", "SRC", "DST", "--to", "paddle"], "unknown model 'elektra' (did you mean 'electra'?)"),
        (["--model", "electra", "SRC", "DST", "--to", "padle"], "unknown layout 'padle' (did you mean 'paddle'?)"),
        (["--model", "electra", "SRC", "DST", "--to", "torch", "--from", "tourch"], "(did you mean 'torch'?)"),
        (["--model", "electra", "nowhere", "DST", "--to", "paddle"], "nowhere does not exist"),
        (["--model", "electra", "SRC", "SRC", "--to", "paddle"], "the same folder"),
        (["--model", "electra", "SRC", "SRC/config.json", "--to", "paddle"], "is a file; name a folder"),
        (["--model", "electra", "SRC", "SRC/config.json/deep", "--to", "paddle"], "cannot be written: [Errno 20]"),
        (["--model", "electra", "SRC", "DST", "--to", "paddle", "--format", "bin"], "is written as safetensors"),
        (["--model", "electra", "SRC", "DST", "--to", "paddle", "--max-shard-size", "2 potatoes"], "write 500MB"),
        (["--model", "electra", "SRC", "DST", "--to", "paddle", "--part", "generator"], "has no part 'generator'"),
        (
            ["--model", "funnel", "SRC", "DST", "--to", "paddle"],
            "unexpected: electra.embeddings.word_embeddings.weight",
        ),
    ],
)
def test_bad_arguments_give_one_message_and_exit_2(tmp_path, source, capsys, arguments, told):
    filled = [text.replace("SRC", str(source)).replace("DST", str(tmp_path / "out")) for text in arguments]
    assert main(filled) == 2
    assert told in refused(capsys)[1]
    assert not (tmp_path / "out").exists()


def test_all_names_that_do_not_fit_are_listed(tmp_path, state, capsys):
    state["electra.extra"] = state["generator_lm_head.wieght"] = np.zeros(3, np.float32)
    assert run(write_folder(tmp_path / "source", state, CONFIG), tmp_path / "out") == 2
    error = refused(capsys)[1]
    assert "electra, transformers → paddle: 2 problems" in error
    assert "unexpected: electra.extra" in error
    assert "generator_lm_head.wieght (did you mean 'generator_lm_head.weight'?)" in error


def test_infinities_stop_the_conversion_and_leave_nothing(tmp_path, state, capsys):
    state["generator_lm_head.bias"][7] = np.inf
    assert run(write_folder(tmp_path / "source", state, CONFIG), tmp_path / "out") == 2
    assert "infinity or NaN in what becomes generator_lm_head.bias at [7]" in refused(capsys)[1]
    assert not (tmp_path / "out").exists()


def test_a_file_that_does_not_read_back_is_exit_1_and_leaves_nothing(tmp_path, source, capsys, monkeypatch):
    def careless(file, pieces, offset):
        data = bytearray(b"".join(pieces))
        data[-3] ^= 0x10
        return honest(file, [data], offset)

    honest = os.pwritev
    monkeypatch.setattr(os, "pwritev", careless)
    assert run(source, tmp_path / "out") == 1
    assert "does not read back" in refused(capsys, 1)[1]
    assert not (tmp_path / "out").exists()
    assert run(source, tmp_path / "out", "--no-verify") == 0


@pytest.mark.parametrize("target", ["paddle", "paddlenlp"])
def test_a_full_disk_leaves_the_old_checkpoint_as_it_was(tmp_path, source, capsys, monkeypatch, target):
    assert run(source, tmp_path / "out", target=target) == 0
    before = files(tmp_path / "out")
    capsys.readouterr()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(source, tmp_path / "out", target=target) == 2
    assert "cannot be written: [Errno 28] No space left" in refused(capsys)[1]
    assert files(tmp_path / "out") == before
    assert run(source, tmp_path / "new", target=target) == 2
    assert not (tmp_path / "new").exists()


def test_an_interrupt_leaves_nothing(tmp_path, source, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(convert.transfer.stream, "nonfinite_word", interrupted)
    assert run(source, tmp_path / "out") == 2
    assert "nothing was written" in refused(capsys)[1]
    assert not (tmp_path / "out").exists()


def test_an_old_output_is_replaced_but_no_second_format_put_beside_it(tmp_path, source, state, capsys):
    assert run(source, tmp_path / "out") == 0
    (tmp_path / "out/vocab.txt").write_text("kept")
    (source / "config.json").write_text(json.dumps(CONFIG | {"new": 1}))
    assert run(source, tmp_path / "out") == 0
    assert open_checkpoint(tmp_path / "out").config["new"] == 1
    assert (tmp_path / "out/vocab.txt").read_text() == "kept"
    capsys.readouterr()
    assert run(source, tmp_path / "out", target="paddlenlp") == 2
    assert "already holds model.safetensors" in refused(capsys)[1]


PROBE = """
import sys
import convert, convert.__main__, convert.layouts
for model in convert.names():
    convert.table(model, "torch", "paddle")
for directory in sys.argv[1:]:
    checkpoint = convert.open_checkpoint(directory)
    [checkpoint.read(name) for name in checkpoint.names]
found = {name.split(".")[0] for name in sys.modules}
assert not found & {"torch", "paddle", "tensorflow", "transformers", "paddlenlp"}, found
"""


def test_no_framework_is_imported(tmp_path, source, state):
    run(source, tmp_path / "nlp", target="paddlenlp")
    write_folder(tmp_path / "bin", {}, CONFIG)
    (tmp_path / "bin/model.safetensors").unlink()
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, tmp_path / "bin/pytorch_model.bin")
    folders = [str(source), str(tmp_path / "nlp"), str(tmp_path / "bin")]
    subprocess.run([sys.executable, "-c", PROBE, *folders], check=True)


def test_help_teaches_with_examples_and_a_missing_argument_is_exit_2():
    shown = subprocess.run([sys.executable, "-m", "convert", "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in shown.stdout
    assert f"models: {', '.join(convert.names())}" in " ".join(shown.stdout.split())
    failed = subprocess.run([sys.executable, "-m", "convert", "--model", "electra"], capture_output=True, text=True)
    assert failed.returncode == 2
    assert "SRC" in failed.stderr
