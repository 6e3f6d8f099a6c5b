"""docs/porting.md from its first line to its last: the commands run as written, and say what is shown."""

import subprocess
import sys

from align.__main__ import main
from align.stages import STAGES
from tests.align.porting.guide import ROOT, apply, blocks, forget, in_folder, plain, sessions

QUICK = ("backward", "invariance")  # of what the last command runs; all of its stages take half a minute


def shell(command, folder):
    """A command of the guide in a process of its own, as a user has it."""
    words = command.split()
    assert words[:3] == ["python", "-m", "align"]
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def check(shown, printed):
    lines = {plain(line) for line in printed.splitlines()}
    missing = [line for line in shown if plain(line) not in lines]
    assert not missing, printed


def test_the_guide_runs_as_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "fnet.py").write_text(blocks("python")[0], encoding="utf-8")
    (new, red, green, deeper, everything), mends = list(sessions()), blocks("diff")
    for (command, shown), code in ((new, 0), (red, 1)):
        returned, printed = shell(command, tmp_path)
        assert returned == code, printed
        check(shown, printed)

    def run(command, code):
        forget(tmp_path)
        assert main([*command.split()[3:], "--in-process"]) == code
        return capsys.readouterr().out

    with in_folder(tmp_path, monkeypatch):
        apply(mends[0], tmp_path)
        check(green[1], run(green[0], 0))
        check(deeper[1], run(deeper[0], 1))
        apply(mends[1], tmp_path)
        assert everything[0] == "python -m align all --model fnet"
        printed = "".join(run(f"python -m align {stage} --model fnet", 0) for stage in QUICK)
    check([line for line in everything[1] if line.startswith(tuple(f"✓ {stage} " for stage in QUICK))], printed)
    assert [line.split()[1] for line in everything[1] if line.startswith("✓")] == list(STAGES)
