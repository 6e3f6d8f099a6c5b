"""What a conversion leaves behind for programs and people: the manifest, the JSON report, the guess of the model."""

import json
import subprocess
import sys

import pytest

from convert import CheckpointError, open_checkpoint, table
from convert.__main__ import main
from convert.checksums import file_checksum
from convert.manifest import rules_checksum
from tests.convert.support import tiny, torch_state, write_folder

NAME = "ElectraForMaskedLM"


@pytest.fixture
def source(tmp_path):
    config = tiny("electra") | {"model_type": "electra", "architectures": [NAME]}
    return write_folder(tmp_path / "source", torch_state("electra", NAME), config)


def run(source, destination, *options, target="paddlenlp"):
    return main([str(source), str(destination), "--to", target, *options])


def manifest(folder):
    return json.loads((folder / "plumbline.json").read_text())


def test_the_manifest_tells_the_source_the_output_and_the_rules(tmp_path, source):
    (source / "vocab.txt").write_text("[PAD]\n")
    assert run(source, tmp_path / "out", "--max-shard-size", "20KB") == 0
    found, out = manifest(tmp_path / "out"), tmp_path / "out"
    assert (found["model"], found["layout"], found["source"]["layout"]) == ("electra", "paddlenlp", "transformers")
    assert found["files"].keys() == {path.name for path in out.iterdir()} - {"plumbline.json"}
    assert len(found["files"]) > 5
    for folder, files in ((source, found["source"]["files"]), (out, found["files"])):
        for name, file in files.items():
            assert file == {"bytes": (folder / name).stat().st_size, "checksum": file_checksum(folder / name)}
    assert list(found["source"]["files"]) == ["model.safetensors"]
    assert sum(found["rules"]["used"].values()) == len(open_checkpoint(out).names)
    assert found["options"]["max_shard_size"] == "20KB"
    assert not any(value for name, value in found["options"].items() if name != "max_shard_size")


def test_the_same_work_gives_the_same_manifest_wherever_it_is_done(tmp_path, source):
    for folder in ("a", "b"):
        assert run(source, tmp_path / folder) == 0
    assert (tmp_path / "a/plumbline.json").read_bytes() == (tmp_path / "b/plumbline.json").read_bytes()
    other = write_folder(tmp_path / "other", torch_state("electra", NAME), {"model_type": "electra"})
    assert run(other, tmp_path / "c") == 0
    assert manifest(tmp_path / "c")["files"] != manifest(tmp_path / "a")["files"]


def test_the_checksum_of_the_rules_is_that_of_a_table():
    sums = {rules_checksum(table("electra", "torch", target)) for target in ("torch", "paddle", "paddlenlp")}
    assert len(sums) == 3
    assert rules_checksum(table("electra", "torch", "paddle")) in sums


def test_the_report_says_all_that_was_done(tmp_path, source):
    assert run(source, tmp_path / "out", "--json", str(tmp_path / "r.json")) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["schema"], report["passed"]) == (1, True)
    (entry,) = report["conversions"]
    checkpoint = open_checkpoint(tmp_path / "out")
    assert (entry["status"], entry["exit_code"], entry["error"], entry["agreement"]) == ("written", 0, None, None)
    assert (entry["model"], entry["from"], entry["to"]) == ("electra", "transformers", "paddlenlp")
    assert entry["tensors"] == len(checkpoint.names)
    assert entry["bytes"] == sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    assert entry["seconds"] > 0
    assert entry["rules"] == manifest(tmp_path / "out")["rules"]["used"]
    assert [file["name"] for file in entry["files"]] == ["model_state.pdparams", "plumbline.json", "config.json"]


def test_the_report_says_why_nothing_was_done(tmp_path, source, capsys):
    (source / "model.safetensors").write_bytes(b"short")
    assert run(source, tmp_path / "out", "--json", str(tmp_path / "r.json")) == 2
    (entry,) = json.loads((tmp_path / "r.json").read_text())["conversions"]
    assert entry["status"] == "refused"
    assert entry["error"] in capsys.readouterr().err


@pytest.mark.parametrize("place", ["nowhere/r.json", "source"])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path, source, capsys, place):
    assert run(source, tmp_path / "out", "--json", str(tmp_path / place)) == 2
    assert "name a file in a folder that exists" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ({}, "has no model_type; name the architecture with --model"),
        ({"model_type": "gpt2"}, 'has model_type "gpt2"; name the architecture with --model'),
    ],
)
def test_the_architecture_is_not_guessed_where_it_is_not_certain(tmp_path, source, capsys, kind, told):
    (source / "config.json").write_text(json.dumps({"architectures": [NAME]} | kind))
    assert run(source, tmp_path / "out") == 2
    assert told in capsys.readouterr().err
    assert run(source, tmp_path / "out", "--model", "electra") == 0


SLOW = ("rich", "subprocess", "torch", "paddle", "transformers", "paddlenlp")


@pytest.mark.parametrize("arguments", [["--help"], ["SRC", "out", "--to", "paddle", "--dry-run"]])
def test_help_and_a_dry_run_import_nothing_slow(source, arguments):
    code = "import sys; from convert.__main__ import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += f"print(sorted(set(sys.modules) & set({SLOW})), file=sys.stderr)"
    filled = [text.replace("SRC", str(source)) for text in arguments]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *filled], capture_output=True, text=True, env=path_of_ours()
    )
    assert done.stderr.strip() == "[]"


def path_of_ours():
    """Where to import from without `site`, whose hooks import things of their own."""
    return {"PYTHONPATH": ":".join(filter(None, sys.path))}


def test_a_file_that_cannot_name_its_layout_has_it_from_the_manifest(tmp_path, source):
    assert run(source, tmp_path / "a", "--format", "pdparams", target="paddle") == 0
    assert open_checkpoint(tmp_path / "a").layout == "paddle"
    with pytest.raises(CheckpointError, match="is marked as layout paddle, not paddlenlp"):
        open_checkpoint(tmp_path / "a", "paddlenlp")
    assert run(tmp_path / "a", tmp_path / "b", "--max-shard-size", "20KB", target="transformers") == 0
    assert run(source, tmp_path / "c", "--max-shard-size", "20KB", "--format", "pdparams", target="paddle") == 0
    assert open_checkpoint(tmp_path / "c").layout == "paddle"


@pytest.mark.parametrize("change", [{"files": {}}, {"layout": 3}, {"files": {"model_state.pdparams": {"bytes": 3}}}])
def test_a_manifest_of_another_file_says_nothing(tmp_path, source, change):
    assert run(source, tmp_path / "out", "--format", "pdparams", target="paddle") == 0
    (tmp_path / "out/plumbline.json").write_text(json.dumps(manifest(tmp_path / "out") | change))
    assert open_checkpoint(tmp_path / "out").layout == "paddlenlp"
