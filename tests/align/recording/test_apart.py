"""Recording one side and comparing apart: the verdict of a live run, and nothing but what was recorded."""

import json
import os
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from align.__main__ import main
from align.case import resolve
from align.client import InProcessClient
from align.compare import Interpreters
from align.errors import CannotCompareError
from align.progress import Steps
from align.record import write_record
from align.recording import apart
from align.recording.apart import Plan, compare_against, compare_recordings, record_alone
from align.recording.file import Recording, RecordingWriter, fingerprint
from align.recording.levels import composed, native_levels
from align.reports import words
from align.stages import Options, no_gate
from tests.align import bugs_electra
from tests.align.commands import refused
from tests.align.sabotage import Bug, SabotagedPaddle, set_attribute

ROOT = Path(__file__).resolve().parents[3]
NORM = "encoder.layer.1.output.LayerNorm"
EPS = Bug("FW01", "eps", "backbone", NORM, set_attribute(NORM, _epsilon=1e-5))
RUN = ["step1", "--model", "electra", "--task", "backbone", "--in-process"]


def plan(task="backbone", stages=("forward",), model="electra", **options):
    return Plan(resolve(model, task), stages, Options(**options), Interpreters(True), Steps())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def torch_recording(folder):
    return record_alone(plan(), "torch", folder / "torch.rec")


@pytest.fixture
def sabotaged(monkeypatch):
    """Have the Paddle side run with a bug in it."""

    def use(bug):
        def opened(framework, interpreters):
            return SabotagedPaddle(bug) if framework == "paddle" else InProcessClient(framework)

        monkeypatch.setattr(apart, "open_client", opened)

    return use


def told(report):
    return report.passed, [(f.module, f.why, str(f.evidence)) for f in report.blame], list(report.stages[0].notes)


def test_a_clean_port_agrees_with_a_recording_and_so_do_both_recordings(torch_recording, folder, tmp_path, capsys):
    """As with both sides live, and the second time with neither framework at hand."""
    against = ["--against", str(torch_recording.path), "--record", str(tmp_path / "paddle.rec")]
    assert main([*RUN, *against, "--json", str(tmp_path / "apart.json")]) == 0
    assert main([*RUN, "--json", str(tmp_path / "live.json")]) == 0
    rows = [json.loads((tmp_path / f"{name}.json").read_text())["stages"][0]["diffs"] for name in ("apart", "live")]
    assert [(row["name"], row["probe"], row["limit"]) for row in rows[0]] == [
        (row["name"], row["probe"], row["limit"]) for row in rows[1]
    ]
    code = (
        "import sys; from align.__main__ import main; "
        f"code = main(['diff', {str(torch_recording.path)!r}, {str(tmp_path / 'paddle.rec')!r}, '--quiet']); "
        "assert not {'torch', 'paddle'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PARITY: ")


def test_a_bug_is_named_and_explained(torch_recording, tmp_path, sabotaged):
    sabotaged(EPS)
    report = compare_against(plan(), torch_recording, "paddle", no_gate, tmp_path / "paddle.rec")
    assert report.blame[0].module == NORM
    assert report.blame[0].evidence["explanation"]["text"] == "eps is 1e-05 instead of 1e-12"
    again = compare_recordings(torch_recording, Recording(tmp_path / "paddle.rec"), Steps())
    assert told(again) == told(report)


FUNNEL, GAU = "funnel.encoder.blocks.1.0.ffn.layer_norm", "gau_alpha.encoder.layer.1.norm"
ELSEWHERE = [
    Bug.at("FW01", "eps", "sequence_classification", FUNNEL, set_attribute, _epsilon=1e-7),
    Bug.at("FW01", "eps", "masked_lm", GAU, set_attribute, eps=1e-7),
]


@pytest.mark.parametrize("bug", ELSEWHERE, ids=lambda bug: bug.blamed.partition(".")[0])
def test_other_architectures_agree_until_there_is_a_bug(tmp_path, sabotaged, bug):
    """Against a recording and recorded apart, by the same files."""
    of = plan(bug.task, model=bug.blamed.partition(".")[0])
    reference = record_alone(of, "torch", tmp_path / "torch.rec")
    for name in ("clean", "broken"):
        alone = record_alone(of, "paddle", tmp_path / f"{name}.rec")
        apart_and_against = (
            compare_recordings(reference, alone, Steps()),
            compare_against(of, reference, "paddle", no_gate),
        )
        expected = [] if name == "clean" else [bug.blamed]
        assert [[f.module for f in report.blame] for report in apart_and_against] == [expected, expected]
        sabotaged(bug)


REWRITES = [
    r for r in bugs_electra.REWRITES if "harmless" in r.note and (r.task, r.case, r.config) == ("backbone", {}, {})
]


@pytest.mark.parametrize("rewrite", REWRITES, ids=str)
def test_a_harmless_rewrite_is_a_note(torch_recording, tmp_path, sabotaged, rewrite):
    """What composites make of rounding was recorded before anybody knew which of them would matter."""
    sabotaged(rewrite)
    report = compare_against(plan(), torch_recording, "paddle", no_gate)
    assert report.passed, str(report)
    assert any("harmless" in note for note in report.stages[0].notes)


def test_gradients_computed_in_float32_are_a_note_too(tmp_path, sabotaged):
    """What torch makes of them in float32 was recorded before anybody knew that it would be asked."""
    backward = plan(stages=("backward",))
    recording = record_alone(backward, "torch", tmp_path / "torch.rec")
    sabotaged(next(rewrite for rewrite in bugs_electra.REWRITES if rewrite.name == "norm_in_float32"))
    report = compare_against(backward, recording, "paddle", no_gate)
    assert report.passed, str(report)
    assert any("a float32 island" in note for note in report.stages[0].notes)


def test_two_sides_recorded_apart(torch_recording, tmp_path, sabotaged):
    clean = record_alone(plan(), "paddle", tmp_path / "clean.rec")
    report = compare_recordings(torch_recording, clean, Steps())
    assert report.passed
    assert report.stages[0].worst.ratio < 0.1
    assert "each side ran on its own values" in report.stages[0].notes[0]
    sabotaged(EPS)
    broken = record_alone(plan(), "paddle", tmp_path / "broken.rec")
    report = compare_recordings(torch_recording, broken, Steps())
    assert [f.module for f in report.blame] == [NORM]
    assert words.LOOK_AT_THE_FIRST not in str(report)
    assert main(["diff", str(clean.path), str(broken.path), "--quiet"]) == 1  # any two sides


APART = [rewrite for rewrite in bugs_electra.REWRITES if str(rewrite) in ("heads_moved", "norm_in_float32")]


@pytest.mark.parametrize("rewrite", APART, ids=str)
def test_a_harmless_rewrite_recorded_apart_is_a_note(torch_recording, tmp_path, sabotaged, rewrite):
    sabotaged(rewrite)
    report = compare_recordings(torch_recording, record_alone(plan(), "paddle", tmp_path / "paddle.rec"), Steps())
    assert report.passed, str(report)
    assert any("harmless" in note or "judged in float32" in note for note in report.stages[0].notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--seed", "1"], "seed is 0 in"),
        (["--variant", "small"], "variant is tiny in"),
        (["--task", "masked_lm"], "task is backbone in"),
        (["--batch-size", "2"], "batch_size is None in"),
    ],
)
def test_a_comparison_of_unlike_things_is_refused(torch_recording, capsys, change, said):
    error = refused(capsys, *RUN, *change, "--against", str(torch_recording.path))
    assert "unlike things" in error
    assert said in error


def test_a_stage_that_was_not_recorded_is_refused(torch_recording, capsys):
    arguments = ["step3", *RUN[1:3], "--task", "backbone", "--against", str(torch_recording.path)]
    assert "holds forward, not loss: record it anew" in refused(capsys, *arguments)


class Watched(Steps):
    """Steps that must be shown while they are taken."""

    def __init__(self):
        super().__init__()
        self.is_shown = False

    @contextmanager
    def shown(self):
        self.is_shown = True
        yield
        self.is_shown = False

    def step(self, description, total=None):
        assert self.is_shown, description
        return super().step(description, total)


def test_of_all_stages_those_that_can_be_recorded_are_judged(torch_recording):
    several = replace(plan(stages=("init", "forward", "data")), steps=Watched())
    report = compare_against(several, torch_recording, "paddle", no_gate)
    assert report.passed
    assert [stage.stage for stage in report.stages] == ["forward"]
    assert [(left.stage, left.status) for left in report.omitted] == [(s, "not applicable") for s in ("init", "data")]
    assert "it cannot be recorded: compare both sides live" in str(report)
    with pytest.raises(CannotCompareError, match="the init stage draws or reads on both sides at once"):
        compare_against(plan(stages=("init",)), torch_recording, "paddle", no_gate)


def test_why_a_stage_could_not_be_recorded_is_said(tmp_path):
    unknown = replace(plan(stages=("forward", "optimizer"), optimizer="adm"), steps=Watched())
    with pytest.raises(CannotCompareError, match=r"nothing was recorded: UNFINISHED: the optimizer stage .*'adm'"):
        record_alone(unknown, "torch", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_other_arrays_under_the_same_name_are_refused(torch_recording, monkeypatch):
    """As if the fake data had changed between two versions."""
    made = apart.judge_case.__globals__["write_weights"]

    def other(case, description, folder):
        return made(replace(case, seed=5), description, folder)

    monkeypatch.setitem(apart.judge_case.__globals__, "write_weights", other)
    with pytest.raises(CannotCompareError, match="was recorded with other weights"):
        compare_against(plan(), torch_recording, "paddle", no_gate)


def test_files_that_are_no_recordings_are_refused(torch_recording, tmp_path, capsys):
    def against(path):
        return refused(capsys, *RUN, "--against", str(path))

    assert "no recording that --record wrote" in against(tmp_path / "nowhere")
    (tmp_path / "text").write_text("PK")
    assert "no recording that --record wrote" in against(tmp_path / "text")
    bad = rewritten(torch_recording.path, tmp_path / "old.rec", lambda manifest: manifest | {"schema": 9})
    assert "a recording of schema 9, not 1" in against(bad)
    newer = rewritten(torch_recording.path, tmp_path / "new.rec", lambda m: m | {"producer": "plumbline 9"})
    assert "was recorded by plumbline 9, and this is" in against(newer)
    less = rewritten(torch_recording.path, tmp_path / "less.rec", lambda m: m | {"calls": {}})
    assert "is no reference" in against(less)
    few = ("schema", "side", "calls")
    short = rewritten(torch_recording.path, tmp_path / "short.rec", lambda m: {key: m[key] for key in few})
    assert "no recording that --record wrote" in against(short)
    alone = rewritten(torch_recording.path, tmp_path / "side.rec", lambda manifest: manifest | {"side": "paddle"})
    assert "is no reference" in against(alone)
    damaged = rewritten(torch_recording.path, tmp_path / "damaged.rec", bytes_too=lambda data: data[:-1] + b"x")
    assert "damaged" in against(damaged)
    other = rewritten(torch_recording.path, tmp_path / "other.rec", lambda manifest: manifest | {"against": "x"})
    assert "was recorded against another file" in refused(capsys, "diff", str(torch_recording.path), str(other))


def rewritten(source, target, change=lambda manifest: manifest, bytes_too=lambda data: data):
    """A copy of a recording with another manifest, or other bytes in its arrays."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            is_manifest = name == "manifest.json"
            new.writestr(name, json.dumps(change(json.loads(data))) if is_manifest else bytes_too(data))
    return target


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--record", "x"], "name it with --framework, or the other with --against"),
        (["--framework", "torch"], "add --record FILE or --against FILE"),
        (["--framework", "torch", "--record", "/nowhere/x"], "make it first"),
        (["--framework", "torch", "--record", "."], "--record .: this is a folder, name a file"),
        (["--framework", "jax", "--record", "x"], "invalid choice: 'jax'"),
        (["--framework", "torch", "--record", "x", "--reprod-log", "logs"], "--reprod-log writes what two live sides"),
        (
            ["--framework", "torch", "--record", "x", "--out", "y", "--max-diff", "0"],
            "--out, --max-diff: one side alone",
        ),
        (
            ["--framework", "torch", "--record", "x", "--baseline", "y"],
            "--baseline: one side alone comes to no verdict",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *RUN, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("place", "why"), [("/nowhere/x", "No such file"), ("/dev/full", "No space left on device")])
def test_a_recording_that_cannot_be_written_is_called_by_its_own_name(tmp_path, place, why):
    (tmp_path / f".x.{os.getpid()}").symlink_to(place)
    arrays = write_record(tmp_path / "arrays.rec", {"a": np.zeros(100_000)})
    with (
        pytest.raises(CannotCompareError, match=f"--record {tmp_path}/x: cannot be written: {why}"),
        RecordingWriter(tmp_path / "x") as writer,
    ):
        writer.add(arrays)
        writer.close({})
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_recorded_is_refused(capsys, tmp_path):
    record = ["--record", str(tmp_path / "x"), "--model", "electra", "--in-process"]
    assert "the data stage" in refused(capsys, "data", *record, "--framework", "torch")
    assert "for backward use --against" in refused(capsys, "step4", *record, "--framework", "paddle")
    assert list(tmp_path.iterdir()) == []


def test_tolerances_are_not_for_recordings(torch_recording, capsys):
    path = str(torch_recording.path)
    assert "recordings are judged by their noise floors" in refused(capsys, "diff", path, path, "--atol", "1")
    assert "is a recording and /nowhere.npy is none" in refused(capsys, "diff", "/nowhere.npy", path)


def test_a_fingerprint_is_of_the_arrays_not_of_their_order(tmp_path):
    a, b = np.arange(3.0), np.arange(4)
    one = write_record(tmp_path / "1", {"a": a, "b": b})
    assert fingerprint(one) == fingerprint(write_record(tmp_path / "2", {"b": b, "a": a}))
    for number, other in enumerate(({"a": a, "b": b + 1}, {"a": a, "c": b}, {"a": a}, {"a": a, "b": b.reshape(2, 2)})):
        assert fingerprint(one) != fingerprint(write_record(tmp_path / f"other{number}", other))


def test_noise_floors_of_composites_are_put_together():
    modules = ["<root>", "a", "a.x", "a.y", "b", "b.x", "b.x.p"]
    assert native_levels(modules) == [
        ["a", "a.x", "a.y", "b", "b.x", "b.x.p"],
        ["a.x", "a.y", "b.x", "b.x.p"],
        ["b.x.p"],
    ]

    def answer(size, *edges):
        return {"differences": {edge: {"max_abs": size} for edge in edges}}

    base = answer(1, "<root>:out", "a:out", "a.x:out", "b:out", "b.x:out", "b.x.p:out")
    levels = [
        answer(10, "<root>:out"),
        answer(20, "<root>:out", "a:out", "b:out"),
        answer(30, "a:out", "b:out", "b.x:out"),
    ]
    one = composed(base, levels, ["a.x", "a.y"])
    assert one == {
        "differences": {
            "<root>:out": {"max_abs": 1},
            "a:out": {"max_abs": 20},
            "b:out": {"max_abs": 1},
            "b.x:out": {"max_abs": 1},
            "b.x.p:out": {"max_abs": 1},
        }
    }
    two = composed(base, levels, ["a.x", "a.y", "b.x.p"])["differences"]
    assert (two["a:out"]["max_abs"], two["b.x:out"]["max_abs"], two["b:out"]["max_abs"]) == (20, 30, 1)
    assert composed(base, levels, modules[1:])["differences"] == {"<root>:out": {"max_abs": 10}}
