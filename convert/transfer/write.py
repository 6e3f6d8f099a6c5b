"""From blueprints to files, by two threads: while one waits for the disk the other reads, transposes and checks.

Every tensor knows its place in the file beforehand, so they may be written in any order. Whole pages go from our
buffers to the disk past the kernel's page cache, where the file system can do so (O_DIRECT): a checkpoint is larger
than what is worth keeping there, and filling the cache takes longer than the disk.
"""

import ctypes
import errno
import mmap
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np

from convert.checksums import UPDATE, Kind, joined, named
from convert.formats.blueprint import Blueprint, Patches
from convert.transfer.stream import BLOCK, Stream

Checksums = dict[str, int]  # tensor → checksum of its bytes
THREADS = 2  # each has a buffer as large as the largest block
PAGE, WORD = mmap.PAGESIZE, 8
DIRECT_FROM = 1 << 16  # bytes in whole pages, from which on going past the page cache is worth a call of its own


@dataclass(frozen=True)
class Written:
    """One file that was written: its name, size and checksum (`crc32c:0123abcd`), and the seconds it took.

    The seconds end when the last byte is on its way. A file that is `kept` was finished by a run before this one.
    """

    name: str
    nbytes: int
    checksum: str
    seconds: float
    kept: bool = False


class Writer:
    """Writes files into `folder`, their tensors from `streams`; `progress` is told the bytes of these as they go.

    `finished` is called, in a thread, with each file that is on the disk and its tensors' checksums; an error of it is
    raised by `wait`. `progress` is called by several threads. To be used as a context.
    """

    def __init__(
        self,
        folder: Path,
        streams: Mapping[str, Stream],
        progress: Callable[[int], object] = int,
        finished: Callable[[Written, Checksums], object] = lambda written, checksums: None,
    ) -> None:
        self.checksums: Checksums = {}  # of all tensors so far
        self.written: list[Written] = []  # files that can be read, be they on the disk or not yet
        self._folder, self._streams, self._progress, self._finished = folder, streams, progress, finished
        self._buffers = _Buffers(max((stream.largest for stream in streams.values()), default=0))
        self._threads, self._finisher = ThreadPoolExecutor(THREADS), ThreadPoolExecutor(1)
        self._finishing: list[Future[None]] = []
        self._files = ExitStack()
        self._stopped = False

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped = True
        self._threads.shutdown(cancel_futures=True)
        self._finisher.shutdown(cancel_futures=True)
        self._files.close()

    def keep(self, written: Written, checksums: Checksums) -> None:
        """Count a file as written that an earlier run has made."""
        self.checksums |= checksums
        self.written.append(written)
        self._progress(sum(self._streams[name].nbytes for name in checksums))

    def write(self, blueprint: Blueprint) -> None:
        """Write one file; returns when all of it can be read. Its way to the disk goes on."""
        started, kind = time.perf_counter(), blueprint.checksum
        lengths = [self._length(piece) for piece in blueprint.pieces]
        *starts, size = accumulate(lengths, initial=0)
        file = self._files.enter_context(closing(_File(self._folder / blueprint.name, size)))
        jobs = {}
        for start, piece in zip(starts, blueprint.pieces, strict=True):
            if isinstance(piece, str):
                jobs[piece] = self._threads.submit(self._tensor, file, start, piece, kind)
            else:
                file.put(start, piece)
        checksums = self._results(jobs)
        self.checksums |= checksums
        patches = blueprint.patches(self.checksums)
        for at, data in patches.items():
            file.put(at, data)
        whole = named(kind, _checksum(kind, blueprint.pieces, lengths, checksums, patches))
        written = Written(blueprint.name, size, whole, time.perf_counter() - started)
        self.written.append(written)

        def finish() -> None:
            file.sync()
            file.close()
            self._finished(written, checksums)

        self._finishing.append(self._finisher.submit(finish))

    def wait(self) -> None:
        """Return when all files are on the disk."""
        for future in self._finishing:
            future.result()

    def _length(self, piece: bytes | str) -> int:
        return len(piece) if isinstance(piece, bytes) else self._streams[piece].nbytes

    def _results(self, jobs: Mapping[str, "Future[int]"]) -> Checksums:
        """What the threads return; at an error of one of them the others stop."""
        try:
            return {name: job.result() for name, job in jobs.items()}
        except BaseException:
            self._stopped = True
            for job in jobs.values():
                job.cancel()
            raise

    def _tensor(self, file: "_File", offset: int, name: str, kind: Kind) -> int:
        """Write one tensor to its place; its checksum."""
        checksum = 0

        def take(nbytes: int) -> np.ndarray:
            return buffer[_whole_words(offset) :][:nbytes]

        with self._buffers.one() as buffer:
            for block in self._streams[name].blocks(take):
                checksum = UPDATE[kind](block, checksum)
                file.put(offset, _as_in_file(buffer, offset, block))
                offset += block.size
                self._progress(block.size)
                if self._stopped:
                    break
        return checksum


class _File:
    """A file of known size, of which any part can be written at any time, by several threads at once."""

    def __init__(self, path: Path, size: int) -> None:
        self._cached = path.open("wb", buffering=0)
        self._direct: FileIO | None = None
        with suppress(AttributeError, OSError):  # a system, or a file system, that has no such thing
            self._direct = FileIO(os.open(path, os.O_WRONLY | os.O_DIRECT), "wb")
        try:
            os.ftruncate(self._cached.fileno(), size)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """No more than once has an effect."""
        self._cached.close()
        if self._direct:
            self._direct.close()

    def put(self, offset: int, data: Any) -> None:
        """Write `data`; its whole pages past the page cache if they are many and lie in memory as in the file."""
        whole = memoryview(data)
        first = -offset % PAGE
        last = first + (len(whole) - first) // PAGE * PAGE
        if self._direct is None or last - first < DIRECT_FROM:
            return _put(self._cached.fileno(), offset, whole)
        try:
            _put(self._direct.fileno(), offset + first, whole[first:last])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return _put(self._cached.fileno(), offset, whole)  # it wants larger units than pages
        _put(self._cached.fileno(), offset, whole[:first])
        _put(self._cached.fileno(), offset + last, whole[last:])

    def sync(self) -> None:
        """Return when all is on the disk."""
        os.fsync(self._cached.fileno())


class _Buffers:
    """Buffers at page boundaries, one for each thread, each for a block of `largest` bytes at any place in a page."""

    def __init__(self, largest: int) -> None:
        self._free: SimpleQueue[np.ndarray] = SimpleQueue()
        for _ in range(THREADS):
            self._free.put(np.frombuffer(mmap.mmap(-1, max(largest, BLOCK) + PAGE), np.uint8))

    @contextmanager
    def one(self) -> Iterator[np.ndarray]:
        buffer = self._free.get()
        try:
            yield buffer
        finally:
            self._free.put(buffer)


def _whole_words(offset: int) -> int:
    """Where in a buffer a block is made: where it lies in a page of the file, but no word across its boundaries."""
    return offset % PAGE // WORD * WORD


def _as_in_file(buffer: np.ndarray, offset: int, block: np.ndarray) -> np.ndarray:
    """The block, moved to where it lies in a page of the file."""
    if offset % WORD == 0:
        return block
    moved = buffer[offset % PAGE :][: block.size]
    ctypes.memmove(moved.ctypes.data, block.ctypes.data, block.size)  # numpy would make a copy of what overlaps
    return moved


def _put(file: int, offset: int, data: memoryview) -> None:
    """Write all of `data`; a disk that is filling up takes a part of it before it fails."""
    while data:
        count = os.pwritev(file, [data], offset)
        data, offset = data[count:], offset + count


def _checksum(
    kind: Kind, pieces: Sequence[bytes | str], lengths: Sequence[int], tensors: Checksums, patches: Patches
) -> int:
    """The checksum of a whole file from those of its tensors; `patches` lie within its literal pieces."""
    starts = list(accumulate(lengths, initial=0))
    literal = {at: bytearray(piece) for at, piece in enumerate(pieces) if isinstance(piece, bytes)}
    for offset, data in patches.items():
        at = bisect_right(starts, offset) - 1
        literal[at][offset - starts[at] : offset - starts[at] + len(data)] = data
    whole = 0
    for at, (piece, length) in enumerate(zip(pieces, lengths, strict=True)):
        checksum = tensors[piece] if isinstance(piece, str) else UPDATE[kind](literal[at])
        whole = joined(kind, whole, checksum, length)
    return whole
