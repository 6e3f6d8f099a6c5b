"""Targets that are named on the command line: loading, configurations, batches, and what is refused."""

import json

import numpy as np
import pytest

import align
from align.__main__ import CANNOT_COMPARE, PARITY, main
from align.edges import ROOT
from align.foreign import probes
from align.foreign.batches import make_batch, make_labels
from align.foreign.configs import tiny
from align.mapping.modules import unmatched
from align.mapping.side import Module, Side
from bench import audit
from tests.align.mapping import toys

TOY = "tests.align.mapping.toys"
WORDS = [{"name": "input_ids", "required": True}, {"name": "attention_mask", "required": False}]


@pytest.fixture
def batch(tmp_path):
    path = tmp_path / "batch.npz"
    np.savez(path, **toys.batch())
    return path


def test_the_command_line_finds_saves_and_reuses_a_map(tmp_path, capsys, batch):
    command = ["compare", f"{TOY}:TorchNet", f"{TOY}:Net", "--batch", str(batch), "--in-process"]
    assert main([*command, "--save-map", str(tmp_path / "map.toml"), "--json", str(tmp_path / "report.json")]) == PARITY
    printed = capsys.readouterr().out
    assert "Linear(layers.0.up.weight → block1.mlp.0.weight)" in printed
    assert "PARITY" in printed
    assert json.loads((tmp_path / "report.json").read_text())["passed"]
    assert main([*command, "--weight-map", str(tmp_path / "map.toml"), "--quiet"]) == PARITY
    assert "comparisons agree" in capsys.readouterr().out
    too_long = tmp_path / ("x" * 255)
    assert main([*command, "--weight-map", str(tmp_path / "map.toml"), "--quiet", "--json", str(too_long)]) == 2
    out, err = capsys.readouterr()
    assert "comparisons agree" in out
    assert err == f"align: --json {too_long}: cannot be written: File name too long, choose another place\n"


def test_the_gates_hold_for_any_two_modules_too(tmp_path, capsys, batch, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plumbline.toml").write_text(
        f'[[models."{TOY}:TorchNet".limits]]\nmodule = "*"\nfactor = 2\nreason = "for this test"\n'
    )
    command = ["compare", f"{TOY}:TorchNet", f"{TOY}:Net", "--batch", str(batch), "--in-process", "--quiet"]
    assert main([*command, "--json", "old.json", "--max-diff", "1e-3"]) == PARITY
    assert "(1 override in plumbline.toml)" in capsys.readouterr().out
    assert main([*command, "--baseline", "old.json", "--mean-diff", "1e-12"]) == 1
    assert "first divergence at <root>:out" in capsys.readouterr().out
    old = json.loads((tmp_path / "old.json").read_text())
    (tmp_path / "old.json").write_text(json.dumps({**old, "case": {**old["case"], "paddle": "another:Net"}}))
    assert main([*command, "--baseline", "old.json"]) == CANNOT_COMPARE
    assert f"paddle is another:Net there and {TOY}:Net here" in capsys.readouterr().err


def test_an_ambiguous_map_is_saved_with_its_guesses(tmp_path, capsys):
    np.savez(tmp_path / "batch.npz", x=np.random.default_rng(0).standard_normal((3, toys.WIDTH)))
    command = ["compare", f"{TOY}:TorchSum", f"{TOY}:Sum", "--batch", str(tmp_path / "batch.npz"), "--in-process"]
    assert main([*command, "--save-map", str(tmp_path / "map.toml")]) == CANNOT_COMPARE
    assert "one (paddle) may be left or right (torch)" in capsys.readouterr().err
    assert (tmp_path / "map.toml").read_text().count("# a guess: another is as good by name and by function") == 4
    assert main([*command, "--weight-map", str(tmp_path / "map.toml"), "--quiet"]) == PARITY
    assert main([*command, "--save-map", str(tmp_path / "nowhere" / "map.toml")]) == CANNOT_COMPARE
    assert "make it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.at.all:Net", f"{TOY}:Net"), "cannot import nowhere.at.all"),
        ((f"{TOY}:Missing", f"{TOY}:Net"), "has no Missing"),
        ((TOY, f"{TOY}:Net"), "name a class or factory as package.module:Name"),
        ((f"{TOY}:WIDTH", f"{TOY}:Net"), "is no class and no function"),
        ((":Net", f"{TOY}:Net"), "name a class or factory as package.module:Name"),
        (
            ("tests.align.mapping.broken:Net", f"{TOY}:Net"),
            "cannot import tests.align.mapping.broken: RuntimeError: sic",
        ),
        (("collections:OrderedDict", f"{TOY}:Net"), "gave a OrderedDict, not a module of torch"),
        ((f"{TOY}:Net", f"{TOY}:TorchNet"), "gave a Net, not a module of torch"),
        ((f"{TOY}:TorchSum", f"{TOY}:Sum"), "forward requires x"),
        ((f"{TOY}:TorchBlock", f"{TOY}:Block"), "the paddle side needs attention: say them with --config FILE"),
    ],
)
def test_what_cannot_be_loaded_is_said(arguments, message, capsys):
    assert main(["compare", *arguments, "--in-process"]) == CANNOT_COMPARE
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_batch_that_cannot_be_read_is_said(tmp_path, capsys, batch):
    np.save(tmp_path / "one.npy", np.array([object()]))
    (tmp_path / "cut.npz").write_bytes(batch.read_bytes()[:-30])
    for file, message in (("one.npy", "an array of objects"), ("cut.npz", "not a whole .npz"), ("no.npz", "No such")):
        command = ["compare", f"{TOY}:TorchNet", f"{TOY}:Net", "--batch", str(tmp_path / file), "--in-process"]
        assert main(command) == CANNOT_COMPARE
        said = capsys.readouterr().err
        assert "align: --batch" in said
        assert message in said


def test_one_configuration_in_the_words_of_both():
    ours = {
        "hidden_size": 768,
        "n_heads": 12,
        "vocab_size": 30522,
        "pooler_size": 768,
        "hidden_act": "gelu_new",
        "dropout": 0.1,
        "pad_token_id": 0,
    }
    theirs = {"d_model": 512, "num_attention_heads": 8, "vocab_size": 21128, "activation": "gelu", "p_drop": 0.1}
    looks = [{"config": c, "base": {}, "synonyms": {}, "open": False} for c in (ours, theirs)]
    words = tiny(*looks)
    assert words.torch["hidden_size"] == words.torch["pooler_size"] == words.paddle["d_model"]
    assert words.torch["n_heads"] == words.paddle["num_attention_heads"]
    assert words.torch["hidden_size"] % words.torch["n_heads"] == 0
    assert words.paddle["activation"] == "gelu_new"
    assert words.torch["dropout"] == 0.0
    part = {"vision_config": {"hidden_size": 768}}
    nested = tiny(looks[0] | {"config": part}, looks[1] | {"config": {"vision_config": None}})
    assert nested.torch["vision_config"] == nested.paddle["vision_config"]
    assert any("hidden_act (activation) is 'gelu_new' in torch and 'gelu' in paddle" in note for note in words.notes)


def test_a_batch_has_padding_and_fits_the_configuration():
    made = make_batch(WORDS, WORDS, {"vocab_size": 97, "type_vocab_size": 2, "pad_token_id": 1})
    assert set(made) == {"input_ids", "attention_mask"}
    ids, mask = made["input_ids"], made["attention_mask"]
    assert ids.max() == 96
    assert (ids[mask == 0] == 1).all()
    assert (mask.sum(1) < ids.shape[1]).any()
    assert mask.any(1).all()
    labels = make_labels({"out.logits": np.zeros((*ids.shape, 97))})
    assert labels.shape == ids.shape


def test_the_other_batches_leave_something_to_attend_to_and_to_learn():
    batch = make_batch(WORDS, WORDS, {"vocab_size": 97}) | {"labels": np.arange(48).reshape(3, 16)}
    mask = probes.with_holes(batch)["attention_mask"]
    assert mask[:, 0].all()
    assert (mask.sum(1) < 16).all()
    assert (mask != mask[0]).any()
    labels = probes.with_ignored(batch)["labels"]
    assert 0 < (labels == probes.IGNORED).sum() < labels.size
    assert np.array_equal(labels[labels >= 0], batch["labels"][labels >= 0])
    assert probes.with_ignored({"labels": np.ones((3, 1))}) is None
    weights = {"h.0.q_proj.weight": np.ones((2, 2)), "h.0.k_proj.weight": np.ones((2, 2))}
    assert {name: value.max() for name, value in probes.saturated(weights).items()} == dict(
        zip(weights, (16, 1), strict=True)
    )


def test_only_the_outermost_modules_without_a_counterpart_are_told():
    modules = tuple(Module(name, "M", False, ()) for name in (ROOT, "a", "a.b", "a.b.c", "d"))
    side = Side(modules, {}, {f"{module.name}:out": ((2, 3), "f") for module in modules})
    assert dict(unmatched({ROOT: ROOT, "d": "d"}, side, side)) == {"torch": ["a"], "paddle": ["a"]}


def test_the_audit_goes_on_past_a_model_that_fails_and_writes_whole_tables_only(monkeypatch):
    def fail(*_, **__):
        raise ValueError("one line\nand another")

    monkeypatch.setattr("align.foreign.compare.compare_targets", fail)
    row = audit.compare("Model", ("forward",))
    assert (row.verdict, row.text) == ("not comparable", "ValueError: one line and another")
    monkeypatch.setattr("sys.argv", ["audit", "bert", "--write", "audit.md"])
    with pytest.raises(SystemExit):
        audit.main()


def test_a_batch_for_unknown_words_is_asked_for():
    with pytest.raises(align.CannotCompareError, match="forward requires graph"):
        make_batch([*WORDS, {"name": "graph", "required": True}], WORDS, {})
