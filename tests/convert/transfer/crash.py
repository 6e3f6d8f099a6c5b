"""Runs one conversion again and again, each time with a fault one step later, and tells what was left and mended.

A program of its own: `python -m tests.convert.transfer.crash FAULT SOURCE BEFORE DESTINATION LAYOUT SHARD_SIZE RESUME`
prints a line of JSON for each step, up to the first run that meets no fault. A step is a call that changes the disk;
the fault is "kill" (SIGKILL, in the midst of what is being written) or "full" (no space left). BEFORE is copied to
DESTINATION each time, if it exists. Every run is a fork of this process, so that nothing is imported twice.
"""

import errno
import hashlib
import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

from convert.checkpoint import open_checkpoint
from convert.errors import CheckpointError
from convert.transfer import plan_transfer, write
from convert.transfer.staging import FOLDER

CALLS = {
    "kill": ("pwritev", "fsync", "replace", "unlink", "mkdir", "rmdir"),
    "full": ("pwritev", "fsync"),
    "none": ("fsync",),
}
NEVER = 1 << 30


def main(fault, source, before, destination, layout, shard_size, resume):
    def attempt(*how):
        return in_child(lambda: convert(source, destination, layout, shard_size, *how))

    step, code = 0, 1
    while code:
        shutil.rmtree(destination, ignore_errors=True)
        if Path(before).exists():
            shutil.copytree(before, destination)
        code, told = attempt(False, fault, step)
        assert code in (0, 2, -signal.SIGKILL), told
        left, partial = content(destination), Path(destination, FOLDER).exists()
        again = attempt(resume == "resume", "none", NEVER)
        row = {"step": step, "code": code, "told": told, "left": left, "partial": partial, "again": again}
        print(json.dumps(row | {"mended": content(destination), "names": sorted(os.listdir(destination))}), flush=True)
        step += 1


def convert(source, destination, layout, shard_size, resume, fault, step):
    transfer = plan_transfer(open_checkpoint(source), "electra", layout, None, None, shard_size or None)
    arm(fault, step)
    written = transfer.run(Path(destination), resume=resume, beside=notes)
    return str(sum(file.kept for file in written))


def notes(written):
    """A small file that goes along with the weights, different for each checkpoint."""
    return {"notes.json": json.dumps([file.checksum for file in written]).encode()}


def arm(fault, step):
    """Have the call number `step` meet the fault. What needs no waiting for a disk does not wait."""
    left = [step]
    write.DIRECT_FROM = write.PAGE

    def faulty(name, call):
        def wrapped(*arguments, **options):
            left[0] -= 1
            if left[0] >= 0:
                return call(*arguments, **options) if name != "fsync" else None
            if fault == "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            if name == "pwritev":
                file, pieces, offset = arguments
                with suppress(OSError):  # half a page does not go past the page cache
                    call(file, [memoryview(pieces[0])[: len(pieces[0]) // 2]], offset)
            os.kill(os.getpid(), signal.SIGKILL)

        return wrapped

    for name in CALLS[fault]:
        setattr(os, name, faulty(name, getattr(os, name)))


def in_child(work):
    """(0 if `work` was done, 2 if it was refused, -9 if it was killed; its result or the message)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            code, text = 0, work()
        except CheckpointError as error:
            code, text = 2, str(error)
        except BaseException as error:
            code, text = 3, repr(error)
        os.write(writing, text.encode())
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def content(folder):
    """What a reader finds: a digest of the configuration and of every tensor, or that there is no checkpoint."""
    try:
        checkpoint = open_checkpoint(folder)
    except CheckpointError:
        return "none"
    found = hashlib.sha256(json.dumps(checkpoint.config, sort_keys=True).encode())
    for name in sorted(checkpoint.names):
        found.update(name.encode() + checkpoint.words(name).tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
