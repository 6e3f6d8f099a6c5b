"""A process that is killed at any moment, or a full disk, leaves the old checkpoint or none, and no mix of both."""

import errno
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convert import CheckpointError, open_checkpoint
from convert.transfer import plan_transfer
from tests.convert.support import write_folder
from tests.convert.transfer.crash import content, notes

ROOT = Path(__file__).resolve().parents[3]
CONFIG = {"model_type": "electra", "architectures": ["ElectraModel"]}
SHAPES = {
    "embeddings.word_embeddings.weight": (130, 24),
    "embeddings_project.weight": (40, 24),
    "embeddings_project.bias": (40,),
    "encoder.layer.0.attention.self.query.weight": (40, 40),
    "encoder.layer.0.attention.self.query.bias": (40,),
}


def source(folder, seed, config=CONFIG):
    generator = np.random.default_rng(seed)
    state = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    return write_folder(folder, state, config)


def converted(folder, origin, layout, size):
    plan_transfer(open_checkpoint(origin), "electra", layout, None, None, size or None).run(folder, beside=notes)
    return folder


def faults(tmp_path, fault, origin, before, layout, size, resume=""):
    command = [fault, origin, before, tmp_path / "out", layout, size, resume]
    command = [sys.executable, "-m", "tests.convert.transfer.crash", *map(str, command)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 8
    assert [row["code"] == 0 for row in rows] == [False] * (len(rows) - 1) + [True]
    return rows


# (layout, shard size, whether the configuration of the old checkpoint is another one)
WORK = [("paddle", "", False), ("paddle", "", True), ("paddlenlp", "", True), ("paddle", "4KB", True)]


@pytest.mark.parametrize(("layout", "size", "other"), WORK)
def test_killed_at_any_moment_old_or_none_is_left_and_the_next_run_mends_it(tmp_path, layout, size, other):
    old = converted(tmp_path / "old", source(tmp_path / "a", 1, CONFIG | ({"x": 1} if other else {})), layout, size)
    new = converted(tmp_path / "new", source(tmp_path / "b", 2), layout, size)
    allowed = {content(old), content(new)} | ({"none"} if other or size else set())
    rows = faults(tmp_path, "kill", tmp_path / "b", old, layout, size)
    assert {row["code"] for row in rows[:-1]} == {-signal.SIGKILL}
    assert {row["left"] for row in rows} == allowed
    for row in rows:
        assert row["again"] == [0, "0"], row
        assert row["mended"] == content(new)
        assert row["names"] == sorted(path.name for path in new.iterdir()), row


def test_a_new_folder_holds_nothing_to_load_until_it_holds_all(tmp_path):
    new = converted(tmp_path / "new", source(tmp_path / "b", 2), "paddle", "4KB")
    rows = faults(tmp_path, "kill", tmp_path / "b", tmp_path / "nothing", "paddle", "4KB", "resume")
    assert {row["left"] for row in rows} == {"none", content(new)}
    assert all(row["mended"] == content(new) and row["again"][0] == 0 for row in rows)
    assert all(row["names"] == sorted(path.name for path in new.iterdir()) for row in rows)
    kept = [int(row["again"][1]) for row in rows]
    assert set(kept) == {0, 1, 2, 3, 4}, "shards that a killed run has finished are not written again"


@pytest.mark.parametrize("size", ["", "4KB"])
def test_a_full_disk_is_told_and_leaves_the_old_checkpoint(tmp_path, size):
    old = converted(tmp_path / "old", source(tmp_path / "a", 1), "paddle", size)
    new = converted(tmp_path / "new", source(tmp_path / "b", 2), "paddle", size)
    rows = faults(tmp_path, "full", tmp_path / "b", old, "paddle", size, "resume")
    for row in rows[:-1]:
        assert row["code"] == 2, row
        assert row["told"].startswith(f"{tmp_path / 'out'}: cannot be written: [Errno 28] No space left on device")
        assert row["partial"] == ("--resume goes on from there" in row["told"])
        assert row["mended"] == content(new)
    assert {row["left"] for row in rows[:-2]} <= {content(old), "none"}
    assert rows[0]["left"] == content(old)
    assert {row["partial"] for row in rows} == ({True, False} if size else {False})


def test_a_limit_on_the_size_of_files_leaves_nothing(tmp_path):
    origin, limits = source(tmp_path / "a", 1), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        with pytest.raises(CheckpointError, match=f"out: cannot be written: .Errno {errno.EFBIG}"):
            converted(tmp_path / "out", origin, "paddle", "")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "out").exists()
