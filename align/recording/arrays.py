"""Named arrays from a file that somebody else may have written: reprod_log's .npy, .npz, or a record of ours."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from align.errors import CannotCompareError
from align.record import Record
from convert.errors import CheckpointError, printable
from convert.formats import npy

_TAIL = 8  # bytes at the end of a record that say that it is one
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, MemoryError)
_UNREADABLE = (*_DAMAGED, *npy.DAMAGED, AttributeError, RuntimeError, KeyError)


def read_arrays(path: Path) -> Mapping[str, np.ndarray]:
    """All arrays of a file by name; what it is, its content says. Nothing in it is run.

    Raises:
        CannotCompareError: it cannot be read, is none of these, or holds no array at all.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_TAIL)
            file.seek(-min(_TAIL, file.seek(0, 2)), 2)
            tail = file.read()
        arrays = _read(path, head, tail)
    except OSError as error:
        raise CannotCompareError(f"{path}: cannot be read: {error.strerror or error}") from error
    except CheckpointError as error:
        raise CannotCompareError(str(error)) from error
    if not arrays:
        raise CannotCompareError(f"{path} holds no array: a comparison of nothing proves nothing")
    return arrays


def _read(path: Path, head: bytes, tail: bytes) -> Mapping[str, np.ndarray]:
    if head.startswith(npy.MAGIC):
        return npy.read(path)
    if tail == b"plumbrec":
        return {name: npy.numbers(path, name, array) for name, array in Record(path).items()}
    if head.startswith(b"PK"):
        return dict(_archive(path))
    raise CannotCompareError(f"{path} is no .npy or .npz file and no record of ours: save a dictionary of arrays anew")


def _archive(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of an .npz archive; one that would have to be unpickled is refused."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                yield name, npy.numbers(path, name, archive[name])
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        raise CannotCompareError(printable(f"{path}: not a whole .npz file of plain arrays: {error}")) from error
