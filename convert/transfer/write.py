"""From blueprints to files: one thread reads and transposes, another writes behind it, on buffers that are reused."""

import os
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from convert.checksums import UPDATE, Kind, joined, named
from convert.formats.blueprint import Blueprint, Patches
from convert.transfer.stream import BLOCK, Stream

Checksums = dict[str, int]  # tensor → checksum of its bytes
SMALL, LARGE = 4, 2  # buffers
PORTION = 1 << 26  # bytes after which the kernel is told to begin writing them to the disk


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

    `finished` is called, in a second thread, with each file that is on the disk and its tensors' checksums. Errors of
    that thread are raised by whatever is called next. To be used as a context.
    """

    def __init__(
        self,
        folder: Path,
        streams: Mapping[str, Stream],
        progress: Callable[[int], object] = int,
        finished: Callable[[Written, Checksums], object] = lambda written, checksums: None,
    ) -> None:
        self.checksums: Checksums = {}  # of all tensors so far
        self.written: list[Written] = []  # files that are on the disk, or on their way
        self._folder, self._streams, self._progress, self._finished = folder, streams, progress, finished
        self._behind = _Behind(max((stream.largest for stream in streams.values()), default=0))
        self._files = ExitStack()
        self._readable: Future[None] | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._behind.stop()
        self._files.close()

    def keep(self, written: Written, checksums: Checksums) -> None:
        """Count a file as written that an earlier run has made."""
        self.checksums |= checksums
        self.written.append(written)
        self._progress(sum(self._streams[name].nbytes for name in checksums))

    def write(self, blueprint: Blueprint) -> None:
        """Write one file; returns when its last byte is on its way."""
        started, kind = time.perf_counter(), blueprint.checksum
        file = self._files.enter_context((self._folder / blueprint.name).open("wb", buffering=0))
        front = _Front(file.fileno(), self._behind)
        parts: list[bytes | tuple[int, int]] = []  # literal bytes, or (checksum, length) of a tensor
        checksums: Checksums = {}
        for piece in blueprint.pieces:
            if isinstance(piece, bytes):
                parts.append(piece)
                front.waiting += piece
                continue
            checksum = 0
            for block in self._streams[piece].blocks(self._behind.take):
                checksum = UPDATE[kind](block, checksum)
                front.put(block)
                self._progress(block.size)
            checksums[piece] = checksum
            parts.append((checksum, self._streams[piece].nbytes))
        front.put(b"")
        self.checksums |= checksums
        patches = blueprint.patches(self.checksums)
        whole = named(kind, _checksum(kind, parts, patches))
        written = Written(blueprint.name, front.offset, whole, time.perf_counter() - started)
        self.written.append(written)

        def patch() -> None:
            for at, data in patches.items():
                _put(file.fileno(), at, data)

        def finish() -> None:
            os.fsync(file.fileno())
            file.close()
            self._finished(written, checksums)

        self._readable = self._behind.do(patch)
        self._behind.do(finish)

    def wait_until_readable(self) -> None:
        """Return when all files can be read, be they on the disk or not yet."""
        if self._readable:
            self._readable.result()

    def wait(self) -> None:
        """Return when all files are on the disk."""
        self._behind.wait()


class _Front:
    """A file that is written from front to back, in the thread behind."""

    def __init__(self, file: int, behind: "_Behind") -> None:
        self.offset = 0
        self.waiting = b""  # bytes that go before the next block
        self._file, self._behind, self._sent = file, behind, 0

    def put(self, block: Any) -> None:
        """Write what is waiting, and the block."""
        self._behind.do(_put, self._file, self.offset, self.waiting, block)
        self.offset += len(self.waiting) + len(block)
        self.waiting = b""
        if self.offset - self._sent >= PORTION:
            self._behind.do(_send, self._file, self._sent, self.offset - self._sent)
            self._sent = self.offset


@dataclass
class _Slot:
    buffer: np.ndarray
    busy: "Future[None] | None" = None


class _Behind:
    """A second thread that does what it is given, in order, while the first goes on.

    Small blocks have buffers of their own beside the two large ones (of `largest` bytes), which are all the memory
    there is. After an error of the second thread nothing more is done; it is raised where the first next waits.
    """

    def __init__(self, largest: int) -> None:
        self._small = deque(_Slot(np.empty(BLOCK, np.uint8)) for _ in range(SMALL))
        self._large = deque(_Slot(np.empty(largest, np.uint8)) for _ in range(LARGE if largest > BLOCK else 0))
        self._slot = self._small[0]
        self._pool = ThreadPoolExecutor(1)
        self._error: BaseException | None = None

    def take(self, nbytes: int) -> np.ndarray:
        """A buffer of so many bytes, once nothing more is to be done with what it held."""
        ring = self._small if nbytes <= BLOCK else self._large
        ring.rotate()
        self._slot = ring[0]
        if self._slot.busy:
            self._slot.busy.result()
        return self._slot.buffer[:nbytes]

    def do(self, work: Callable[..., None], *arguments: Any) -> "Future[None]":
        """Have `work` done; the buffer that was taken last is not given out again before."""
        self._slot.busy = self._pool.submit(self._run, work, *arguments)
        return self._slot.busy

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        if self._error:
            raise self._error
        try:
            work(*arguments)
        except BaseException as error:
            self._error = error
            raise

    def wait(self) -> None:
        """Return when all is done."""
        for slot in (*self._small, *self._large):
            if slot.busy:
                slot.busy.result()

    def stop(self) -> None:
        """End the thread; what it has not begun is not done."""
        self._pool.shutdown(cancel_futures=True)


def _put(file: int, offset: int, *pieces: Any) -> None:
    """Write the pieces one after the other; a disk that is filling up takes a part of them before it fails."""
    rest = [memoryview(piece) for piece in pieces if len(piece)]
    while rest:
        count = os.pwritev(file, rest, offset)
        offset += count
        while rest and count >= len(rest[0]):
            count -= len(rest.pop(0))
        if count:
            rest[0] = rest[0][count:]


def _send(file: int, offset: int, length: int) -> None:
    """Have the kernel begin to write these bytes to the disk, so that fsync need not wait for them all in the end.

    Linux does so with what it is told not to keep in memory; nothing is lost where it has no such call.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, offset, length, os.POSIX_FADV_DONTNEED)


def _checksum(kind: Kind, parts: Sequence[bytes | tuple[int, int]], patches: Patches) -> int:
    """The checksum of a whole file; `patches` lie within its literal parts."""
    lengths = [len(part) if isinstance(part, bytes) else part[1] for part in parts]
    starts = list(accumulate(lengths, initial=0))
    patched = {at: bytearray(part) for at, part in enumerate(parts) if isinstance(part, bytes)}
    for offset, data in patches.items():
        at = bisect_right(starts, offset) - 1
        patched[at][offset - starts[at] : offset - starts[at] + len(data)] = data
    whole = 0
    for at, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        checksum = UPDATE[kind](patched[at]) if isinstance(part, bytes) else part[0]
        whole = joined(kind, whole, checksum, length)
    return whole
