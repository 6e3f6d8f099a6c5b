"""--all: every folder of a folder, one after the other, whatever becomes of the others."""

import json
import os
import shutil

import pytest

import models_torch.electra
import models_torch.funnel
from convert import load, open_checkpoint
from convert.__main__ import main
from tests.convert import published
from tests.convert.support import read_all, tiny, torch_state, write_folder

HEADS = {"electra": "ElectraForPreTraining", "funnel": "FunnelForMaskedLM"}


@pytest.fixture
def source(tmp_path):
    """Checkpoints of two architectures, each by the name of its head."""
    for model, name in HEADS.items():
        config = tiny(model) | {"model_type": model, "architectures": [name]}
        write_folder(tmp_path / "all" / name, torch_state(model, name), config)
    return tmp_path / "all"


def run(source, destination, *options):
    return main([str(source), str(destination), "--all", "--to", "paddle", *options])


def test_each_folder_goes_to_one_of_the_same_name(tmp_path, source, capsys):
    (source / "notes.txt").write_text("no folder")
    (source / "empty").mkdir()
    assert run(source, tmp_path / "out", "--json", str(tmp_path / "report.json")) == 0
    assert sorted(os.listdir(tmp_path / "out")) == sorted(HEADS.values())
    assert {open_checkpoint(folder).layout for folder in (tmp_path / "out").iterdir()} == {"paddle"}
    table, error = capsys.readouterr()
    assert error == ""
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [[name, model] for model, name in HEADS.items()]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"]
    assert [entry["status"] for entry in report["conversions"]] == ["written", "written"]


def test_one_that_fails_does_not_stop_the_others_and_the_reasons_are_told(tmp_path, source, capsys):
    shutil.copytree(source / "FunnelForMaskedLM", source / "A-broken")
    (source / "A-broken/config.json").write_text("{")
    (source / "Z-no-checkpoint").mkdir()
    (source / "Z-no-checkpoint/readme.md").write_text("nothing here")
    assert run(source, tmp_path / "out", "--json", str(tmp_path / "report.json")) == 2
    table, error = capsys.readouterr()
    results = {line.split()[0]: line.split()[-1] for line in table.splitlines()[1:]}
    assert results == dict.fromkeys(HEADS.values(), "written") | dict.fromkeys(
        ("A-broken", "Z-no-checkpoint"), "refused"
    )
    assert [line.partition(": ")[2].partition(":")[0] for line in error.splitlines()] == ["A-broken", "Z-no-checkpoint"]
    assert "bad JSON" in error
    assert "Z-no-checkpoint: has none of model.safetensors" in error
    assert sorted(os.listdir(tmp_path / "out")) == sorted(HEADS.values())
    report = json.loads((tmp_path / "report.json").read_text())
    assert not report["passed"]
    assert "bad JSON" in report["conversions"][0]["error"]


def test_a_file_that_does_not_read_back_is_exit_1_if_that_is_all(tmp_path, source, monkeypatch, capsys):
    def careless(file, pieces, offset):
        data = bytearray(b"".join(pieces))
        data[-3] ^= 0x10
        return honest(file, [data], offset)

    honest = os.pwritev
    monkeypatch.setattr(os, "pwritev", careless)
    assert run(source, tmp_path / "out") == 1
    assert capsys.readouterr().out.count("damaged") == 2


def test_an_interrupt_leaves_what_is_done_and_says_what_is_not(tmp_path, source, monkeypatch, capsys):
    import convert.command.job

    def interrupted(transfer, destination, *options):
        if destination.name == HEADS["funnel"]:
            raise KeyboardInterrupt
        return honest(transfer, destination, *options)

    honest = convert.command.job.Transfer.run
    monkeypatch.setattr(convert.command.job.Transfer, "run", interrupted)
    assert run(source, tmp_path / "out") == 2
    table, error = capsys.readouterr()
    assert [line.split()[-1] for line in table.splitlines()[1:]] == ["written", "stopped"]
    assert "FunnelForMaskedLM: stopped; nothing was written" in error
    assert read_all(open_checkpoint(tmp_path / "out" / HEADS["electra"]))


def test_a_dry_run_plans_all_and_writes_nothing(tmp_path, source, capsys):
    assert run(source, tmp_path / "out", "--dry-run") == 0
    assert capsys.readouterr().out.count("planned") == 2
    assert not (tmp_path / "out").exists()


def test_a_destination_inside_the_source_is_not_taken_for_a_checkpoint(source, capsys):
    for _ in range(2):
        assert run(source, source / "out") == 0
    assert sorted(os.listdir(source / "out")) == sorted(HEADS.values())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["SRC", "SRC"], "the same folder"),
        (["SRC/nowhere", "DST"], "nowhere: cannot be read: No such file"),
        (["SRC/ElectraForPreTraining", "DST"], "holds no folder to convert"),
    ],
)
def test_a_folder_that_cannot_be_meant_is_one_message_and_exit_2(tmp_path, source, capsys, arguments, told):
    places = [text.replace("SRC", str(source)).replace("DST", str(tmp_path / "out")) for text in arguments]
    assert run(*places) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert told in error
    assert len(error.splitlines()) == 1


NARROW = {"vocab_size": 61, "d_embed": 12, "d_model": 12, "n_head": 2, "d_head": 4, "d_inner": 20}


@pytest.mark.parametrize(("part", "name"), [("backbone", "FunnelModel"), ("encoder", "FunnelBaseModel")])
def test_all_ten_funnels_as_published_in_two_commands(tmp_path, capsys, part, name):
    for size, net in published.FUNNEL.items():
        folder = tmp_path / "all" / size
        published.write_bundle(folder, published.arrays(published.trained(published.funnel(net | NARROW))))
        (folder / "net_config.json").write_text(json.dumps(net | NARROW))
    assert run(tmp_path / "all", tmp_path / "out", "--part", part, "--no-verify") == 0
    assert sorted(os.listdir(tmp_path / "out")) == sorted(published.FUNNEL)
    for size, net in published.FUNNEL.items():
        model = load(getattr(models_torch.funnel, name), tmp_path / "out" / size)
        assert [len(block) for block in model.encoder.blocks] == [
            int(count) for block in net["block_size"].split("_") for count in [block.partition("x")[0]]
        ]


@pytest.mark.parametrize(
    ("part", "name"), [("discriminator", "ElectraForPreTraining"), ("generator", "ElectraForMaskedLM")]
)
def test_every_electra_as_published_in_one_command_for_each_part(tmp_path, capsys, part, name):
    for size, (_, *_, layers, _, _) in published.ELECTRA.items():
        state = published.arrays(published.electra(61, 24, 64, 36, layers, 128, 44, positions=19))
        published.write_bundle(tmp_path / "all" / size, state)
    assert run(tmp_path / "all", tmp_path / "out", "--part", part) == 0
    for size, (_, *_, layers, _, _) in published.ELECTRA.items():
        model = load(getattr(models_torch.electra, name), tmp_path / "out" / size)
        assert len(model.electra.encoder.layer) == layers
