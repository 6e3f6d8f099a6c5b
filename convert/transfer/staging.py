"""How files reach their place so that no moment shows a mix of old and new.

All files are made in a folder inside the destination, under their own names, where nothing loads them. When all are
whole and on the disk they are renamed into place, what makes them a checkpoint (the index, config.json) last, and the
old ones of these taken away first. A journal in the folder tells the next run what a killed one has finished.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from convert.checksums import Kind, file_checksum
from convert.errors import CheckpointError
from convert.transfer.write import Checksums, Written

FOLDER = ".plumbline-partial"
JOURNAL = "journal"
LOCK = "lock"


@dataclass
class Staging:
    """The folder in which the files of a checkpoint are made. `weights` are those that hold tensors.

    `finished` are the weights that are made, by this run or one before it, with the checksums of their tensors.
    """

    folder: Path
    weights: Sequence[str]
    finished: dict[str, tuple[Written, Checksums]] = field(default_factory=dict)

    def note(self, written: Written, checksums: Checksums) -> None:
        """Have the journal say that a file is finished."""
        self.finished[written.name] = (written, checksums)
        _append(self.folder, {"written": asdict(written), "tensors": checksums})

    def put_in_place(self, others: Sequence[str]) -> None:
        """Rename all files into the destination: the weights, then these `others`, which make them a checkpoint.

        Killed in between, it holds nothing that could be loaded.
        """
        names, destination = [*self.weights, *others], self.folder.parent
        _append(self.folder, {"placing": names})
        for name in reversed(others):
            old = destination / name
            if old.exists() and (len(self.weights) > 1 or old.read_bytes() != (self.folder / name).read_bytes()):
                old.unlink()
        _sync(destination)
        for name in names:
            os.replace(self.folder / name, destination / name)
        _sync(destination)


@contextmanager
def staged(destination: Path, weights: Sequence[str], work: str, resume: bool) -> Iterator[Staging]:
    """A folder inside `destination` to make files in; the first is removed at the end, the second if it is then empty.

    What a killed run has left is cleared away. With `resume`, the files that it has finished are kept, if it did the
    same `work` (any text) and they still have their checksums.

    When the block fails, nothing is left of it; but where several files hold the tensors and one is finished, and the
    disk or the user is the reason, the finished ones are kept and the message says so. Raises CheckpointError for
    every OSError, and where another process writes to the same destination.
    """
    folder, new = destination / FOLDER, not destination.exists()
    stage, kept = Staging(folder, weights), ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            try:
                _take_back(folder)
                stage.finished = _finished(folder, work) if resume else {}
                _clear(folder, stage.finished)
                _start_journal(folder, work, stage.finished)
                yield stage
            except (OSError, KeyboardInterrupt):
                if len(weights) > 1 and stage.finished:
                    kept = f"; {len(stage.finished)} of {len(weights)} files are finished: --resume goes on from there"
                raise
            finally:
                _take_back(folder)
                if not kept:
                    shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(f"{destination}: cannot be written: {error}{kept}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"nothing was written to {destination}{kept}") from None
    finally:
        with suppress(OSError):
            if new:
                destination.rmdir()  # if it is empty


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes; the lock dies with its holder."""
    with (folder / LOCK).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(f"{folder.parent}: another conversion is writing to it") from None
        yield


def _take_back(folder: Path) -> None:
    """Undo a renaming that stopped half-way: files that reached the destination come back into the folder."""
    names: list[str] = next((line["placing"] for line in _journal(folder) if "placing" in line), [])
    if names and (folder / names[-1]).exists():
        for name in names:
            if not (folder / name).exists() and (folder.parent / name).exists():
                os.replace(folder.parent / name, folder / name)


def _finished(folder: Path, work: str) -> dict[str, tuple[Written, Checksums]]:
    """The files that the journal calls finished, if it is about this work, and that are as it says."""
    journal = _journal(folder)
    if not journal or journal[0] != {"work": work}:
        return {}
    notes = [(Written(**line["written"]), line["tensors"]) for line in journal if "written" in line]
    return {
        written.name: (replace(written, kept=True), checksums)
        for written, checksums in notes
        if _is_as_written(folder, written)
    }


def _is_as_written(folder: Path, written: Written) -> bool:
    path = folder / written.name
    kind: Kind = "crc32" if written.checksum.startswith("crc32:") else "crc32c"
    return path.is_file() and path.stat().st_size == written.nbytes and file_checksum(path, kind) == written.checksum


def _journal(folder: Path) -> list[dict[str, Any]]:
    """What the journal says, up to a line that a killed run could not finish."""
    lines = []
    with suppress(FileNotFoundError, ValueError):
        for line in (folder / JOURNAL).read_text("utf-8").splitlines():
            lines.append(json.loads(line))
    return lines


def _start_journal(folder: Path, work: str, finished: dict[str, tuple[Written, Checksums]]) -> None:
    (folder / JOURNAL).unlink(missing_ok=True)
    _append(folder, {"work": work})
    for written, checksums in finished.values():
        _append(folder, {"written": asdict(written), "tensors": checksums})


def _append(folder: Path, line: dict[str, Any]) -> None:
    with (folder / JOURNAL).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _clear(folder: Path, kept: Collection[str]) -> None:
    for path in folder.iterdir():
        if path.name not in (LOCK, JOURNAL, *kept):
            path.unlink()


def _sync(folder: Path) -> None:
    """Have the disk hold what was renamed or removed in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
